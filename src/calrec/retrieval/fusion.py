"""One ranking from those of several methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calrec.retrieval.round_robin import min_max
from calrec.settings import Settings


class FusionSettings(Settings):
    """How rankings become one.

    Attributes:
        how: ``reciprocal-rank`` looks at places alone, ``weighted`` at scores scaled to [0, 1].
        k: of reciprocal rank fusion: how little the first places count above later ones; 60 is that of Cormack,
            Clarke and Büttcher (SIGIR 2009).
    """

    how: Literal["reciprocal-rank", "weighted"] = "reciprocal-rank"
    k: float = Field(default=60.0, ge=0)


def fuse(
    scores: Sequence[NDArray[np.float64]], weights: Sequence[float], settings: FusionSettings | None = None
) -> NDArray[np.float64]:
    """Join the scores of M methods for one user.

    An item scores the sum over the methods that rank it of

        weight / (k + rank)    with ranks from 1 in the order of ``calrec.protocol.top_k``, or
        weight * score         scaled to [0, 1] over the items that the method ranks; 1 where these are all equal.

    Args:
        scores: M times (I,), higher is better; ``-inf`` where a method does not rank an item.
        weights: M of them, each >= 0; a method of weight 0 is left out.
        settings: how.

    Returns:
        (I,) float64, ``-inf`` where no method ranks the item.

    Raises:
        ValueError: no method, shapes that do not fit, a weight below 0, or none above.
    """
    settings = settings or FusionSettings()
    table, parts = np.asarray(scores, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if table.ndim != 2 or parts.shape != table.shape[:1]:
        raise ValueError(f"scores must be (M, I) and weights (M,), got {table.shape} and {parts.shape}")
    if not (parts >= 0).all() or not parts.any():
        raise ValueError(f"weights must be >= 0, one of them more, got {list(weights)}")
    table, parts = table[parts > 0], parts[parts > 0]
    ranked = (table > -np.inf).any(axis=0)
    return np.where(ranked, parts @ gains(table, settings), -np.inf)


def gains(table: NDArray[np.float64], settings: FusionSettings) -> NDArray[np.float64]:
    """What every method adds to an item at weight 1: (M, I) from scores (M, I), 0 where it does not rank the item."""
    return _reciprocal_ranks(table, settings.k) if settings.how == "reciprocal-rank" else _scaled(table)


def _reciprocal_ranks(table: NDArray[np.float64], k: float) -> NDArray[np.float64]:
    """1 / (k + rank) of every item in each row of (M, I), 0 where it is not ranked."""
    order = np.argsort(-table, axis=1, kind="stable")
    ranks = np.empty_like(table)
    np.put_along_axis(ranks, order, np.arange(1.0, table.shape[1] + 1)[None], axis=1)
    return np.where(table > -np.inf, 1 / (k + ranks), 0.0)


def _scaled(table: NDArray[np.float64]) -> NDArray[np.float64]:
    ranked = table > -np.inf
    lowest = np.where(ranked, table, np.inf).min(axis=1, keepdims=True)
    # A method that ranks nothing has no lowest score, and adds nothing.
    lowest[~np.isfinite(lowest)] = 0.0
    scaled = min_max(np.where(ranked, table, lowest))
    level = (table <= lowest).all(axis=1)  # of what it ranks nothing is above another, but all above the rest
    scaled[level] = ranked[level]
    return scaled
