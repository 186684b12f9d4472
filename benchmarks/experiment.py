"""The paper's comparison on one domain: a trained run beside every baseline, under one protocol.

    python benchmarks/experiment.py RECIPE --data DOMAIN --out DIR [--users N] [--seeds 2] [--set KEY=VALUE]…

Trains the recipe's stages once a seed, with the domain as Stage II's, evaluates each run by the paper's samples and all
baselines on the same test users, writes ``DIR/report.html``, and holds the runs' mean against the best baseline. It is
the same script on two cores (``two-cores``) and on an accelerator (``one-80gb-gpu``: all layers in bfloat16, to be
evaluated with ``--inference dtype=bfloat16``); called again, it does what is missing. Data and weights must be there: a
prepared domain, and a backbone that the recipe names, of which a folder needs no network. ``--quick`` takes a tiny
random model and a made-up domain.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from calrec.baselines import BASELINES, SEQUENTIAL, fit_baseline
from calrec.cli.compare import results_table, tests_table
from calrec.cli.main import main as main_command
from calrec.data.store import load_domain, save
from calrec.errors import CalrecError, ConfigError
from calrec.evaluation import Result, evaluate
from calrec.evaluation.compare import against, best_of
from calrec.pipeline import CALRec, InferenceSettings
from calrec.recipe import load_recipe
from calrec.settings import read_settings
from calrec.training.stages import train
from harness import Claim, arguments, write_result
from training_cases.setup import synthetic_domain

#: What the abstract claims over the best baseline.
GOALS = {"recall@1": 1.37, "ndcg@10": 1.24}
_TINY = (
    "model={backbone: bytes, init: random, random: {hidden_size: 16, layers: 2, heads: 2}}",
    "lengths={max_history: 2}",
    "stage_one=null",
    "stage_two.token_budget=2000",
    "stage_two.validations=1",
    "stage_two.cache_gb=0",
)
_TINY_BASELINES = ("popularity", "markov")


def main() -> int:
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("recipe", nargs="?", default="two-cores", help="a YAML file, or the name of a shipped one")
    parser.add_argument("--data", type=Path, help="a prepared domain")
    parser.add_argument("--out", type=Path, help="the folder of runs, results and the page")
    parser.add_argument("--users", type=int, help="a fixed sample of so many test users (all)")
    parser.add_argument("--seeds", type=int, default=1, help="runs, each with another seed in both stages (default: 1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--inference", action="append", default=[], metavar="KEY=VALUE", help="change inference")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            _make_tiny(options, Path(folder))
        elif options.data is None or options.out is None:
            parser.error("--data and --out are needed without --quick")
        try:
            claims = _experiment(options)
        except CalrecError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    for claim in claims:
        print(claim.line())
    write_result(options.json, claims)
    return 0


def _make_tiny(options: Namespace, folder: Path) -> None:
    domain = replace(synthetic_domain(users=20, words=2), path=folder / "domain")
    save(domain)
    options.data, options.out, options.users = domain.path, folder / "out", 6
    options.set, options.inference = list(_TINY), ["sampling={n: 4, max_new_tokens: 8}"]


def _experiment(options: Namespace) -> list[Claim]:
    domain, out = load_domain(options.data), options.out / "results"
    results = [
        evaluate(
            baseline := fit_baseline(name, domain),
            domain,
            "test",
            out / name,
            users=options.users,
            settings=baseline.described,
        )
        for name in (_TINY_BASELINES if options.quick else (*BASELINES, *SEQUENTIAL))
    ]
    inference = read_settings(InferenceSettings, {}, options.inference, "--inference")
    runs = []
    for seed in range(options.seeds):
        recommender = CALRec.for_domain(_trained(options, seed), domain, inference)
        result = evaluate(
            recommender,
            domain,
            "test",
            out / f"calrec-{seed}",
            users=options.users,
            batch_size=32,
            settings=recommender.described,
        )
        runs.append(result)
    _show(results, runs)
    command = ["report", str(out), "--data", str(options.data), "--run", str(options.out / "runs" / "0")]
    if main_command([*command, "--out", str(options.out / "report.html")]):
        raise ConfigError("there is no page: what the line above says must be mended; the results are kept")
    return [_claim(metric, goal, results, runs) for metric, goal in GOALS.items()]


def _trained(options: Namespace, seed: int) -> Path:
    """A run of the recipe with the domain as the target and the seed in its stages; it goes on where it stopped."""
    plan = load_recipe(options.recipe, [f"stage_two.domain={options.data}", *options.set])
    seeds = [f"{name.replace('-', '_')}.seed={seed}" for name in plan.stages]
    plan = load_recipe(options.recipe, [f"stage_two.domain={options.data}", *options.set, *seeds])
    run: Path = options.out / "runs" / str(seed)
    train(plan, run, print)
    return run


def _show(baselines: Sequence[Result], runs: Sequence[Result]) -> None:
    """All in one table, and by each metric the runs against the baseline that is best by it, as in the claims."""
    console, results = Console(), [*baselines, *runs]
    console.print(results_table(results, "id"))
    for metric in GOALS:
        best = best_of(baselines, metric, "id")
        console.print(tests_table(results, best, metric, against(results, best, metric, "id")))


def _claim(metric: str, goal: float, baselines: Sequence[Result], runs: Sequence[Result]) -> Claim:
    """The mean of the runs against the baseline that is best by this metric."""

    def reached(result: Result) -> float:
        return result.summary.metrics.by_id[metric]

    best = best_of(baselines, metric, "id")
    ours, peer = float(np.mean([reached(run) for run in runs])), reached(best)
    # Where no baseline finds anything, as on a few made-up users, there is nothing to hold a run against.
    return Claim(f"{metric}, {best.name}", ours / peer if peer else 0.0, goal, ours, peer, "mean over users")


if __name__ == "__main__":
    sys.exit(main())
