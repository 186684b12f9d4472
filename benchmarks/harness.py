"""What all benchmarks share: the form of a result, fair rounds, and what is said of the machine.

A benchmark writes ``{"claims": [{"name", "ratio", "goal", "ours", "peer", "unit"}], "machine": {...}}``; a ratio above
1 means better than the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

ROUNDS = 5


@dataclass(frozen=True)
class Claim:
    """One comparison with a peer.

    Attributes:
        name: what is claimed.
        ratio: how many times better than the peer; above 1 is better, whichever way the unit points.
        goal: the least ratio that was aimed at.
        ours, peer: what was measured, in ``unit``.
    """

    name: str
    ratio: float
    goal: float
    ours: float
    peer: float
    unit: str

    @classmethod
    def more_is_better(cls, name: str, goal: float, ours: float, peer: float, unit: str) -> Claim:
        return cls(name, ours / peer, goal, ours, peer, unit)

    @classmethod
    def less_is_better(cls, name: str, goal: float, ours: float, peer: float, unit: str) -> Claim:
        return cls(name, peer / ours, goal, ours, peer, unit)

    def line(self) -> str:
        """For people to read."""
        met = "met" if self.ratio >= self.goal else "not met"
        return (
            f"{self.name}: {self.ratio:.2f} (goal {self.goal:g}, {met}); "
            f"ours {self.ours:.4g}, peer {self.peer:.4g} {self.unit}"
        )


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of every round of every run, taken in turns, so that a slow minute slows all of them.

    A first round, which finds caches cold, is not counted.

    Args:
        runs: by name, each does its work once and returns the seconds that count.
        rounds: counted ones.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            taken = run()
            if number:
                seconds[name].append(taken)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: median(rounds) for name, rounds in seconds.items()}


@contextmanager
def highest_resident() -> Iterator[list[int]]:
    """The highest resident memory meanwhile, read every few milliseconds: the system's own mark cannot be set back."""
    process, done = psutil.Process(), threading.Event()
    highest = [process.memory_info().rss]

    def watch() -> None:
        while not done.is_set():
            highest[0] = max(highest[0], process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        done.set()
        watcher.join()


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="under a minute, without network: proves that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of torch (default: all cores)")
    return parser


def available_cores() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        **({"accelerator": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "calrec")},
    }


def _processor() -> str:
    """Linux knows the model's name; elsewhere what Python knows has to do."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write_result(path: Path | None, claims: Sequence[Claim], **more: Any) -> None:
    """Write a benchmark's JSON, if it is asked for; ``more`` stands beside the claims."""
    if path is not None:
        result = {"claims": [asdict(claim) for claim in claims], "machine": machine(), **more}
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
