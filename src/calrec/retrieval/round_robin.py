"""Quasi-round-robin: one ranking from the BM25 rankings of several predictions (the paper's inference)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def quasi_round_robin(scores: ArrayLike, log_probs: ArrayLike, epsilon: float = 1 / 5000) -> NDArray[np.float64]:
    """Join P rankings of I items into one.

    With b_j(i) the row of prediction j scaled to [0, 1] over the catalogue and s_j its log-probability, an item scores

        max over j of exp(epsilon * s_j) * b_j(i)

    The best match of every prediction scores 1 before the modulation, so these come first, in the order of their
    predictions' log-probabilities (the round-robin); the rest follow by how well they match (the quasi).

    Args:
        scores: (P, I) BM25 of every item for every prediction.
        log_probs: (P,) log-probability of each prediction, in nats.
        epsilon: how far a prediction's log-probability moves its items; the paper's is 1/5000.

    Returns:
        (I,) scores >= 0. A prediction whose row is all equal (it matches nothing, or everything alike) adds zeros.

    Raises:
        ValueError: the shapes do not fit, or a number is not finite.
    """
    table = np.asarray(scores, dtype=np.float64)
    weights = np.asarray(log_probs, dtype=np.float64)
    if table.ndim != 2 or weights.shape != table.shape[:1]:
        raise ValueError(f"scores must be (P, I) and log_probs (P,), got {table.shape} and {weights.shape}")
    if not (np.isfinite(table).all() and np.isfinite(weights).all()):
        raise ValueError("scores and log_probs must be finite")
    if table.size == 0:
        return np.zeros(table.shape[1])
    scaled = min_max(table)
    joined: NDArray[np.float64] = (np.exp(epsilon * weights)[:, None] * scaled).max(axis=0)
    return joined


def min_max(table: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Each row of (P, I) scaled to [0, 1], float64; a row that is all equal becomes zeros."""
    wide = table.astype(np.float64)
    lowest = wide.min(axis=1, keepdims=True)
    span = wide.max(axis=1, keepdims=True) - lowest
    scaled: NDArray[np.float64] = np.divide(wide - lowest, span, out=np.zeros_like(wide), where=span > 0)
    return scaled
