"""``calrec.json``: what is known of a trained run."""

from __future__ import annotations

from collections.abc import Mapping

from calrec.settings import Settings
from calrec.training.config import TrainingPlan

BACKBONE = "backbone"


class DomainCard(Settings):
    """A domain that a run was trained on, by the hash of its split."""

    name: str
    split_hash: str


class RunCard(Settings):
    """``calrec.json``: where a model comes from and how its prompts are written.

    Attributes:
        version: of calrec.
        stage: the last one trained.
        plan: the recipe as it was trained, the folders of its domains included.
        domains: by stage, what it was trained on; by ``BACKBONE`` what the backbone was, where that is a run.
        exclude_last: whether the last item of a history is never recommended, as in the target domain.
        backbone: where the weights began. fingerprint: SHA-256 of those.
        best: validation terms of the weights that were kept, by stage.
        tokens: tokens of sequences that training saw, by stage.
    """

    version: str
    stage: str
    plan: TrainingPlan
    domains: Mapping[str, tuple[DomainCard, ...]]
    exclude_last: bool
    backbone: str
    fingerprint: str
    best: Mapping[str, Mapping[str, float]]
    tokens: Mapping[str, int]
