"""The networks themselves: who sees what, and that padding is seen by none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from calrec.baselines.sequential.networks import Causal, Cloze, Recurrent, TextCausal

ITEMS, LENGTH, DIM = 7, 6, 8


def networks():
    torch.manual_seed(0)
    made = {
        "recurrent": Recurrent(ITEMS, DIM, layers=2, dropout=0.5),
        "causal": Causal(ITEMS, LENGTH, DIM, layers=2, heads=2, dropout=0.5),
        "cloze": Cloze(ITEMS, LENGTH, DIM, layers=2, heads=2, dropout=0.5, masked=0.5),
        "text": TextCausal(torch.randn(ITEMS, 5), LENGTH, DIM, 2, 2, dropout=0.5, experts=3, temperature=0.1),
    }
    return {name: network.eval() for name, network in made.items()}


NETWORKS = networks()
SHORT, LONG = torch.tensor([3, 1]), torch.tensor([2, 5, 7, 1, 1, 4])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_padded_batch_predicts_what_each_history_alone_predicts(name):
    network = NETWORKS[name]
    batch = torch.stack([functional.pad(SHORT, (0, len(LONG) - len(SHORT))), LONG])
    together = network.logits(network.next_states(batch), ITEMS)
    alone = [network.logits(network.next_states(row[None]), ITEMS) for row in (SHORT, LONG)]
    assert together.shape == (2, ITEMS)
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_masked_model_sees_what_comes_later(name):
    network, changed = NETWORKS[name], LONG.clone()
    changed[-1] = 6
    before, after = (network.states(tokens[None])[0, :-1] for tokens in (LONG, changed))
    assert torch.allclose(before, after, atol=1e-6) == (name != "cloze")


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_candidates_have_the_logits_that_they_have_among_all(name):
    network, states = NETWORKS[name], torch.randn(3, DIM)
    assert torch.allclose(network.logits(states, 4), network.logits(states, ITEMS)[:, :4], atol=1e-6)


def test_a_causal_model_learns_each_next_item():
    inputs, targets = NETWORKS["causal"].examples(LONG[None], torch.Generator())
    assert inputs[0].tolist() == [2, 5, 7, 1, 1]
    assert targets[0].tolist() == [5, 7, 1, 1, 4]


@given(lengths=st.lists(st.integers(1, LENGTH), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_every_sequence_hides_an_item_and_nothing_but_hidden_items_is_learnt(lengths, seed):
    cloze = NETWORKS["cloze"]
    tokens = torch.zeros(len(lengths), LENGTH, dtype=torch.long)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = LONG[:length]
    inputs, targets = cloze.examples(tokens, torch.Generator().manual_seed(seed))
    hidden = inputs == cloze.mask
    assert hidden.any(dim=1).all()
    assert torch.equal(targets, tokens.masked_fill(~hidden, 0))
    assert torch.equal(inputs[~hidden], tokens[~hidden])
    assert not hidden[tokens == 0].any()
