"""The whole of it in minutes: two departments of The Complete Journey, a real model, alone and with baselines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from calrec.baselines import BASELINES, JOINED, fit_baseline
from calrec.data.prepare import prepare
from calrec.data.store import Domain
from calrec.evaluation import Result, evaluate
from calrec.pipeline import CALRec
from calrec.pipeline.tuned import INFERENCE, load_inference, save_inference
from calrec.protocol import Recommender
from calrec.recipe import load_recipe
from calrec.records import Example
from calrec.training.stages import train
from calrec.tuning import chosen_by, tune

STAGE_ONE, TARGET = "SEAFOOD-PCKGD", "COSMETICS"
#: Sources that a fitted ranking joins.
SOURCES = ("beam", *BASELINES)
# A narrow beam takes two thirds of the time of the default.
_BEAM = "beam.width=10"


@dataclass(frozen=True)
class Quickstart:
    """Everything a quickstart leaves.

    Attributes:
        domain: the target.
        recommender: joins the trained model and the baselines.
        results: all of them, the recommender's last.
    """

    domain: Domain
    recommender: CALRec
    results: list[Result]


def prepare_domains(folder: Path) -> list[Domain]:
    """The departments as domains, made or found in ``folder``.

    Raises:
        DataError: the purchases' package is not installed; the message says how to get it.
    """
    # The rule for equal times by which the published results were made.
    ties = {"ties": "item_id"}
    return [prepare(f"journey:{department}", folder / department, ties) for department in (STAGE_ONE, TARGET)]


def run_quickstart(out: Path, console: Console, use_cpu: bool = False) -> Quickstart:
    """Prepare, train, evaluate beside the baselines; what an earlier call finished is not done again."""
    console.rule("1. Purchases")
    _, target = prepare_domains(out / "domains")
    console.print(f"{target.name}: {len(target.sequences):,} households, {len(target.items):,} items")
    console.rule("2. Training: Stage I, then Stage II")
    overrides = [
        f"stage_one.domains=[{out / 'domains' / STAGE_ONE}, {out / 'domains' / TARGET}]",
        f"stage_two.domain={out / 'domains' / TARGET}",
    ]
    run = out / "run"
    train(load_recipe("quickstart", overrides), run, console.print, use_cpu)
    device = "cpu" if use_cpu else None
    console.rule(f"3. Validation: joining the model and {len(BASELINES)} baselines")
    _join(run, target, device, console)
    console.rule("4. Test: every household's next purchase")
    methods: list[tuple[Recommender, Mapping[str, Any]]] = []
    for name in (*BASELINES, *JOINED):
        baseline = fit_baseline(name, target)
        methods.append((baseline, baseline.described))
    recommender = CALRec.for_domain(run, target, load_inference(run), device)
    methods.append((recommender, recommender.described))
    results = [
        evaluate(method, target, "test", out / "results" / method.name, settings=described)
        for method, described in methods
    ]
    return Quickstart(target, recommender, results)


def _join(run: Path, target: Domain, device: str | None, console: Console) -> None:
    """Fit a ranking on the validation households, unless an earlier call did."""
    if not (run / INFERENCE).exists():
        weights = json.dumps(dict.fromkeys(SOURCES, 1.0))
        settings = load_inference(run, ["method=fused", f"fusion.weights={weights}", _BEAM])
        tuned = tune(CALRec.for_domain(run, target, settings, device), target, SOURCES)
        save_inference(run, tuned.settings, chosen_by(tuned, target))
        if tuned.added is not None:
            test = tuned.added
            console.print(
                f"on {tuned.users} validation households, cross-validated, the model adds {test.difference:+.3f} "
                f"NDCG@10 to the baselines, joined ({test.low:+.3f} to {test.high:+.3f})"
            )


def example_household(result: Result, domain: Domain) -> Example:
    """A household to look at: one of those whose next item was found best, the first of equals."""
    found = result.rankings.filter(pl.col("rank_by_id") > 0).sort("rank_by_id", maintain_order=True)
    wanted = (found if len(found) else result.rankings)["user_id"][0]
    return next(example for example in domain.split("test") if example.user_id == wanted)
