"""The run behind results: what it was trained from, and its stages' logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from calrec.errors import DataError
from calrec.model.weights import in_folder
from calrec.training.curves import History
from calrec.training.run_card import RunCard
from calrec.training.run_folder import load_card

HISTORY = "history.json"


@dataclass(frozen=True)
class TrainingLog:
    """A run, and what its stages wrote down.

    Attributes:
        card: of the run. fingerprint: SHA-256 of its weights.
        histories: a stage's name -> its log; stages without one are left out.
    """

    card: RunCard
    fingerprint: str
    histories: Mapping[str, History]


def training_log(run: Path) -> TrainingLog:
    """Read a run.

    Raises:
        ModelError: the folder is no run, or lacks weights.
        DataError: no stage of it has a log, or one cannot be read.
    """
    card = load_card(run)
    paths = {stage: run / stage / HISTORY for stage in card.tokens}
    histories = {stage: _history(path) for stage, path in paths.items() if path.is_file()}
    if not histories:
        raise DataError(f"{run} has no {HISTORY} of a stage: leave --run out, or name the folder it was trained in")
    return TrainingLog(card, in_folder(run).fingerprint, histories)


def _history(path: Path) -> History:
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): train the stage again, or leave --run out") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path} is no log of a stage: train the stage again, or leave --run out")
    return entries
