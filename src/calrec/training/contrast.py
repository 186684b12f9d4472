"""The contrastive terms of a whole update, however many passes and processes it is spread over.

The terms need every vector of the update at once, a forward pass gives those of its own targets. So the terms are taken
on the vectors alone; their gradients by the vectors are then what each pass needs to send back through the model
(cached gradients: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from calrec.losses import ObjectiveSettings, contrastive_terms, objective
from calrec.training.alignment import Vectors

#: Rows of one process, (n, ...), to the rows of all, and the place of its own first one among them.
Gather = Callable[[Tensor], tuple[Tensor, int]]


@dataclass(frozen=True)
class Contrast:
    """One pass's part in the contrastive terms of its update.

    Attributes:
        terms: the pass's share of each term, unweighted: over all passes and processes these sum to the terms.
        value: their weighted sum.
        gradients: of the update's weighted terms by the pass's vectors.
    """

    terms: dict[str, Tensor]
    value: Tensor
    gradients: Vectors

    def through(self, vectors: Vectors) -> Tensor:
        """A scalar with the value of the pass's share, whose gradient by the vectors is that of the update's terms."""
        product = sum(((v * g).sum() for v, g in zip(vectors, self.gradients, strict=True)), start=self.value * 0)
        return product - product.detach() + self.value

    def scaled(self, by: float) -> Contrast:
        return Contrast(
            {name: term * by for name, term in self.terms.items()},
            self.value * by,
            Vectors(*(gradient * by for gradient in self.gradients)),
        )


def alone(rows: Tensor) -> tuple[Tensor, int]:
    """The ``Gather`` of one process."""
    return rows, 0


def contrast(
    settings: ObjectiveSettings, passes: Sequence[Vectors], keys: Sequence[Tensor], gather: Gather = alone
) -> list[Contrast]:
    """The contrastive terms over all targets of some passes, and of the same passes of all processes.

    Args:
        settings: which terms, their weights and temperature.
        passes: vectors of each pass, (n_p, D).
        keys: (n_p,) the text of each target, by its number; equal ones are no negatives of each other.
        gather: brings the other processes' rows.

    Returns:
        One for each pass.
    """
    sizes = [len(of_pass) for of_pass in keys]
    own = [torch.cat(parts).detach() for parts in zip(*passes, strict=True)]
    everyone = Vectors(*(gather(rows)[0].requires_grad_() for rows in own))
    all_keys, first = gather(torch.cat(list(keys)))
    with torch.autocast(all_keys.device.type, enabled=False), torch.enable_grad():
        terms = contrastive_terms(settings, *everyone, all_keys[:, None] == all_keys[None, :])
        total = objective(settings, terms)
        gradients = torch.autograd.grad(total, everyone, allow_unused=True, materialize_grads=True)
    mine = [torch.split(gradient[first : first + sum(sizes)], sizes) for gradient in gradients]
    shares = [size / len(all_keys) for size in sizes]
    return [
        Contrast(
            {name: term.detach() * share for name, term in terms.items()},
            total.detach() * share,
            Vectors(*of_pass),
        )
        for share, *of_pass in zip(shares, *mine, strict=True)
    ]


class RandomState:
    """The state of torch's random numbers at its making, so that a pass can be repeated with the same dropout."""

    def __init__(self, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(of) for of in self._devices]

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Random numbers as they came then; afterwards as if nothing had been drawn."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._cpu)
            for device, state in zip(self._devices, self._cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
