"""What ``calrec plan`` says, against what ``calrec train`` then takes: seconds, and peak memory.

    python benchmarks/plan.py [--quick] [--json FILE] [--recipe RECIPE] [--set KEY=VALUE]...

Both run in processes of their own, one after the other, on the CPU; nothing else should run meanwhile. By default it
is the recipe of the quickstart with half its tokens. A ratio is the smaller number by the larger one: 1 is a plan that
came true, and the goal is to be within 20 %.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from calrec.data.store import save
from calrec.errors import CalrecError
from calrec.quickstart import STAGE_ONE, TARGET, prepare_domains
from harness import Claim, arguments, write_result
from training_cases.setup import synthetic_domain

GOAL = 1 / 1.2
# How often a child is looked at; the most memory is held for far longer than that.
LOOK_S = 0.01
QUICK = """
text: {attributes: [title], user_prefix: U, first_item_prefix: F, next_item_prefix: N}
lengths: {max_history: 10, max_tokens: 512}
model: {backbone: bytes, init: random, random: {hidden_size: 64, layers: 4, heads: 2}, train_layers: 2}
stage_two: {domain: DOMAIN, targets: all, epochs: 2, tokens_per_batch: 1024, validations: 2, cache_gb: 1}
"""


@dataclass(frozen=True)
class Process:
    """What a finished child took: wall-clock seconds, and the most resident memory in bytes."""

    seconds: float
    peak_bytes: int
    output: str


def main() -> int:
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--recipe", help="another recipe (default: the quickstart's with half its tokens)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        try:
            recipe, overrides = _recipe(options.quick, options.recipe, work)
        except CalrecError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        sets = [part for override in (*overrides, *options.set) for part in ("--set", override)]
        start = run([sys.executable, "-c", "import rich.console, calrec.training.stages"], options.threads)
        planning = run(_calrec("plan", recipe, *sets, "--cpu", "--json"), options.threads)
        plan = json.loads(planning.output)
        training = run(_calrec("train", recipe, *sets, "--cpu", "--out", str(work / "run")), options.threads)
    claims = compared(plan, start, training)
    for claim in claims:
        print(claim.line())
        print(f"  planned / measured: {claim.ours / claim.peer:.2f}")
    print(f"  the plan took {planning.seconds:.0f} s, {plan['probe_s']:.0f} s of these for its passes")
    details = {"plan": plan, "start_s": start.seconds, "plan_s": planning.seconds, "train_s": training.seconds}
    write_result(options.json, claims, details=details)
    return 0


def compared(plan: dict[str, Any], start: Process, training: Process) -> list[Claim]:
    """Planned against measured; the start of Python is no part of a plan, and so measured apart."""
    pairs = {
        "planned time": (start.seconds + plan["seconds"], training.seconds, "s"),
        "planned peak memory": (plan["peak_gb"], training.peak_bytes / 1e9, "GB"),
    }
    return [
        Claim(name, min(planned, measured) / max(planned, measured), GOAL, planned, measured, unit)
        for name, (planned, measured, unit) in pairs.items()
    ]


def _recipe(quick: bool, recipe: str | None, work: Path) -> tuple[str, list[str]]:
    """A recipe, and what to change in it."""
    if recipe is not None:
        return recipe, []
    if quick:
        save(replace(synthetic_domain(users=100, words=3), path=work / "made-up"))
        file = work / "quick.yaml"
        file.write_text(QUICK.replace("DOMAIN", str(work / "made-up")), encoding="utf-8")
        return str(file), []
    prepare_domains(work)
    return "quickstart", [
        f"stage_one.domains=[{work / STAGE_ONE}, {work / TARGET}]",
        f"stage_two.domain={work / TARGET}",
        "stage_one.token_budget=15000",
        "stage_two.token_budget=60000",
    ]


def _calrec(*words: str) -> list[str]:
    return [sys.executable, "-m", "calrec", *words]


def run(command: list[str], threads: int) -> Process:
    """Run a command to its end, and watch its memory; what it prints to standard error is shown if it fails.

    The kernel's own high-water mark of a child would count what this process held when it started the child.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "CALREC_OFFLINE": "1"}
    begun, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(LOOK_S)
        code = child.wait()
        seconds = time.perf_counter() - begun
        out.seek(0)
        err.seek(0)
        if code:
            raise SystemExit(f"{' '.join(command)} failed:\n{err.read()}")
        return Process(seconds, peak, out.read())


if __name__ == "__main__":
    sys.exit(main())
