"""The whole of it in minutes: two departments of The Complete Journey, a real model, baselines beside it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from calrec.baselines import BASELINES, fit_baseline
from calrec.data.prepare import prepare
from calrec.data.store import Domain
from calrec.evaluation import Result, evaluate
from calrec.pipeline import CALRec
from calrec.recipe import load_recipe
from calrec.records import History
from calrec.training.stages import train

STAGE_ONE, TARGET = "SEAFOOD-PCKGD", "COSMETICS"
HOUSEHOLDS = 60


def prepare_domains(folder: Path) -> list[Domain]:
    """The departments as domains, made or found in ``folder``.

    Raises:
        DataError: the purchases' package is not installed; the message says how to get it.
    """
    return [prepare(f"journey:{department}", folder / department) for department in (STAGE_ONE, TARGET)]


def run_quickstart(out: Path, console: Console, use_cpu: bool = False) -> list[Result]:
    """Prepare, train, evaluate beside the baselines; what an earlier call finished is not done again.

    Returns:
        The results, the trained run's last.
    """
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
    methods = [fit_baseline(name, target) for name in BASELINES]
    recommender = CALRec.for_domain(run, target)
    results = [
        evaluate(method, target, "test", out / "results" / method.name, users=HOUSEHOLDS)
        for method in (*methods, recommender)
    ]
    return results


def example_household(domain: Domain) -> History:
    """The first household of the test split: what it bought before the item that is held out."""
    example = domain.split("test")[0]
    return History(example.user_id, example.history)
