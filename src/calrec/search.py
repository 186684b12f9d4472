"""Settings of a baseline that are chosen on validation: a small grid, every combination evaluated and written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from calrec.atomic import claimed, replace_text
from calrec.baselines import baseline_of, baseline_settings, fit_baseline
from calrec.data.store import Domain
from calrec.errors import ConfigError
from calrec.evaluation import Result, evaluate

logger = logging.getLogger(__name__)

#: In the folder of a search: what was tried, and what was chosen.
SEARCH = "search.json"
GOAL = "ndcg@10"


@dataclass(frozen=True)
class Tried:
    """One combination of a grid.

    Attributes:
        settings: its values by key. result: on the validation users.
    """

    settings: Mapping[str, Any]
    result: Result

    @property
    def overrides(self) -> list[str]:
        """The settings as ``KEY=VALUE`` texts."""
        return _overrides(self.settings)


def search(
    name: str,
    domain: Domain,
    out: Path,
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    fixed: Sequence[str] = (),
    users: int | None = None,
    tell: Callable[[str], None] = logger.info,
) -> list[Tried]:
    """Evaluate a baseline with every combination of a grid on validation users; what is done is not done again.

    Args:
        name: of the baseline.
        domain: it learns from the training part, and is evaluated on the split valid.
        out: the search's folder: a result for each combination, and ``search.json``.
        grid: values by key, which may be dotted; None takes the baseline's own.
        fixed: ``KEY=VALUE`` for settings that all combinations have.
        users: a fixed sample of so many users; None takes all.
        tell: gets a line of news for each combination.

    Returns:
        The combinations by NDCG@10, the best first, equals in the order of the grid.

    Raises:
        ConfigError: no such baseline or setting, or nothing to try; or ``out`` is in use, or holds another search.
        DataError: ``out`` holds something else, or cannot be written.
    """
    grid = baseline_of(name).grid if grid is None else grid
    combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if len(combinations) < 2:
        raise ConfigError(f"{name} has no grid of its own to search: give one, such as --grid 'KEY=[1, 2]'")
    for settings in combinations:  # what is wrong shows before anything is trained
        baseline_settings(name, [*fixed, *_overrides(settings)])
    asked = {
        "method": name,
        "split_hash": domain.split_hash,
        "users": users,
        "fixed": list(fixed),
        "grid": {key: list(values) for key, values in grid.items()},
    }
    with claimed(out, asked, "search"):
        tried = []
        for number, settings in enumerate(combinations, start=1):
            label = ", ".join(f"{key}={value}" for key, value in settings.items())
            tell(f"[{number} of {len(combinations)}] {label}")
            baseline = fit_baseline(name, domain, [*fixed, *_overrides(settings)])
            folder = out / label.replace("/", "_").replace(", ", ",")
            result = evaluate(baseline, domain, "valid", folder, users=users, settings=baseline.described)
            tried.append(Tried(settings, result))
        tried.sort(key=lambda one: -one.result.summary.metrics.by_id[GOAL])
        replace_text(out / SEARCH, json.dumps(asked | _found(tried), indent=2) + "\n")
    return tried


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value, default=str)}" for key, value in settings.items()]


def _found(tried: Sequence[Tried]) -> dict[str, Any]:
    """What came of it, as it stands beside what was asked for."""
    protocol = tried[0].result.summary.protocol
    return {
        "domain": protocol.domain,
        "validation_users": protocol.users,
        "by": GOAL,
        "chosen": dict(tried[0].settings),
        "tried": [{"settings": dict(one.settings), GOAL: one.result.summary.metrics.by_id[GOAL]} for one in tried],
    }
