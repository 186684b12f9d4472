"""Retrieval by vectors: the top 100 of 32 queries among a thousand to a million items of the width of SmolLM2-135M.

    python benchmarks/dense.py [--quick] [--json FILE] [--sizes N...]

Peer of the exact search: the vectors as one float32 matrix in memory, a product, numpy's partition and a sort. The
graph is held against the exact search of the same index; how much of its top 100 it finds stands beside its time. The
vectors are made up: noise around 200 centres on a plane of 64 dimensions, all on one side of the origin as a language
model's are. Resident memory is what opening an index and asking it once adds to a process; the pages of mapped files
are counted, though the system may drop them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from calrec.retrieval.dense import DenseIndex, DenseSettings
from harness import ROUNDS, Claim, arguments, interleaved, medians, write_result

WIDTH, QUERIES, PLACES = 576, 32, 100
SIZES, QUICK_SIZES = (1_000, 10_000, 100_000, 1_000_000), (2_000,)
CENTRES, PLANE = 200, 64
# Of the items, how many leave and how many come when a catalogue changes.
CHANGE = 0.01
KEY = "made up"
EXACT = DenseSettings(exact_below=10**9)


def main() -> int:
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="numbers of items")
    options = parser.parse_args()
    # Read by numpy when the processes that are measured start.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
    growth = []
    for items in options.sizes or (QUICK_SIZES if options.quick else SIZES):
        growth.append(measured(items))
        print(line(growth[-1]), flush=True)
    claims = compared(growth[-1])
    for claim in claims:
        print(claim.line())
    write_result(options.json, claims, growth=growth)
    return 0


def measured(items: int) -> dict[str, Any]:
    """All numbers of one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "index")
        built = apart(build, folder, items)
        memory = {f"{how}_mb": apart(resident, folder, items, how) for how in OPENED}
        return {"items": items, **built, **apart(searched, folder, items), **memory}


