"""One folder, one recipe: what was learnt by one is never gone on with by another."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

from calrec.errors import ConfigError
from calrec.settings import leaves
from calrec.training.checkpoints import checkpoints
from calrec.training.config import TrainingPlan
from calrec.training.run_folder import is_whole

# Differences that an error names.
_NAMED = 3


def has_weights(out: Path) -> bool:
    """Whether anything that was learnt is in a run's folder; until then its recipe may be mended."""
    stages = out.glob("stage-*")
    return is_whole(out) or any(is_whole(stage / "model") or checkpoints(stage) for stage in stages)


def require_same_plan(plan: TrainingPlan, path: Path, mendable: bool = False) -> None:
    """Refuse a folder in which a file names another plan; one without that file may have any.

    Args:
        plan: that is to be carried out there.
        path: of the file.
        mendable: whether another plan may still take the place of that one.

    Raises:
        ConfigError: the plans differ in what decides the weights, or the file is no plan.
    """
    if not path.exists():
        return
    try:
        before, now = (
            dict(leaves(one.deciding)) for one in (TrainingPlan.model_validate_json(path.read_bytes()), plan)
        )
    except ValueError:
        raise ConfigError(f"{path} is no plan of a run: choose another --out") from None
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed and not mendable:
        said = [f"{key} {_shown(before.get(key))} there and {_shown(now.get(key))} here" for key in changed[:_NAMED]]
        more = f"; and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise ConfigError(
            f"{path.parent} holds a run of another recipe ({'; '.join(said)}{more}): choose another --out, or set "
            "these as they are there"
        )


def _shown(value: Any) -> str:
    return shorten(str(value), 60)
