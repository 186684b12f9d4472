"""BM25 over a catalogue of up to a million made-up titles, against its goal, bm25s and rank_bm25.

    python benchmarks/bm25.py [--quick] [--json FILE]

A user's 32 generated texts are looked up: titles of the catalogue, every second of them altered. Everything runs on one
core. ``--quick`` takes a catalogue of ten thousand for the million; only the full run's numbers mean anything.
``rank_bm25`` is measured where it is installed, on ten thousand titles, for it would take minutes on more.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from calrec.retrieval import Bm25Index
from calrec.retrieval.bm25.vocabulary import words
from harness import Claim, arguments, interleaved, medians, write_result

GOAL_MS = 50.0
QUERIES, PLACES = 32, 100
WORDS = 200_000
RANK_BM25_ITEMS = 10_000
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


def main() -> int:
    options = arguments(__doc__.partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    sizes = [1_000, 10_000] if options.quick else [1_000, 10_000, 100_000, 1_000_000]
    texts = titles(sizes[-1])
    with tempfile.TemporaryDirectory() as name:
        claims, details = measured(texts, Path(name))
        for claim in claims:
            print(claim.line())
        growth = [grown(texts[:: len(texts) // size][:size], Path(name)) for size in sizes]
    for row in growth:
        print("  " + ", ".join(f"{what} {value:.4g}" for what, value in row.items()))
    write_result(options.json, claims, growth=growth, details=details)
    return 0


def titles(items: int) -> list[str]:
    """Titles of 5 to 15 words, each word drawn by Zipf's law: the commonest is in half of all titles."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 16, items)
    shares = np.cumsum(1 / np.arange(1, WORDS + 1))
    drawn = np.searchsorted(shares, generator.uniform(0, shares[-1], lengths.sum()))
    spelled = np.array([_spelled(rank) for rank in range(WORDS)], dtype=object)[drawn]
    ends = np.cumsum(lengths).tolist()
    return [" ".join(spelled[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]


def _spelled(rank: int) -> str:
    base = len(SYLLABLES)
    return (_spelled(rank // base - 1) if rank >= base else "") + SYLLABLES[rank % base]


def queries_of(texts: Sequence[str]) -> list[str]:
    """What a model might write for one user: every second title lacks its first word and has another for its last."""
    generator = np.random.default_rng(1)
    chosen = [texts[column] for column in generator.integers(0, len(texts), QUERIES)]
    others = generator.integers(0, WORDS, QUERIES)
    return [
        " ".join([*text.split()[1:-1], _spelled(int(other))]) if number % 2 else text
        for number, (text, other) in enumerate(zip(chosen, others, strict=True))
    ]


def measured(texts: list[str], work: Path) -> tuple[list[Claim], dict[str, Any]]:
    """All claims at the full size, and what stands behind them."""
    queries, size = queries_of(texts), f"at {len(texts)} items"
    index, peer = Bm25Index(texts), _bm25s(texts)
    require_exact(index, texts, queries)
    index.save(work / "ours")
    peer.save(work / "bm25s", show_progress=False)
    asked = [words(query) for query in queries]
    tops = interleaved(
        {
            "ours": timed(lambda: index.top(queries, PLACES)),
            "bm25s": timed(lambda: peer.retrieve(asked, k=PLACES, show_progress=False)),
        }
    )
    opened = interleaved(
        {
            "ours": timed(lambda: Bm25Index.load(work / "ours")),
            "bm25s": timed(lambda: bm25s.BM25.load(work / "bm25s", mmap=True)),
        }
    )
    changes = interleaved(
        {"ours": timed(lambda: one_more(index, texts)), "anew": timed(lambda: Bm25Index([*texts, texts[0]]))}
    )
    resident = {name: in_a_child(_resident, name, str(work / name), queries) / 1e6 for name in ("ours", "bm25s")}
    top, load, change = (medians(seconds) for seconds in (tops, opened, changes))
    job = f"{QUERIES} queries to a top {PLACES}"
    claims = [
        Claim.less_is_better(f"{job}, {size}", 1, 1e3 * top["ours"], GOAL_MS, "ms"),
        Claim.less_is_better(f"{job}, {size}, against bm25s", 5, 1e3 * top["ours"], 1e3 * top["bm25s"], "ms"),
        Claim.less_is_better(f"open {size}, against bm25s", 1, 1e3 * load["ours"], 1e3 * load["bm25s"], "ms"),
        Claim.less_is_better(f"add one item {size}, against an index anew", 10, change["ours"], change["anew"], "s"),
        Claim.less_is_better(f"resident {size}, against bm25s", 1, resident["ours"], resident["bm25s"], "MB"),
    ]
    rounds = {"top_s": tops, "open_s": opened, "change_s": changes}
    if find_spec("rank_bm25"):
        claim, rounds["rank_bm25_s"] = against_rank_bm25(texts[:RANK_BM25_ITEMS])
        claims.append(claim)
    return claims, {**rounds, "bytes_on_disk": sum(file.stat().st_size for file in (work / "ours").iterdir())}


def against_rank_bm25(texts: list[str]) -> tuple[Claim, dict[str, list[float]]]:
    """The usual way to write such systems: all scores of each query, and a sort."""
    index, peer = Bm25Index(texts), import_module("rank_bm25").BM25Okapi([words(text) for text in texts])
    queries = queries_of(texts)

    def by_peer() -> None:
        for query in queries:
            np.argsort(-peer.get_scores(words(query)), kind="stable")[:PLACES]

    rounds = interleaved({"ours": timed(lambda: index.top(queries, PLACES)), "peer": timed(by_peer)})
    seconds = medians(rounds)
    name = f"{QUERIES} queries to a top {PLACES}, at {len(texts)} items, against rank_bm25"
    return Claim.less_is_better(name, 10, 1e3 * seconds["ours"], 1e3 * seconds["peer"], "ms"), rounds


def grown(texts: list[str], work: Path) -> dict[str, float]:
    """What one size of a catalogue costs; medians."""
    index, queries, folder = Bm25Index(texts), queries_of(texts), work / "grown"
    index.save(folder)
    seconds = medians(
        interleaved(
            {
                "top": timed(lambda: index.top(queries, PLACES)),
                "first_top": timed(lambda: Bm25Index.load(folder).top(queries, PLACES)),
                "all": timed(lambda: index.scores(queries)),
                "open": timed(lambda: Bm25Index.load(folder)),
                "change": timed(lambda: one_more(index, texts)),
            }
        )
    )
    resident = in_a_child(_resident, "ours", str(folder), queries)
    milliseconds = {f"{name}_ms": 1e3 * taken for name, taken in seconds.items()}
    return {"items": len(texts), **milliseconds, "resident_mb": resident / 1e6}


def one_more(index: Bm25Index, texts: Sequence[str]) -> Bm25Index:
    """The index with one more item, in the middle of the catalogue."""
    return index.changed(np.insert(np.arange(len(texts)), len(texts) // 2, -1), [f"{texts[0]} brandnew"])


def require_exact(index: Bm25Index, texts: Sequence[str], queries: Sequence[str]) -> None:
    """Refuse to measure what is wrong: every query against all scores, three against the formula itself."""
    columns, scores = index.top(queries, PLACES)
    documents = [words(text) for text in texts]
    for row, query in enumerate(queries):
        expected = direct(documents, words(query)) if row < 3 else index.scores([query])[0]
        best = np.argsort(-expected, kind="stable")[:PLACES]
        best = best[expected[best] > 0]
        found = columns[row] >= 0
        if not (np.array_equal(columns[row, found], best) and np.array_equal(scores[row, found], expected[best])):
            raise SystemExit(f"top is not exact for {query!r}")


def direct(documents: Sequence[Sequence[str]], query: Sequence[str]) -> NDArray[np.float32]:
    """The formula, word by word."""
    asked = Counter(query)
    holders = Counter(word for document in documents for word in asked.keys() & document)
    mean = sum(map(len, documents)) / len(documents)
    result = np.zeros(len(documents))
    for column, document in enumerate(documents):
        for word in asked.keys() & document:
            idf = math.log(1 + (len(documents) - holders[word] + 0.5) / (holders[word] + 0.5))
            count = document.count(word)
            result[column] += asked[word] * idf * count / (count + 1.5 * (0.25 + 0.75 * len(document) / mean))
    return result.astype(np.float32)


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return run


def in_a_child(work: Callable[..., int], *values: object) -> int:
    """Of a process of its own, whose memory nothing else has filled."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, values)


def _resident(name: str, folder: str, queries: list[str]) -> int:
    """Bytes of memory that an opened index and the queries hold, mapped files' pages included."""
    process = psutil.Process()
    before = process.memory_info().rss
    if name == "ours":
        index = Bm25Index.load(Path(folder))
        index.top(queries, PLACES)
    else:
        peer = bm25s.BM25.load(folder, mmap=True)
        peer.retrieve([words(query) for query in queries], k=PLACES, show_progress=False)
    return process.memory_info().rss - before


def _bm25s(texts: Sequence[str]) -> bm25s.BM25:
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    peer.index([words(text) for text in texts], show_progress=False)
    return peer


if __name__ == "__main__":
    sys.exit(main())
