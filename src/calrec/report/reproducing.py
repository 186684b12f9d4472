"""How a result is made again: its command, its settings, and what computed it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from calrec.baselines import ALL_BASELINES
from calrec.evaluation.result import Result
from calrec.pipeline.settings import InferenceSettings
from calrec.report.ledger import Comparison
from calrec.settings import leaves


@dataclass(frozen=True)
class Recipe:
    """How one result is made again.

    Attributes:
        name: of the result. command: that makes it, empty where none does. weights: SHA-256 of the run's.
        settings: YAML.
    """

    name: str
    command: str
    weights: str
    settings: str


def recipes(comparison: Comparison, data: str) -> list[Recipe]:
    """A recipe for every result; ``data`` is the domain's folder."""
    return [
        Recipe(name, command(result, data), str(result.summary.settings.get("weights", "")), _yaml(result))
        for name, result in comparison
    ]


def command(result: Result, data: str) -> str:
    """The call of ``calrec evaluate`` that gives a result; ``RUN`` stands for the folder of the run."""
    said, protocol = result.summary, result.summary.protocol
    is_run = "weights" in said.settings
    settings = _of_inference(said.settings) if is_run else _of_baseline(said.method, said.settings)
    if settings is None:
        return ""
    words = ["calrec", "evaluate", "RUN" if is_run else said.method, "--data", data, "--split", protocol.split]
    words += ["--users", str(protocol.users), "--exclude-last" if protocol.exclude_last else "--include-last"]
    for key, value in leaves(settings):
        words += ["--set", f"{key}={_as_yaml(value)}"]
    return shlex.join([*words, "--out", str(result.path)])


def _of_inference(said: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What ``--set`` changes; None where it does not know all of it, as of an ablation's other use of the texts."""
    settings: Mapping[str, Any] = said.get("inference", {})
    try:
        InferenceSettings.model_validate(settings)
    except ValidationError:
        return None
    return settings


def _of_baseline(name: str, said: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What ``--set`` changes, not what else a result says of it; None where it is no baseline."""
    method = ALL_BASELINES.get(name)
    return None if method is None else {key: said[key] for key in method.settings_type.model_fields if key in said}


def _as_yaml(value: Any) -> str:
    """A value as ``--set`` reads it back: words without quotes where that says the same."""
    plain = isinstance(value, str) and yaml.safe_load(value) == value
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _yaml(result: Result) -> str:
    return yaml.safe_dump(dict(result.summary.settings), sort_keys=False, allow_unicode=True, width=100)


def environments(comparison: Comparison) -> list[tuple[list[str], str, str]]:
    """Names of results, versions and machine of each distinct set of versions and machine."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, result in comparison:
        versions = ", ".join(f"{package} {version}" for package, version in result.summary.versions.items())
        found.setdefault((versions, result.summary.machine), []).append(name)
    return [(names, versions, machine) for (versions, machine), names in found.items()]
