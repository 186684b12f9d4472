"""Bound beam search and exact scores against full passes over every item."""

import numpy as np
import pytest
import torch

from calrec.errors import ConfigError, DataError, ModelError
from calrec.generation import ItemTrie, Prompt, beam_search

END = 5


@pytest.fixture(scope="module")
def sequences():
    """Sixty items of one to six tokens, many with the same beginning, two of them equal."""
    rng = np.random.default_rng(1)
    tokens = [0, 1, 2, 3]
    drawn = [(*rng.choice(tokens, rng.integers(1, 7)).tolist(), END) for _ in range(59)]
    return [*drawn, drawn[0]]


def direct(lm, prompt, sequence):
    log_probs = (
        lm(torch.tensor([prompt.token_ids + sequence])).logits[0, len(prompt.token_ids) - 1 : -1].log_softmax(-1)
    )
    return float(log_probs.gather(1, torch.tensor(sequence)[:, None]).sum())


def test_a_beam_as_wide_as_the_catalogue_ranks_all_of_it(lm, users, sequences):
    for user, found in zip(users, beam_search(lm, users[:10], ItemTrie(sequences), 100, batch_users=4), strict=False):
        scores = np.array([direct(lm, user, sequence) for sequence in sequences])
        assert [item.column for item in found] == np.lexsort((np.arange(60), -scores)).tolist()


def test_a_narrow_beam_gives_exact_scores_and_mostly_the_best(lm, users, sequences):
    hits = 0
    for user, found in zip(users, beam_search(lm, users[:50], ItemTrie(sequences), 5), strict=False):
        scores = np.array([direct(lm, user, sequence) for sequence in sequences])
        assert [item.log_prob for item in found] == pytest.approx([scores[item.column] for item in found], rel=1e-9)
        assert 1 <= len(found) <= 5
        hits += scores[found[0].column] == pytest.approx(scores.max())
    assert hits >= 40


def test_a_beam_computes_less_than_the_catalogue(lm, users, sequences, monkeypatch):
    work, forward = [], lm.forward

    def count(*args, **kwargs):
        work.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm, "forward", count)
    beam_search(lm, users[:1], ItemTrie(sequences), 2)
    narrow = sum(work)
    work.clear()
    beam_search(lm, users[:1], ItemTrie(sequences), 60)
    assert narrow < sum(work) / 2


def test_one_item(lm, users):
    (found,) = beam_search(lm, users[:1], ItemTrie([(1, 2, END)]), 3)
    assert [item.column for item in found] == [0]
    assert found[0].log_prob == pytest.approx(direct(lm, users[0], (1, 2, END)))


def test_wrong_input(lm, users, sequences):
    trie = ItemTrie(sequences)
    with pytest.raises(ConfigError, match="got 0 and 8"):
        beam_search(lm, users[:1], trie, 0)
    with pytest.raises(DataError, match="no tokens"):
        beam_search(lm, [Prompt("nobody", ())], trie, 2)
    with pytest.raises(ModelError, match="positions"):
        beam_search(lm, [Prompt("long", (1,) * 92)], trie, 2)
