"""Towers and head as one module, so that whatever wraps a model (DDP, FSDP) wraps all that has weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from calrec.losses import Choices, ObjectiveSettings, catalogue_nll, linear_nll
from calrec.model.towers import Towers, autocast_product


class Vectors(NamedTuple):
    """What the contrastive terms compare, (N, D) each: v_U, v_{T|U} and v_T of N targets."""

    user: Tensor
    target_given_user: Tensor
    target: Tensor


class PassOutput(NamedTuple):
    """What one forward pass adds to the objective; what is switched off is None.

    Attributes:
        next_item: sum of the negative log-likelihoods of the pass's target tokens, a scalar.
        item: the same of its items' own texts.
        vectors: for the contrastive terms.
        catalogue: sum of the negative log-likelihoods of the pass's decisions.
    """

    next_item: Tensor | None
    item: Tensor | None
    vectors: Vectors | None
    catalogue: Tensor | None = None


class Alignment(nn.Module):
    """From a batch to what the objective is made of.

    Args:
        towers: with the weights to train.
        settings: which terms there are.
    """

    def __init__(self, towers: Towers, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.towers = towers
        self.settings = settings

    def forward(
        self,
        labels: Tensor,
        item_labels: Tensor | None = None,
        vectors_only: bool = False,
        choices: Mapping[str, Any] | None = None,
        **batch: Any,
    ) -> PassOutput:
        """Both towers over one batch.

        Args:
            labels: (P,) target tokens. item_labels: (Q,). choices: the fields of ``Choices``, places among the P.
            batch: the rest of ``Collator``'s.
            vectors_only: leave the vocabulary out, whose products cost most of the time.
        """
        states = self.towers(**batch)
        vectors = None
        if self.settings.contrasts and states.target is not None:
            vectors = Vectors(states.user, states.target_given_user, states.target)
        if vectors_only:
            return PassOutput(None, None, vectors)
        head = autocast_product(self.towers.head_weight)
        next_item = item = catalogue = None
        if "nig" in self.settings.weights:
            next_item = linear_nll(autocast_product(states.predicting), head, labels)
        if "catalogue" in self.settings.weights and choices is not None:
            catalogue = catalogue_nll(autocast_product(states.predicting), head, Choices(**choices))
        if "item" in self.settings.weights and item_labels is not None and states.item_predicting is not None:
            item = linear_nll(autocast_product(states.item_predicting), head, item_labels)
        return PassOutput(next_item, item, vectors, catalogue)
