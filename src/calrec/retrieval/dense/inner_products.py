"""Exact inner products of unit vectors that are kept in float16, and the best of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calrec.protocol import top_k

#: Columns and scores of one query, best first.
Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]

# Vectors that are widened at once: few enough to stay in a core's cache.
_BLOCK = 1024
# Columns that are scored before the best are picked.
_CHUNK = 1 << 16
# A unit vector in float16 is one to three digits; what lies beyond this is none.
_LENGTH_TOLERANCE = 1e-2
_QUERY_STEP = 2.0**-28


def check_unit(vectors: NDArray[np.floating[Any]], kind: str) -> None:
    """Refuse vectors (N, D) that are not of unit length, as far as float16 can hold it.

    Raises:
        ValueError: names the first; a number that is not finite has no length.
    """
    for start in range(0, len(vectors), _BLOCK):
        lengths = np.linalg.norm(vectors[start : start + _BLOCK].astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE))
        if len(wrong):
            raise ValueError(f"{kind} {start + wrong[0]} has length {lengths[wrong[0]]:.4g} and not 1")


def in_steps(queries: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Unit queries rounded so that their inner products with float16 vectors are exact.

    float16 is a multiple of 2^-24. With queries that are multiples of 2^-28, products are multiples of 2^-52, and all
    sums of products of unit vectors fit into the 53 bits of float64: in whatever order a library adds them up, in
    blocks or by fused steps, no addition rounds.
    """
    wide: NDArray[np.float64] = np.rint(queries.astype(np.float64) / _QUERY_STEP) * _QUERY_STEP
    return wide


def products(
    queries: NDArray[np.float64], vectors: NDArray[np.float16], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inner products of the queries (Q, D), from ``in_steps``, with the vectors at the columns (C,): (Q, C)."""
    result = np.empty((len(queries), len(columns)), dtype=np.float32)
    for start in range(0, len(columns), _BLOCK):
        block = columns[start : start + _BLOCK]
        result[:, start : start + _BLOCK] = queries @ vectors[block].astype(np.float64).T
    return result


def best_of(
    queries: NDArray[np.float64], vectors: NDArray[np.float16], columns: NDArray[np.int64], k: int
) -> list[Ranked]:
    """The k best of some ascending columns for every query; each of them is scored."""
    nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    best: list[Ranked] = [nothing] * len(queries)
    for start in range(0, len(columns), _CHUNK):
        chunk = columns[start : start + _CHUNK]
        for row, scores in enumerate(products(queries, vectors, chunk)):
            found, reached = best[row]
            # A later column loses a tie, so it must be better than the last place.
            better = np.flatnonzero(scores > reached[-1]) if len(found) == k else slice(None)
            best[row] = first(np.concatenate([found, chunk[better]]), np.concatenate([reached, scores[better]]), k)
    return best


def first(columns: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Ranked:
    """The k best of candidates that stand in an order in which the first of equal scores is to be preferred."""
    order = top_k(scores, k)
    return columns[order], scores[order]
