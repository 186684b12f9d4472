"""Samples that can only be items: the same ones in every mode, distributed as the model's softmax over the children."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from calrec.errors import ConfigError
from calrec.generation import ItemTrie, Prompt, SamplingSettings, sample, score_items
from calrec.generation.bound import CatalogueBound

END = 5
ROWS = SamplingSettings(n=16, mode="rows", bound=True, max_new_tokens=2)  # shorter than most items


@pytest.fixture(scope="module")
def sequences():
    """Forty items of one to nine tokens, many with the same beginning, two of them equal."""
    rng = np.random.default_rng(4)
    drawn = [(*rng.integers(6, 10, rng.integers(1, 10)).tolist(), END) for _ in range(39)]
    return [*drawn, drawn[0]]


@pytest.fixture(scope="module")
def rows(lm, users, sequences):
    return sample(lm, users, END, ROWS, ItemTrie(sequences))


@pytest.mark.parametrize("mode", ["tree", "draft"])
def test_every_mode_draws_the_same_items(lm, users, sequences, rows, mode):
    results = sample(lm, users, END, ROWS.model_copy(update={"mode": mode}), ItemTrie(sequences))
    assert len(results) == 200
    for ours, theirs in zip(results, rows, strict=True):
        assert {draw.token_ids: draw.count for draw in ours} == {draw.token_ids: draw.count for draw in theirs}
        assert [draw.log_prob for draw in ours] == pytest.approx([draw.log_prob for draw in theirs], rel=1e-9)


def test_draws_are_items_with_the_models_own_log_probability(lm, users, sequences, rows):
    lengths = set()
    for user, draws in zip(users[:20], rows, strict=False):
        (scores,) = score_items(lm, [user], ItemTrie(sequences), [range(len(sequences))])
        assert sum(draw.count for draw in draws) == 16
        for draw in draws:
            assert draw.log_prob == pytest.approx(scores[sequences.index(draw.token_ids)], rel=1e-9)
            lengths.add(len(draw.token_ids))
    assert max(lengths) > 2  # the limit of free samples does not cut an item


@pytest.mark.parametrize("mode", ["rows", "tree"])
def test_items_follow_the_renormalised_model(lm, mode):
    """Frequencies of whole items are the products of the softmaxes over a node's children at the temperature."""
    items = [(6, END), (6, 7, END), (6, 8, END), (9, 1, END), (2, END)]
    settings = SamplingSettings(n=1024, temperature=2.0, bound=True, mode=mode)
    counts = dict.fromkeys(items, 0)
    for draws in sample(
        lm, [Prompt(f"chi {number}", (4, 9, 2)) for number in range(4)], END, settings, ItemTrie(items)
    ):
        for draw in draws:
            counts[draw.token_ids] += draw.count
    expected = []
    for item in items:
        prob = 1.0
        for place, token in enumerate(item):
            children = sorted({other[place] for other in items if other[:place] == item[:place]})
            logits = lm(torch.tensor([[4, 9, 2, *item[:place]]])).logits[0, -1, children]
            prob *= float((logits / 2.0).softmax(-1)[children.index(token)])
        expected.append(prob * 4096)
    assert min(expected) >= 5
    assert chisquare(list(counts.values()), expected).pvalue > 1e-3


def test_what_is_determined_takes_one_pass(lm, monkeypatch):
    """Two items that part at their first token: one pass for the prompt, and one for all the rest of both."""
    items = ItemTrie([(6, *itertools.repeat(7, 40), END), (8, 9, END)])
    passes, forward = [], lm.forward

    def count(*args, **kwargs):
        passes.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm, "forward", count)
    (draws,) = sample(lm, [Prompt("a", (1, 2, 3))], END, SamplingSettings(temperature=10, bound=True), items)
    assert len(draws) == 2
    assert passes == [3, 41 + 2]


def test_free_samples_ignore_the_catalogue(lm, users, sequences):
    free = SamplingSettings(n=8, max_new_tokens=6)
    assert sample(lm, users[:5], END, free, ItemTrie(sequences)) == sample(lm, users[:5], END, free)


def test_a_bound_needs_a_catalogue(lm, users):
    with pytest.raises(ConfigError, match="bound=false"):
        sample(lm, users[:1], END, SamplingSettings(bound=True))


def test_what_may_follow():
    bound = CatalogueBound(ItemTrie([(3, 1, END), (2, END), (3, END)]))
    assert bound.after(()).tolist() == [2, 3]
    assert bound.after((3,)).tolist() == [1, END]
    with pytest.raises(ValueError, match="no item begins"):
        bound.after((7,))
