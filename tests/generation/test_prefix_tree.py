"""Trees and drafts draw the very samples of plain rows, and compute less."""

import numpy as np
import pytest

from calrec.generation import ItemTrie, SamplingSettings, sample

END = 5
SETTINGS = SamplingSettings(n=16, max_new_tokens=12, mode="rows", batch_users=16)


@pytest.fixture(scope="module")
def rows(lm, users):
    return sample(lm, users, END, SETTINGS)


@pytest.fixture(scope="module")
def trie(rows):
    """A catalogue of some of what the model writes, so that drafts are right, wrong in the middle, and missing."""
    ended = sorted(
        {draw.token_ids for draws in rows for draw in draws if len(draw.token_ids) > 1 and draw.token_ids[-1] == END}
    )
    return ItemTrie(ended[::3])


def other(mode, **changes):
    return SETTINGS.model_copy(update={"mode": mode, **changes})


def counted(lm, monkeypatch, call):
    """The call's result, the passes through the model and the tokens computed."""
    work, forward = [], lm.forward

    def count(*args, **kwargs):
        work.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(lm, "forward", count)
        result = call()
    return result, len(work), sum(work)


@pytest.mark.parametrize("mode", ["tree", "draft"])
def test_the_samples_are_those_of_the_rows(lm, users, rows, trie, mode):
    """Identical tokens and counts for 200 users in float64, log-probabilities up to rounding."""
    results = sample(lm, users, END, other(mode), trie)
    assert len(results) == 200
    for ours, theirs in zip(results, rows, strict=True):
        assert {draw.token_ids: draw.count for draw in ours} == {draw.token_ids: draw.count for draw in theirs}
        assert [draw.log_prob for draw in ours] == pytest.approx([draw.log_prob for draw in theirs], rel=1e-9)


def test_shared_beginnings_are_computed_once(lm, users, monkeypatch):
    """Apart from the prompts, a tree computes the distinct beginnings that go on, nothing else."""
    draws, passes, tokens = counted(lm, monkeypatch, lambda: sample(lm, users[:16], END, other("tree")))
    nodes = {
        (user, draw.token_ids[:depth])
        for user, found in enumerate(draws)
        for draw in found
        for depth in range(1, len(draw.token_ids))
    }
    assert tokens == len(nodes) + sum(len(user.token_ids) for user in users[:16])
    assert passes == 12
    assert len(nodes) < 0.8 * sum(draw.count * (len(draw.token_ids) - 1) for found in draws for draw in found)


def test_drafts_need_fewer_passes(lm, users, monkeypatch):
    tree, passes_of_tree, _ = counted(lm, monkeypatch, lambda: sample(lm, users[:1], END, other("tree")))
    catalogue = ItemTrie([(*(token for token in draw.token_ids if token != END), END) for draw in tree[0]])
    draft, passes, _ = counted(lm, monkeypatch, lambda: sample(lm, users[:1], END, other("draft"), catalogue))
    assert [found.token_ids for found in draft[0]] == [found.token_ids for found in tree[0]]
    assert passes <= passes_of_tree / 2


def test_drafts_without_a_catalogue_are_trees(lm, users, monkeypatch):
    tree, *work_of_tree = counted(lm, monkeypatch, lambda: sample(lm, users[:3], END, other("tree")))
    draft, *work = counted(lm, monkeypatch, lambda: sample(lm, users[:3], END, other("draft")))
    assert (draft, work) == (tree, work_of_tree)


def test_useless_drafts_change_nothing(lm, users, rows):
    noise = np.random.default_rng(0).integers(0, 13, (50, 6))
    catalogue = ItemTrie([(*(token for token in row if token != END), END) for row in noise.tolist()])
    for ours, theirs in zip(sample(lm, users[:40], END, other("draft"), catalogue), rows, strict=False):
        assert [draw.token_ids for draw in ours] == [draw.token_ids for draw in theirs]
