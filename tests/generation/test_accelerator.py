"""What an accelerator computes is what a CPU does: the same samples in every mode, the same items of a beam.

Log-probabilities agree to float32 alone: transformers takes the angles of positions in it, which are rounded otherwise.
"""

import copy

import numpy as np
import pytest
import torch

from calrec.generation import ItemTrie, SamplingSettings, beam_search, sample, score_items

END = 5

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(scope="module")
def there(lm):
    """The model on the accelerator."""
    return copy.deepcopy(lm).to("cuda")


@pytest.fixture(scope="module")
def trie():
    """Sixty items of one to six tokens, many with the same beginning."""
    rng = np.random.default_rng(1)
    return ItemTrie([(*rng.choice([0, 1, 2, 3], rng.integers(1, 7)).tolist(), END) for _ in range(60)])


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("mode", ["rows", "tree", "draft"])
def test_the_samples_are_those_of_rows_on_a_cpu(lm, there, users, trie, mode, bound):
    settings = SamplingSettings(n=16, max_new_tokens=10, batch_users=50, bound=bound, mode="rows")
    found = sample(there, users, END, settings.model_copy(update={"mode": mode}), trie)
    for rows_of, tolerance in ((there, 1e-9), (lm, 1e-5)):
        for ours, theirs in zip(found, sample(rows_of, users, END, settings, trie), strict=True):
            counts, expected = ({d.token_ids: (d.count, d.first) for d in draws} for draws in (ours, theirs))
            assert counts == expected
            gains, expected = ({d.token_ids: d.log_prob for d in draws} for draws in (ours, theirs))
            assert gains == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("width", [3, 20, 100])
def test_a_beam_finds_the_items_that_it_finds_on_a_cpu(lm, there, users, trie, width):
    for ours, theirs in zip(*(beam_search(of, users[:60], trie, width) for of in (there, lm)), strict=True):
        assert [item.column for item in ours] == [item.column for item in theirs]
        assert [item.log_prob for item in ours] == pytest.approx([item.log_prob for item in theirs], rel=1e-5)


def test_items_are_scored_as_on_a_cpu(lm, there, users, trie):
    candidates = [np.arange(len(trie))] * 20
    for ours, theirs in zip(*(score_items(of, users[:20], trie, candidates) for of in (there, lm)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
