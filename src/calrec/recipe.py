"""A recipe: a YAML file that says everything a training run depends on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from calrec.errors import ConfigError
from calrec.settings import read_settings
from calrec.training.config import TrainingPlan


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> TrainingPlan:
    """Read a recipe, changed by ``KEY=VALUE`` texts.

    Raises:
        ConfigError: no file, no YAML, or keys and values that are wrong: all of them, named at once.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"recipe {path}: must be a mapping of settings, such as `stage_two: {{domain: …}}`")
    return read_settings(TrainingPlan, values, overrides, f"recipe {path}")
