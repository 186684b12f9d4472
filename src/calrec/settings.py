"""The base of all settings: frozen pydantic models, and how they are read from what a user wrote."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from calrec.errors import ConfigError


class Settings(BaseModel):
    """Each room keeps its own subclass beside the code that it steers; a recipe is made of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def read_settings(kind: type[S], values: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "--set") -> S:
    """Settings from a mapping, changed by ``KEY=VALUE`` texts whose keys may be dotted.

    Args:
        kind: the settings to make.
        values: as read from YAML or JSON.
        overrides: such as ``stage_two.epochs=5``; the value is read as YAML.
        where: what the values come from, to name in an error.

    Raises:
        ConfigError: names every key that is wrong at once, with the nearest known key, and every bad value.
    """
    merged = dict(values)
    for override in overrides:
        merged = _with(merged, override)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        lines = [_explain(kind, dict(fault)) for fault in error.errors()]
        raise ConfigError(f"{where}: {'; '.join(dict.fromkeys(lines))}".replace("?; ", "? ")) from None


def leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys, as ``--set`` takes them, and their values."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _with(values: dict[str, Any], override: str) -> dict[str, Any]:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {override}: write KEY=VALUE, such as stage_two.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value cannot be read as YAML; put it in quotes") from None
    *parents, last = path.strip().split(".")
    changed = dict(values)
    place = changed
    for key in parents:
        inner = place.get(key)
        place[key] = dict(inner) if isinstance(inner, Mapping) else {}
        place = place[key]
    place[last] = value
    return changed


def _explain(kind: type[Settings], fault: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"] if not str(part).startswith("function-")) or "the whole"
    if fault["type"] != "extra_forbidden":
        shown = "" if isinstance(fault["input"], (Mapping, Settings)) else f" (got {fault['input']!r})"
        return f"{place}: {fault['msg'].removeprefix('Value error, ')}{shown}"
    known = _keys_at(kind, fault["loc"][:-1])
    near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.5)
    there = f"known are {', '.join(sorted(known))}" if known else "there is nothing to set here"
    mend = f"did you mean {near[0]!r}?" if near else there
    return f"unknown key {place!r}: {mend}"


def _keys_at(kind: Any, path: Sequence[Any]) -> list[str]:
    """The keys of the settings that a path of keys leads to, through optional and repeated ones."""
    for key in path:
        if isinstance(key, str) and key in kind.model_fields:
            kind = next(_settings_in(kind.model_fields[key].annotation), kind)
    return list(kind.model_fields)


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from _settings_in(argument)
