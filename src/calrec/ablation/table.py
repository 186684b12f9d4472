"""The table of an ablation: every variant's means, and paired tests of each against the full one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calrec.ablation.variants import FULL, Variant
from calrec.atomic import replace_text
from calrec.evaluation import Result
from calrec.evaluation.compare import SHOWN, against, require_one_protocol
from calrec.metrics import PairedTest
from calrec.training.config import TrainingPlan
from calrec.training.model_card import table

#: The metric whose tests are printed; `ablation.json` has those of all that are shown.
TESTED = "ndcg@10"

Tests = Mapping[str, tuple[PairedTest, float]]


def against_full(results: Mapping[Variant, Result], metric: str = TESTED) -> Tests:
    """Each variant against the full one, by item id, with p-values after Holm; by the result's folder."""
    return against(list(results.values()), results[FULL], metric, "id")


def save_table(plan: TrainingPlan, results: Mapping[Variant, Result], out: Path) -> dict[str, Any]:
    """Write ``ablation.json`` and ``ablation.md``; returns what is in the former.

    Raises:
        ConfigError: results of different protocols.
    """
    require_one_protocol(list(results.values()))
    said = as_json(plan, results)
    replace_text(out / "ablation.json", json.dumps(said, indent=2) + "\n")
    replace_text(out / "ablation.md", as_markdown(plan, results))
    return said


def as_json(plan: TrainingPlan, results: Mapping[Variant, Result]) -> dict[str, Any]:
    """What each variant changes, the tokens that trained it, its metrics by id and by text, and its tests."""
    tests = {metric: against_full(results, metric) for metric in SHOWN}
    rows = []
    for variant, result in results.items():
        row: dict[str, Any] = {"name": variant.name, "says": variant.says, "changes": list(variant.change(plan))}
        row |= {"tokens": _tokens(result), "result": result.path.name, **result.summary.metrics.model_dump()}
        if variant != FULL:
            found = {metric: of_metric[str(result.path)] for metric, of_metric in tests.items()}
            row["against_full"] = {metric: {**asdict(test), "p_holm": p} for metric, (test, p) in found.items()}
        rows.append(row)
    return {"protocol": results[FULL].summary.protocol.model_dump(), "reference": FULL.name, "variants": rows}


def as_markdown(plan: TrainingPlan, results: Mapping[Variant, Result]) -> str:
    """Two tables: means with standard errors, and the tests of one metric."""
    protocol, tests = results[FULL].summary.protocol, against_full(results)
    means = [
        [variant.says, _changes(variant, plan), f"{_tokens(result):,}", *(_mean(result, metric) for metric in SHOWN)]
        for variant, result in results.items()
    ]
    tested = [_tested(variant, *tests[str(result.path)]) for variant, result in results.items() if variant != FULL]
    header = ("variant", "difference", "95 % interval", "p (Holm)", "better/equal/worse")
    return "\n\n".join(
        (
            f"# Ablation on {protocol.domain}",
            f"{protocol.split}: {protocol.users:,} users, {protocol.candidates:,} items, by id"
            f"{', last item excluded' if protocol.exclude_last else ''}; protocol `{protocol.hash}`. Trained: "
            f"{_trained_part(plan)} of {plan.model.backbone}, by so many tokens of sequences in both stages. Each mean "
            "stands with its standard error over users.",
            table(("variant", "change of the recipe", "tokens", *SHOWN), means),
            f"{TESTED} against {FULL.says}, paired over users; p by sign flips, corrected by Holm for these "
            f"{len(tested)} comparisons:",
            table(header, tested) + "\n",
        )
    )


def _changes(variant: Variant, plan: TrainingPlan) -> str:
    return ", ".join(f"`{change}`" for change in variant.change(plan))


def _tokens(result: Result) -> int:
    """Of sequences that training saw, in both stages."""
    return sum(result.summary.settings["training"]["tokens"].values())


def _trained_part(plan: TrainingPlan) -> str:
    if plan.model.lora is not None:
        return f"adapters of rank {plan.model.lora.rank}"
    return "all layers" if plan.model.train_layers is None else f"the top {plan.model.train_layers} layers"


def _mean(result: Result, metric: str) -> str:
    means = result.summary.metrics
    return f"{means.by_id[metric]:.4f} ± {means.by_id_error[metric] or 0:.4f}"


def _tested(variant: Variant, test: PairedTest, p_value: float) -> list[str]:
    interval = f"{test.low:+.4f} to {test.high:+.4f}"
    users = f"{test.wins}/{test.ties}/{test.losses}"
    return [variant.says, f"{test.difference:+.4f}", interval, f"{p_value:.3g}", users]
