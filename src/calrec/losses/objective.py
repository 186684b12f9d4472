"""The weighted sum of the paper's terms, each kept by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator
from torch import Tensor

from calrec.losses.info_nce import info_nce
from calrec.settings import Settings


class ObjectiveSettings(Settings):
    """L = (1 − α − β)·L_NIG + α·L_TT + β·L_UT, and what goes beyond the paper.

    Attributes:
        alpha: weight of L_TT; the paper's is 0.125 [B]; 0 turns the term off.
        beta: weight of L_UT; 0.025 [C]; 0 turns the term off.
        temperature: τ of both contrastive terms; 0.5 [B].
        next_item: the next item's loss. ``free`` is the paper's L_NIG, normalised over all texts. Beyond the paper,
            ``catalogue`` is normalised over the catalogue's texts, so that decisions between items are all it learns
            from (`calrec.losses.catalogue_nll`); ``none`` leaves it out, for ablations.
        free_share: with ``next_item: catalogue``, the share of L_NIG in the next item's weight, 0 to below 1.
        item_weight: beyond the paper: the weight of the language-modelling loss of the item's own text in the target
            tower's pass; added to the sum, 0 turns it off.
    """

    alpha: float = Field(default=0.125, ge=0, le=1)
    beta: float = Field(default=0.025, ge=0, le=1)
    temperature: float = Field(default=0.5, gt=0)
    next_item: Literal["free", "catalogue", "none"] = "free"
    free_share: float = Field(default=0.0, ge=0, lt=1)
    item_weight: float = Field(default=0.0, ge=0)

    @field_validator("next_item", mode="before")
    @classmethod
    def _true_was_free(cls, value: object) -> object:
        # Recipes and runs of earlier versions say whether L_NIG is there.
        named = {"true": "free", "false": "none"}
        return named.get(str(value).lower(), value) if isinstance(value, (bool, str)) else value

    @model_validator(mode="after")
    def _of_the_catalogue_alone(self) -> ObjectiveSettings:
        if self.free_share and self.next_item != "catalogue":
            raise ValueError(f"free_share belongs to next_item: catalogue; here it is {self.next_item}")
        return self

    @model_validator(mode="after")
    def _weights_leave_something(self) -> ObjectiveSettings:
        if self.alpha + self.beta > 1:
            raise ValueError(f"alpha + beta is {self.alpha + self.beta:g}, and may be 1 at most")
        if not self.weights:
            raise ValueError("every term is switched off: nothing would be learnt")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The terms that are switched on: ``nig``, ``tt``, ``ut``; beyond the paper ``catalogue`` and ``item``."""
        free = {"free": 1.0, "catalogue": self.free_share, "none": 0.0}[self.next_item]
        next_item = 1 - self.alpha - self.beta
        weights = {
            "nig": next_item * free,
            "catalogue": next_item * (1 - free) * (self.next_item == "catalogue"),
            "tt": self.alpha,
            "ut": self.beta,
            "item": self.item_weight,
        }
        return {name: weight for name, weight in weights.items() if weight > 0}

    @property
    def contrasts(self) -> bool:
        """Whether there is a contrastive term, and so a need for the target tower's vectors."""
        return bool(self.alpha or self.beta)


def contrastive_terms(
    settings: ObjectiveSettings, user: Tensor, target_given_user: Tensor, target: Tensor, same_target: Tensor
) -> dict[str, Tensor]:
    """L_TT and L_UT of N targets, those that are switched on.

    Args:
        settings: which there are, and the temperature.
        user: (N, D) v_U. target_given_user: (N, D) v_{T|U}. target: (N, D) v_T.
        same_target: (N, N) bool, True where two rows have the same target: these are no negatives of each other.
    """
    # The anchor is v_T and the sum of the denominator runs over the user tower's vectors [C].
    candidates = {"tt": target_given_user, "ut": user}
    return {
        name: info_nce(target, of_user, settings.temperature, same_target)
        for name, of_user in candidates.items()
        if name in settings.weights
    }


def objective(settings: ObjectiveSettings, terms: Mapping[str, Tensor]) -> Tensor:
    """The weighted sum of terms: a scalar."""
    weighted = [settings.weights[name] * term for name, term in terms.items()]
    return sum(weighted[1:], start=weighted[0])
