"""The backbone as it is, as a run: what training is measured against."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from calrec.atomic import sole_writer
from calrec.data.store import ITEMS, Domain
from calrec.errors import ConfigError
from calrec.model.backbones import load_backbone
from calrec.training.config import TrainingPlan
from calrec.training.run_card import RunCard
from calrec.training.run_folder import is_whole, learnt_before, load_card, save_model

#: What stands in the card of such a run in place of the last stage.
UNTRAINED = "untrained"


def save_untrained(plan: TrainingPlan, domain: Domain, out: Path) -> RunCard:
    """Write a recipe's backbone as a run that no stage has changed; every command takes it as it takes others.

    Args:
        plan: whose backbone and template.
        domain: whose items it is to recommend.
        out: the run's folder; one that holds this very run is left as it is.

    Raises:
        ConfigError: ``out`` is in use, or holds another run.
        ModelError: the backbone cannot be used.
    """
    if is_whole(out):
        card = load_card(out)
        if (card.stage, card.plan.deciding) != (UNTRAINED, plan.deciding):
            raise ConfigError(f"{out} holds another run: choose another --out")
        return card
    with sole_writer(out):
        backbone = load_backbone(plan.model)
        domains, learnt = learnt_before(plan.model)
        card = RunCard(
            version=version("calrec"),
            stage=UNTRAINED,
            plan=plan,
            domains=domains,
            exclude_last=domain.exclude_last,
            backbone=backbone.source,
            fingerprint=backbone.fingerprint,
            best={},
            tokens={},
        )
        save_model(out, backbone.lm, backbone.tokenizer, card, domain.path / ITEMS, learnt)
    return card
