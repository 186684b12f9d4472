"""L_NIG: the negative log-likelihood of the target's tokens, given the history."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
#: Positions whose logits exist at one time.
CHUNK = 1024


def next_item_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of the target's tokens.

    Args:
        logits: (B, L, V); those at position p predict the token at p + 1.
        labels: (B, L); the token itself where it belongs to a target, −100 elsewhere. Shifted by one in here.

    Returns:
        A scalar, in nats a token; 0 where there is no target token.
    """
    shifted = labels[:, 1:].reshape(-1)
    # At least float32: a softmax over a vocabulary loses too much below.
    predicting = logits[:, :-1].reshape(len(shifted), -1).to(torch.promote_types(logits.dtype, torch.float32))
    losses = F.cross_entropy(predicting, shifted, ignore_index=IGNORED, reduction="sum")
    return losses / (shifted != IGNORED).sum().clamp(min=1)


def linear_nll(states: Tensor, weight: Tensor, labels: Tensor, chunk: int = CHUNK) -> Tensor:
    """Sum of negative log-likelihoods under a linear head, without ever holding the logits of more than a chunk.

    The same as ``cross_entropy(states @ weight.T, labels, reduction="sum")``. Gradients are taken chunk by chunk on
    the way forward, while a chunk's probabilities exist, so nothing is computed twice.

    Args:
        states: (P, D) at the positions that predict a target's token.
        weight: (V, D) of the head.
        labels: (P,) the tokens to predict.
        chunk: positions whose logits exist at one time.
    """
    # Autograd tells a function of its own which inputs have gradients, and not that nobody wants these.
    wanted = weight if torch.is_grad_enabled() else weight.detach()
    return _LinearNll.apply(states, wanted, labels, chunk)  # type: ignore[no-any-return, no-untyped-call]


class _LinearNll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> Tensor:
        states_wanted, weight_wanted = ctx.needs_input_grad[:2]
        accumulated = torch.float64 if states.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=accumulated, device=states.device)
        states_grad = torch.empty_like(states) if states_wanted else None
        weight_grad = torch.zeros_like(weight, dtype=accumulated) if weight_wanted else None
        for start in range(0, len(states), chunk):
            here = slice(start, start + chunk)
            log_probs = F.log_softmax(states[here] @ weight.T, dim=-1, dtype=accumulated)
            columns = labels[here, None]
            total -= log_probs.gather(1, columns).sum()
            if states_grad is None and weight_grad is None:
                del log_probs
                continue
            # d nll / d logits = softmax − one-hot
            slope = log_probs.exp_().scatter_add_(1, columns, log_probs.new_full((1, 1), -1.0).expand_as(columns))
            del log_probs
            slope = slope.to(states.dtype)
            if states_grad is not None:
                torch.mm(slope, weight, out=states_grad[here])
            if weight_grad is not None:
                weight_grad += slope.T @ states[here]
            del slope  # nothing of a chunk is left when the next one's logits are made
        ctx.save_for_backward(states_grad, weight_grad)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        states_grad, weight_grad = ctx.saved_tensors
        return (
            None if states_grad is None else (states_grad * scale).to(states_grad.dtype),
            None if weight_grad is None else (weight_grad * scale).to(ctx.weight_dtype),
            None,
            None,
        )
