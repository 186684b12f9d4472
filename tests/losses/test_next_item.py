"""L_NIG equals transformers' own loss on the same labels, whole or in chunks."""

import pytest
import torch
import torch.nn.functional as F

from calrec.losses import linear_nll, next_item_nll


def test_equals_the_loss_of_transformers(tiny_lm):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 256, (3, 12), generator=generator)
    labels = ids.masked_fill(torch.rand(3, 12, generator=generator) < 0.5, -100)
    out = tiny_lm(input_ids=ids, labels=labels)
    torch.testing.assert_close(next_item_nll(out.logits, labels), out.loss)


def test_uniform_logits_give_log_of_the_vocabulary():
    labels = torch.tensor([[-100, 3, 4, -100]])
    assert next_item_nll(torch.zeros(1, 4, 10), labels).item() == pytest.approx(torch.tensor(10.0).log().item())


def test_without_a_target_it_is_zero():
    assert next_item_nll(torch.randn(1, 4, 10), torch.full((1, 4), -100)).item() == 0


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("train_head", [True, False])
def test_chunks_give_the_loss_and_the_gradients_of_the_whole(chunk, train_head):
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64, requires_grad=train_head)
    labels = torch.randint(0, 11, (7,), generator=generator)

    expected = F.cross_entropy(states @ weight.T, labels, reduction="sum")
    wanted = torch.autograd.grad(expected * 0.3, [states, weight] if train_head else [states])
    actual = linear_nll(states, weight, labels, chunk)
    given = torch.autograd.grad(actual * 0.3, [states, weight] if train_head else [states])

    torch.testing.assert_close(actual, expected)
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_no_positions_no_loss():
    states = torch.empty(0, 5, requires_grad=True)
    loss = linear_nll(states, torch.randn(11, 5), torch.empty(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
