"""Checkpoints on disk: whole or not there, checked before they are used, and never more than asked for."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors

from calrec.atomic import sync, sync_tree

logger = logging.getLogger(__name__)

STATE = "trainer_state.json"
# Checkpoints on their way in and out; on the same file system, so that moving one is a rename.
UNFINISHED = ".unfinished"
# What training cannot go on without, by glob patterns; FSDP and DeepSpeed may keep states in folders of their own.
_NEEDED = {
    "trainer state": (STATE,),
    "weights": ("*model.safetensors", "pytorch_model_fsdp*", "global_step*"),
    "optimizer": ("optimizer*", "global_step*"),
    "schedule": ("scheduler.pt", "global_step*"),
    "random state": ("rng_state*",),
}


def checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of a stage by their update, in order."""
    found = {int(path.name[11:]): path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()}
    return dict(sorted(found.items()))


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that training can go on from to the end of an unbroken run.

    That takes the best checkpoint so far as well, since it may stay the best.
    """
    for checkpoint in reversed(checkpoints(folder).values()):
        best = checkpoint if damage(checkpoint) else _best(checkpoint)
        wrong = damage(best)
        if not wrong:
            return checkpoint
        logger.warning("%s is damaged (%s): going on from a checkpoint before %s", best, wrong, checkpoint.name)
    return None


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, as far as can be seen without reading all of it."""
    for what, patterns in _NEEDED.items():
        if not any(path for pattern in patterns for path in checkpoint.glob(pattern)):
            return f"no {what}"
    try:
        json.loads((checkpoint / STATE).read_bytes())
        for weights in checkpoint.glob("*.safetensors"):
            with safetensors.safe_open(weights, "pt"):  # compares the header with the size of the file
                pass
    except (ValueError, safetensors.SafetensorError) as error:
        return str(error)
    cut = [path.name for path in checkpoint.rglob("*.pt*") if not zipfile.is_zipfile(path)]
    return f"{cut[0]} is cut off" if cut else None


def _best(checkpoint: Path) -> Path:
    """The best checkpoint when this one was written."""
    best = json.loads((checkpoint / STATE).read_bytes()).get("best_global_step")
    return checkpoint.with_name(f"checkpoint-{best}") if best else checkpoint


def publish(part: Path, folder: Path) -> None:
    """Give a checkpoint that is written its place in ``folder``, where it is found from now on."""
    sync_tree(part)
    place = folder / part.name
    if place.exists():  # one that was damaged
        _remove(place)
    part.rename(place)
    sync(folder)


def rotate(folder: Path, last: int, limit: int | None) -> None:
    """Delete what is not kept once checkpoint ``last`` is there; training could not go on from what is newer."""
    found = checkpoints(folder)
    best = {step: int(_best(path).name[11:]) for step, path in found.items() if step <= last and not damage(path)}
    for step in found.keys() - kept(best, limit or len(found)):
        _remove(found[step])


def kept(best: Mapping[int, int], limit: int) -> set[int]:
    """Which checkpoints to keep: the newest, and with each the one that was the best when it was written.

    The last one and the best one are always kept; others while there are no more than ``limit``. Since the best comes
    with each, training can go on from whichever is kept.

    Args:
        best: the best one by update. limit: of checkpoints.
    """
    keep: set[int] = set()
    for step in sorted(best, reverse=True):
        with_it = keep | {step, best[step]}
        if not keep or (len(with_it) <= limit and best[step] in best):
            keep = with_it
    return keep


def _remove(checkpoint: Path) -> None:
    """First out of sight, so that one that is half deleted is never taken for a checkpoint."""
    unfinished = checkpoint.parent / UNFINISHED
    unfinished.mkdir(exist_ok=True)
    hidden = unfinished / f"old-{checkpoint.name}"
    shutil.rmtree(hidden, ignore_errors=True)
    checkpoint.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)
