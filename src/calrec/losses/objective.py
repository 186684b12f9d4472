"""The weighted sum of the paper's terms, each kept by its name."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, model_validator
from torch import Tensor

from calrec.losses.info_nce import info_nce
from calrec.settings import Settings


class ObjectiveSettings(Settings):
    """L = (1 − α − β)·L_NIG + α·L_TT + β·L_UT, and what goes beyond the paper.

    Attributes:
        alpha: weight of L_TT; the paper's is 0.125 [B]; 0 turns the term off.
        beta: weight of L_UT; 0.025 [C]; 0 turns the term off.
        temperature: τ of both contrastive terms; 0.5 [B].
        next_item: whether L_NIG is part of the sum; for ablations.
        item_weight: beyond the paper: the weight of the language-modelling loss of the item's own text in the target
            tower's pass; added to the sum, 0 turns it off.
    """

    alpha: float = Field(default=0.125, ge=0, le=1)
    beta: float = Field(default=0.025, ge=0, le=1)
    temperature: float = Field(default=0.5, gt=0)
    next_item: bool = True
    item_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _weights_leave_something(self) -> ObjectiveSettings:
        if self.alpha + self.beta > 1:
            raise ValueError(f"alpha + beta is {self.alpha + self.beta:g}, and may be 1 at most")
        if not (self.weights or self.item_weight):
            raise ValueError("every term is switched off: nothing would be learnt")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The paper's terms that are switched on, by name."""
        weights = {"nig": (1 - self.alpha - self.beta) * self.next_item, "tt": self.alpha, "ut": self.beta}
        return {name: weight for name, weight in weights.items() if weight > 0}


@dataclass(frozen=True)
class Terms:
    """The terms that are switched on, unweighted, and their weighted sum; all scalars."""

    loss: Tensor
    by_name: dict[str, Tensor]


def objective(
    settings: ObjectiveSettings,
    next_item: Tensor | None,
    user: Tensor,
    target_given_user: Tensor,
    target: Tensor | None,
    same_target: Tensor,
    item: Tensor | None = None,
) -> Terms:
    """The training objective of one batch of N targets.

    Args:
        settings: weights and temperature.
        next_item: L_NIG, a scalar, where it is switched on.
        user: (N, D) v_U. target_given_user: (N, D) v_{T|U}. target: (N, D) v_T.
        same_target: (N, N) bool, True where two rows have the same target: these are no negatives of each other.
        item: the language-modelling loss of the items' texts, where it is switched on.
    """
    terms: dict[str, Tensor] = {}
    if "nig" in settings.weights and next_item is not None:
        terms["nig"] = next_item
    # The anchor is v_T and the sum of the denominator runs over the user tower's vectors [C].
    if "tt" in settings.weights and target is not None:
        terms["tt"] = info_nce(target, target_given_user, settings.temperature, same_target)
    if "ut" in settings.weights and target is not None:
        terms["ut"] = info_nce(target, user, settings.temperature, same_target)
    weights = dict(settings.weights)
    if item is not None and settings.item_weight:
        terms["item"] = item
        weights["item"] = settings.item_weight
    return Terms(sum((weights[name] * term for name, term in terms.items()), start=user.new_zeros(())), terms)
