"""Towers and objective as one module, so that whatever wraps a model (DDP, FSDP) wraps the whole computation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from calrec.losses import ObjectiveSettings, Terms, linear_nll, objective
from calrec.model.towers import Towers


class Alignment(nn.Module):
    """From a batch to the terms of the objective.

    Args:
        towers: with the weights to train.
        settings: which terms there are, and their weights.
    """

    def __init__(self, towers: Towers, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.towers = towers
        self.settings = settings

    def forward(
        self,
        labels: Tensor,
        target_item: Tensor,
        item_labels: Tensor | None = None,
        tokens_an_update: Tensor | None = None,
        passes_an_update: int = 1,
        **batch: Any,
    ) -> Terms:
        """Terms of one pass, scaled so that their sum over an update's passes is the update's objective.

        Args:
            labels: (P,) target tokens. target_item: (N,). item_labels: (Q,). batch: the rest of ``Collator``'s.
            tokens_an_update: target tokens of all passes of the update: L_NIG is their mean. Those of this one if None.
            passes_an_update: passes that the other terms, each a mean over its own pass, are averaged over.
        """
        states = self.towers(target_item=target_item, **batch)
        head = _as_product(self.towers.head_weight)
        tokens = labels.numel() if tokens_an_update is None else tokens_an_update
        next_item = None
        if "nig" in self.settings.weights:
            # The other terms are means over passes, so this one is scaled up to the same convention before averaging.
            next_item = linear_nll(_as_product(states.predicting), head, labels) * passes_an_update / tokens
        item = None
        if item_labels is not None and states.item_predicting is not None:
            item = linear_nll(_as_product(states.item_predicting), head, item_labels) / item_labels.numel()
        with torch.autocast(labels.device.type, enabled=False):
            terms = objective(
                self.settings,
                next_item,
                states.user,
                states.target_given_user,
                states.target,
                same_target=target_item[:, None] == target_item[None, :],
                item=item,
            )
        scaled = {name: term.detach() / passes_an_update for name, term in terms.by_name.items()}
        return Terms(terms.loss / passes_an_update, scaled)

    @torch.no_grad()
    def sums(self, **batch: Any) -> dict[str, tuple[float, int]]:
        """Each term of one pass as (sum, count), for means over many passes whatever their sizes."""
        terms = self(**batch).by_name
        counts = {"nig": batch["labels"].numel(), "item": batch.get("item_labels", batch["labels"]).numel()}
        targets = batch["target_item"].numel()
        return {
            name: (float(term) * counts.get(name, targets), counts.get(name, targets)) for name, term in terms.items()
        }


def _as_product(tensor: Tensor) -> Tensor:
    """The tensor as autocast would take it into a matrix product; inside ``linear_nll`` autocast does not see it."""
    device = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tensor
