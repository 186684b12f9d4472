"""Results that differ in one thing alone: how many samples they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from calrec.evaluation.result import Result
from calrec.report.ledger import MAIN

#: Metrics that are shown over the number of samples.
OVER_SAMPLES = ("recall@1", "recall@10", MAIN)
#: Number of samples -> result, ascending.
Family: TypeAlias = Mapping[int, Result]


def families(results: Sequence[Result]) -> list[Family]:
    """Results that differ in ``inference.sampling.n`` alone; a result without such another is left out.

    Of two with all settings equal, such as copies, the first one stands.
    """
    found: dict[str, dict[int, Result]] = {}
    for result in results:
        if (number := samples(result)) is not None:
            found.setdefault(_but_samples(result), {}).setdefault(number, result)
    return [dict(sorted(family.items())) for family in found.values() if len(family) > 1]


def samples(result: Result) -> int | None:
    """How many samples a user a result was made with; None where its method draws none."""
    sampling = result.summary.settings.get("inference", {}).get("sampling", {})
    number = sampling.get("n")
    return number if isinstance(number, int) else None


def _but_samples(result: Result) -> str:
    inference = dict(result.summary.settings["inference"])
    inference["sampling"] = {name: value for name, value in inference["sampling"].items() if name != "n"}
    return json.dumps([result.name, {**result.summary.settings, "inference": inference}], sort_keys=True)
