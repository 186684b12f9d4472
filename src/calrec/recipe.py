"""A recipe: a YAML file that says everything a training run depends on.

Some come with the package, in ``calrec/recipes``, and are known by their names.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml

from calrec.errors import ConfigError
from calrec.settings import read_settings
from calrec.training.config import TrainingPlan

SHIPPED = Path(__file__).parent / "recipes"


def load_recipe(recipe: Path | str, overrides: Sequence[str] = ()) -> TrainingPlan:
    """Read a recipe, changed by ``KEY=VALUE`` texts.

    Args:
        recipe: a file, or the name of a shipped one, such as ``quickstart``.
        overrides: such as ``stage_two.epochs=5``.

    Raises:
        ConfigError: no file, no YAML, or keys and values that are wrong: all of them, named at once.
    """
    path = _located(recipe)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"recipe {path}: must be a mapping of settings, such as `stage_two: {{domain: …}}`")
    return read_settings(TrainingPlan, values, overrides, f"recipe {path}")


def _located(recipe: Path | str) -> Path:
    path, shipped = Path(recipe), SHIPPED / f"{recipe}.yaml"
    if path.is_file() or not shipped.is_file():
        if not path.exists():
            names = sorted(file.stem for file in SHIPPED.glob("*.yaml"))
            near = difflib.get_close_matches(str(recipe), names, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"shipped by name are {', '.join(names)}"
            raise ConfigError(f"recipe {recipe}: there is no such file; {mend}")
        return path
    return shipped
