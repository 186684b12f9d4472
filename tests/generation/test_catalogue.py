"""Search by the catalogue's likelihood against walking through every text by plain forward passes."""

import numpy as np
import pytest
import torch

from calrec.generation import Prompt, catalogue_beam, catalogue_log_probs
from calrec.generation.catalogue import _NODES
from calrec.text.decisions import DecisionTree
from calrec.text.trie import ItemTrie

END = 12


@pytest.fixture(scope="module")
def sequences():
    """Forty items of one to six tokens; some share a text."""
    rng = np.random.default_rng(5)
    drawn = [(*rng.integers(0, 4, rng.integers(1, 7)).tolist(), END) for _ in range(40)]
    return [*drawn[:36], *drawn[:4]]


@pytest.fixture(scope="module")
def tree(sequences):
    return DecisionTree(ItemTrie(sequences))


def plain(lm, prompt, sequences):
    """(I,) log p of every item: at each token a softmax over what any text allows there, shared among equal texts."""
    found = np.zeros(len(sequences))
    for column, text in enumerate(sequences):
        with torch.no_grad():
            logits = lm(torch.tensor([[*prompt.token_ids, *text]])).logits[0]
        for depth, token in enumerate(text):
            allowed = sorted({other[depth] for other in sequences if other[:depth] == text[:depth]})
            log_probs = logits[len(prompt.token_ids) - 1 + depth, allowed].log_softmax(-1)
            found[column] += float(log_probs[allowed.index(token)])
        found[column] -= np.log(sequences.count(text))
    return found


@pytest.mark.parametrize("limit", [_NODES, 3])
def test_exact_log_probabilities_are_the_plain_ones_and_sum_to_one(lm, users, sequences, tree, limit, monkeypatch):
    monkeypatch.setattr("calrec.generation.catalogue._NODES", limit)
    found = catalogue_log_probs(lm, users[:5], tree, [range(len(sequences))] * 5, batch_users=3)
    for prompt, log_probs in zip(users[:5], found, strict=True):
        np.testing.assert_allclose(log_probs, plain(lm, prompt, sequences), atol=1e-9)
        assert np.exp(log_probs).sum() == pytest.approx(1)


def test_candidates_come_in_their_own_order(lm, users, sequences, tree):
    whole = catalogue_log_probs(lm, users[:2], tree, [range(len(sequences))] * 2)
    chosen = catalogue_log_probs(lm, users[:2], tree, [[7, 3, 39], []])
    np.testing.assert_allclose(chosen[0], whole[0][[7, 3, 39]], atol=1e-12)
    assert len(chosen[1]) == 0


def test_a_beam_as_wide_as_the_catalogue_is_the_exhaustive_ranking(lm, users, sequences, tree):
    for prompt, found in zip(users[:4], catalogue_beam(lm, users[:4], tree, len(sequences)), strict=True):
        expected = plain(lm, prompt, sequences)
        order = np.lexsort((np.arange(len(sequences)), -expected.round(9)))
        assert [item.column for item in found] == order.tolist()
        np.testing.assert_allclose([item.log_prob for item in found], expected[order], atol=1e-9)


def test_a_narrow_beam_gives_exact_log_probabilities_of_what_it_finds(lm, users, sequences, tree):
    for prompt, found in zip(users[:8], catalogue_beam(lm, users[:8], tree, 3, batch_users=5), strict=True):
        expected = plain(lm, prompt, sequences)
        assert len(found) == 3
        np.testing.assert_allclose([item.log_prob for item in found], expected[[i.column for i in found]], atol=1e-9)


@pytest.mark.parametrize("renormalise", [False, True])
def test_filters_are_exact(lm, users, sequences, tree, renormalise):
    rng = np.random.default_rng(1)
    masks = [rng.random(len(sequences)) < share for share in (0.1, 0.3, 0.6, 0.9)]
    found = catalogue_beam(lm, users[:4], tree, len(sequences), masks, renormalise)
    for prompt, mask, items in zip(users[:4], masks, found, strict=True):
        columns = np.flatnonzero(mask)
        known = [sequences[column] for column in columns] if renormalise else sequences
        expected = plain(lm, prompt, known)
        expected = dict(zip(columns, expected if renormalise else expected[columns], strict=True))
        assert {item.column for item in items} == set(columns)
        np.testing.assert_allclose(
            [item.log_prob for item in items], [expected[item.column] for item in items], atol=1e-9
        )


def test_candidates_may_have_all_probability_among_them(lm, users, sequences, tree):
    (found,) = catalogue_log_probs(lm, users[:1], tree, [[2, 5, 11, 38]], renormalise=True)
    np.testing.assert_allclose(found, plain(lm, users[0], [sequences[c] for c in (2, 5, 11, 38)]), atol=1e-9)


def test_a_filter_that_allows_nothing_finds_nothing(lm, users, sequences, tree):
    nothing = np.zeros(len(sequences), dtype=bool)
    found = catalogue_beam(lm, users[:2], tree, 4, [nothing, None])
    assert found[0] == []
    assert len(found[1]) == 4


def test_a_beam_that_leaves_an_item_out_has_as_many_as_asked_for(lm, users, sequences, tree):
    (first,) = catalogue_beam(lm, users[:1], tree, 5)
    mask = np.ones(len(sequences), dtype=bool)
    mask[first[0].column] = False
    (rest,) = catalogue_beam(lm, users[:1], tree, 5, [mask])
    assert len(rest) == 5
    assert first[0].column not in {item.column for item in rest}


def test_batches_change_nothing(lm, users, tree):
    together = catalogue_beam(lm, users[:9], tree, 4, batch_users=9)
    alone = [catalogue_beam(lm, [user], tree, 4)[0] for user in users[:9]]
    assert [[item.column for item in of_user] for of_user in together] == [
        [item.column for item in of_user] for of_user in alone
    ]


def test_one_text_alone_is_certain(lm, users):
    tree = DecisionTree(ItemTrie([(1, 2, END), (1, 2, END)]))
    (found,) = catalogue_beam(lm, users[:1], tree, 2)
    assert [(item.column, item.log_prob) for item in found] == [(0, -np.log(2)), (1, -np.log(2))]


def test_a_first_token_that_is_certain_is_computed(lm):
    sequences = [(3, 1, END), (3, 2, END), (3, 1, 4, END)]
    tree, prompt = DecisionTree(ItemTrie(sequences)), Prompt("u", (5, 6))
    (found,) = catalogue_log_probs(lm, [prompt], tree, [range(3)])
    np.testing.assert_allclose(found, plain(lm, prompt, sequences), atol=1e-9)
