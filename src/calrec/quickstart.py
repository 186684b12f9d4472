"""The whole of it in minutes: two departments of The Complete Journey, a real model, baselines beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console

from calrec.baselines import BASELINES, fit_baseline
from calrec.data.prepare import prepare
from calrec.data.store import Domain
from calrec.evaluation import Result, evaluate
from calrec.pipeline import CALRec
from calrec.recipe import load_recipe
from calrec.records import Example
from calrec.training.stages import train

STAGE_ONE, TARGET = "SEAFOOD-PCKGD", "COSMETICS"
HOUSEHOLDS = 60


@dataclass(frozen=True)
class Quickstart:
    """What a quickstart leaves: the target domain, the trained recommender, and all results, the recommender's last."""

    domain: Domain
    recommender: CALRec
    results: list[Result]


def prepare_domains(folder: Path) -> list[Domain]:
    """The departments as domains, made or found in ``folder``.

    Raises:
        DataError: the purchases' package is not installed; the message says how to get it.
    """
    return [prepare(f"journey:{department}", folder / department) for department in (STAGE_ONE, TARGET)]


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
    console.rule(f"3. Evaluation on {HOUSEHOLDS} households")
    baselines = [fit_baseline(name, target) for name in BASELINES]
    results = [
        evaluate(b, target, "test", out / "results" / b.name, users=HOUSEHOLDS, settings=b.described) for b in baselines
    ]
    recommender = CALRec.for_domain(run, target, device="cpu" if use_cpu else None)
    results.append(
        evaluate(
            recommender,
            target,
            "test",
            out / "results" / recommender.name,
            users=HOUSEHOLDS,
            settings=recommender.described,
        )
    )
    return Quickstart(target, recommender, results)


def example_household(result: Result, domain: Domain) -> Example:
    """A household to look at: one of those whose next item was found best, the first of equals."""
    found = result.rankings.filter(pl.col("rank_by_id") > 0).sort("rank_by_id", maintain_order=True)
    wanted = (found if len(found) else result.rankings)["user_id"][0]
    return next(example for example in domain.split("test") if example.user_id == wanted)
