"""The loss over a catalogue in closed form, and against masking the whole vocabulary."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calrec.losses import Choices, catalogue, catalogue_nll


def choices_of(allowed, nodes, labels):
    """Decisions one after the other: at which node each is, and the right token."""
    vocabulary = sorted({token for tokens in allowed for token in tokens})
    pairs = [(node, vocabulary.index(token)) for node, tokens in enumerate(allowed) for token in tokens]
    return Choices(
        torch.arange(len(nodes)),
        torch.tensor(nodes),
        torch.tensor([vocabulary.index(label) for label in labels]),
        torch.tensor(vocabulary),
        *torch.tensor(pairs).T,
        len(allowed),
    )


def test_a_model_without_an_opinion_loses_the_logarithm_of_the_choices():
    choices = choices_of([(0, 3, 8), (2, 4)], [0, 1, 1], [3, 4, 2])
    loss = catalogue_nll(torch.zeros(3, 5), torch.randn(9, 5), choices)
    assert loss.item() == pytest.approx(math.log(3) + 2 * math.log(2))


@pytest.mark.parametrize("chunk", [1024, 2])
def test_it_is_the_masked_softmax_of_the_whole_vocabulary(chunk, monkeypatch):
    monkeypatch.setattr(catalogue, "CHUNK", chunk)
    torch.manual_seed(0)
    allowed, nodes, labels = [(1, 6, 7), (0, 6), (2, 3, 4, 5)], [2, 0, 0, 1, 2], [4, 6, 1, 0, 2]
    states = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    expected = torch.zeros(())
    for state, node, label in zip(states, nodes, labels, strict=True):
        masked = torch.full((9,), -torch.inf, dtype=torch.float64)
        tokens = list(allowed[node])
        log_probs = masked.index_put((torch.tensor(tokens),), (weight @ state)[tokens]).log_softmax(-1)
        expected = expected - log_probs[label]
    loss = catalogue_nll(states, weight, choices_of(allowed, nodes, labels))
    torch.testing.assert_close(loss, expected)
    for ours, plain in zip(
        torch.autograd.grad(loss, (states, weight)), torch.autograd.grad(expected, (states, weight)), strict=True
    ):
        torch.testing.assert_close(ours, plain)


@given(st.integers(2, 40))
def test_probabilities_of_a_node_sum_to_one(tokens):
    torch.manual_seed(tokens)
    state, weight = torch.randn(1, 4, dtype=torch.float64), torch.randn(50, 4, dtype=torch.float64)
    losses = [catalogue_nll(state, weight, choices_of([range(tokens)], [0], [label])) for label in range(tokens)]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1)


def test_no_decision_costs_nothing():
    empty = torch.empty(0, dtype=torch.int64)
    choices = Choices(empty, empty, empty, empty, empty, empty, 0)
    assert catalogue_nll(torch.zeros(0, 5), torch.randn(9, 5), choices).item() == 0


def test_half_precision_is_summed_in_float32():
    choices = choices_of([(0, 1)], [0], [1])
    loss = catalogue_nll(torch.zeros(1, 5, dtype=torch.bfloat16), torch.randn(2, 5).bfloat16(), choices)
    assert loss.dtype == torch.float32
