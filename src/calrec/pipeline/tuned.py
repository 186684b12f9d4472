"""``inference.json`` in a run's folder: the settings that ``calrec tune`` chose, and how it came to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calrec.atomic import replace_text
from calrec.errors import ConfigError
from calrec.pipeline.settings import InferenceSettings
from calrec.settings import read_settings
from calrec.training.run_folder import CARD, load_card

INFERENCE = "inference.json"


def load_inference(run: Path, overrides: Sequence[str] = ()) -> InferenceSettings:
    """The run's settings of inference, changed by ``KEY=VALUE`` texts.

    Where none were chosen they are the paper's, but a run that was trained over its catalogue ranks by a beam: it never
    learned to write freely.

    Raises:
        ConfigError: an unknown setting, or a file that cannot be read.
    """
    path, defaults = run / INFERENCE, _defaults(run)
    if not path.exists():
        return read_settings(InferenceSettings, defaults, overrides)
    try:
        values = json.loads(path.read_bytes())["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): remove it, or call calrec tune again") from None
    read_settings(InferenceSettings, values, where=str(path))  # so that an error says which of the two is at fault
    return read_settings(InferenceSettings, defaults | values, overrides)


def _defaults(run: Path) -> dict[str, Any]:
    over_catalogue = (run / CARD).exists() and load_card(run).plan.objective.next_item == "catalogue"
    return {"method": "beam"} if over_catalogue else {}


def save_inference(run: Path, settings: InferenceSettings, chosen_by: Mapping[str, Any]) -> None:
    """Keep settings in the run's folder, beside what they were chosen by."""
    # Only what differs from the defaults: those may become better ones.
    values = settings.model_dump(mode="json", exclude_defaults=True) | {"method": settings.method}
    replace_text(run / INFERENCE, json.dumps({"settings": values, "chosen_by": chosen_by}, indent=2) + "\n")