def apart(function: Callable[..., Any], *values: Any) -> Any:
    """What a function gives in a process of its own, so that no memory and no thread is left from another."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *values).result()


def graph_of(items: int) -> DenseSettings:
    """The setting that makes a graph of so many items, and keeps it when a hundredth of them changes."""
    return DenseSettings(exact_below=items // 5)


def made_up(seed: int, count: int) -> NDArray[np.float16]:
    """(count, WIDTH) unit vectors; the centres and the plane are the same whatever the seed."""
    world, rng = np.random.default_rng(0), np.random.default_rng((1, seed))
    mean, plane = 1.5 * world.standard_normal(WIDTH), world.standard_normal((PLANE, WIDTH)) / 8
    centres = world.standard_normal((CENTRES, PLANE))
    vectors = np.empty((count, WIDTH), dtype=np.float16)
    for start in range(0, count, 10_000):
        part = vectors[start : start + 10_000]
        places = centres[rng.integers(0, CENTRES, len(part))] + 0.7 * rng.standard_normal((len(part), PLANE))
        wide = mean + places @ plane + 0.15 * rng.standard_normal(part.shape)
        part[:] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return vectors


def queries() -> NDArray[np.float32]:
    return made_up(1, QUERIES).astype(np.float32)


def build(folder: Path, items: int) -> dict[str, float]:
    """Write an index, then the same one with a graph; seconds, and bytes on disk."""
    vectors = made_up(0, items)
    wrote = seconds(lambda: DenseIndex.stored(folder, KEY, lambda: vectors, EXACT))
    flat = on_disk(folder)
    made = seconds(lambda: opened(folder, graph_of(items)))
    return {"write_s": wrote, "graph_s": made, "disk_mb": flat, "graph_disk_mb": on_disk(folder) - flat}


def opened(folder: Path, settings: DenseSettings) -> DenseIndex:
    def lost() -> NDArray[np.float16]:
        raise RuntimeError(f"{folder} no longer holds what was written")

    return DenseIndex.stored(folder, KEY, lost, settings)


def searched(folder: Path, items: int) -> dict[str, float]:
    """Milliseconds of a search each way, what the graph finds, and seconds to change the catalogue."""
    asked = queries()
    exact, graph, matrix = opened(folder, EXACT), opened(folder, graph_of(items)), as_matrix(folder)
    taken = interleaved(
        {
            "exact": lambda: seconds(lambda: exact.top(asked, PLACES)),
            "graph": lambda: seconds(lambda: graph.top(asked, PLACES)),
            "plain": lambda: seconds(lambda: plain_top(matrix, asked)),
        }
    )
    wanted, found = exact.top(asked, PLACES)[0], graph.top(asked, PLACES)[0]
    shares = [len(np.intersect1d(*pair)) / PLACES for pair in zip(wanted, found, strict=True)]
    moved = max(1, int(items * CHANGE))
    origin, added = np.append(np.arange(moved, items), np.full(moved, -1)), made_up(2, moved)
    changes = {
        f"change_{name}_s": median(seconds(lambda index=index: index.changed(origin, added)) for _ in range(ROUNDS))
        for name, index in (("exact", exact), ("graph", graph))
    }
    times = {f"{name}_ms": 1e3 * value for name, value in medians(taken).items()}
    return {**times, "graph_recall": float(np.mean(shares)), **changes}


def as_matrix(folder: Path) -> NDArray[np.float32]:
    matrix: NDArray[np.float32] = np.load(folder / "vectors.npy").astype(np.float32)
    return matrix


def plain_top(matrix: NDArray[np.float32], asked: NDArray[np.float32]) -> NDArray[np.int64]:
    """The peer: (Q, PLACES) columns."""
    scores = asked @ matrix.T
    near = np.argpartition(-scores, PLACES, axis=1)[:, :PLACES]
    order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1)
    columns: NDArray[np.int64] = np.take_along_axis(near, order, axis=1)
    return columns


# Each opens an index and asks it once; what it returns is kept until memory has been looked at.
OPENED: dict[str, Callable[[Path, int], Any]] = {
    "exact": lambda folder, items: asked_once(opened(folder, EXACT)),
    "graph": lambda folder, items: asked_once(opened(folder, graph_of(items))),
    "plain": lambda folder, items: (matrix := as_matrix(folder), plain_top(matrix, queries())),
}


def asked_once(index: DenseIndex) -> DenseIndex:
    index.top(queries(), PLACES)
    return index


def resident(folder: Path, items: int, how: str) -> float:
    """Megabytes that an index adds to this process."""
    process = psutil.Process()
    before = process.memory_info().rss
    kept = OPENED[how](folder, items)
    after = process.memory_info().rss
    del kept
    return (after - before) / 1e6


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def on_disk(folder: Path) -> float:
    """Megabytes."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def compared(row: dict[str, Any]) -> list[Claim]:
    """The claims, on the largest size."""
    items = f"{row['items']:,} items"
    exact_mb, plain_mb = row["exact_mb"], row["plain_mb"]
    return [
        Claim.less_is_better(f"exact top {PLACES}, {items}", 1, row["exact_ms"], row["plain_ms"], "ms"),
        Claim.less_is_better(f"memory of the exact search, {items}", 2, exact_mb, plain_mb, "MB"),
        Claim.less_is_better(f"graph against exact search, {items}", 5, row["graph_ms"], row["exact_ms"], "ms"),
    ]


def line(row: dict[str, Any]) -> str:
    """For people to read."""
    memory = ", ".join(f"{how} {row[f'{how}_mb']:.0f}" for how in OPENED)
    return (
        f"{row['items']:>9,} items: exact {row['exact_ms']:.1f} ms, plain {row['plain_ms']:.1f} ms, graph "
        f"{row['graph_ms']:.1f} ms (recall@{PLACES} {row['graph_recall']:.4f}, made in {row['graph_s']:.1f} s); "
        f"change {row['change_exact_s']:.3f} s, with graph {row['change_graph_s']:.3f} s; resident MB: {memory}"
    )


if __name__ == "__main__":
    sys.exit(main())
