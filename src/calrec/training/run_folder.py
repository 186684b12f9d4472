"""What a trained run leaves on disk: a plain Hugging Face folder, and beside it what a recommender needs."""

from __future__ import annotations

import shutil
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calrec.atomic import room_for, sync, sync_tree
from calrec.data.learnt import LEARNT, NOTHING, LearntPurchases
from calrec.errors import ModelError
from calrec.model.backbones import BackboneSettings, locate
from calrec.model.weights import without_progress_bars
from calrec.training.model_card import model_card
from calrec.training.run_card import BACKBONE, DomainCard, RunCard

CARD, ITEMS = "calrec.json", "items.parquet"


def save_model(
    folder: Path, lm: Any, tokenizer: Any, card: RunCard, items: Path, learnt: LearntPurchases | None = None
) -> None:
    """Write weights, tokenizer, ``calrec.json`` and the catalogue; the card comes last, so a folder with one is whole.

    Files are written beside the folder and then moved into it, since a run's folder holds other things as well.

    Args:
        folder: the run's, or a stage's in it.
        lm: the model. tokenizer: its.
        card: what is known of it.
        items: an ``items.parquet`` of a domain.
        learnt: the purchases that it was trained on; None where they are not known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in folder.glob(".saving-*"):
        shutil.rmtree(left_by_a_kill)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as name, room_for("the model", folder):
        part = Path(name)
        with without_progress_bars():
            lm.save_pretrained(part)
        tokenizer.save_pretrained(part)
        shutil.copyfile(items, part / ITEMS)
        if learnt is not None:
            learnt.save(part / LEARNT)
        (part / "README.md").write_text(model_card(card), encoding="utf-8")
        (part / CARD).write_text(card.model_dump_json(indent=2), encoding="utf-8")
        # safetensors lets the owner alone read what it wrote, and a service may run as somebody else.
        for file in filter(Path.is_file, part.iterdir()):
            file.chmod((part / CARD).stat().st_mode)
        sync_tree(part)
        for file in sorted(part.iterdir(), key=lambda file: file.name == CARD):
            sync(folder)
            file.replace(folder / file.name)
        sync(folder)


def learnt_before(settings: BackboneSettings) -> tuple[dict[str, tuple[DomainCard, ...]], LearntPurchases | None]:
    """What a backbone that is a run itself was trained on: its domains, and the purchases where they are known."""
    if settings.init != "pretrained":
        return {}, NOTHING
    folder = locate(settings.backbone, settings.revision).folder  # of a hub's run, too
    if not is_whole(folder):
        return {}, NOTHING
    domains = tuple(chain.from_iterable(load_card(folder).domains.values()))
    return ({BACKBONE: domains}, LearntPurchases.load(folder)) if domains else ({}, NOTHING)


def is_whole(folder: Path) -> bool:
    return (folder / CARD).is_file()


def load_card(folder: Path) -> RunCard:
    """Read a run's card.

    Raises:
        ModelError: the folder is no run.
    """
    try:
        return RunCard.model_validate_json((folder / CARD).read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{folder} is no run: it has no {CARD}; make one with `calrec train`") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the file"
        raise ModelError(f"{folder / CARD}: {where}: {error.errors()[0]['msg']}; train the run again") from None
