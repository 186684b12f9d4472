"""The rank of each user's target in the full ranking, and the metrics that ranks give.

A ranking has one order, that of :func:`calrec.protocol.top_k`: score first, then column (which is item id); an item
with score ``-inf`` is in no ranking. A user whose target is not ranked has rank 0 and counts as a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]


def ranks_by_id(scores: NDArray[np.floating[Any]], targets: NDArray[np.int64]) -> Ranks:
    """Place of each row's target among all items.

    Args:
        scores: (U, I), higher is better, ``-inf`` where not ranked.
        targets: (U,) columns; -1 for a target that is no item of the catalogue, which is a miss.

    Returns:
        (U,) 1 for the best place, 0 where the target is not ranked.

    Raises:
        ValueError: a score is not a number.
    """
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN, which has no place in a ranking")
    own = scores[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    ahead = np.count_nonzero((scores > own) | ((scores == own) & earlier), axis=1)
    ranked = (targets >= 0) & (own[:, 0] > -np.inf)
    return np.where(ranked, ahead + 1, 0).astype(np.int64)


def ranks_by_text(scores: NDArray[np.floating[Any]], targets: NDArray[np.int64], groups: NDArray[np.int64]) -> Ranks:
    """Place of each row's target text among the distinct texts, each text standing where its best item stands.

    Args:
        scores: (U, I), as for :func:`ranks_by_id`.
        targets: (U,) columns; -1 for a target that is no item of the catalogue, which is a miss.
        groups: (I,) items with the same text share a number.

    Returns:
        (U,) 1 for the best place, 0 where no item with the target's text is ranked.

    Raises:
        ValueError: a score is not a number.
    """
    scores, targets = scores.copy(), targets.copy()
    _, first, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    best = np.broadcast_to(first, (len(scores), len(first))).copy()
    for group in np.flatnonzero(sizes > 1):
        columns = np.flatnonzero(group_of == group)
        # argmax takes the first of equal scores, which is the order of all rankings.
        best[:, group] = columns[scores[:, columns].argmax(axis=1)]
        kept = np.take_along_axis(scores, best[:, [group]], axis=1)
        scores[:, columns] = -np.inf
        np.put_along_axis(scores, best[:, [group]], kept, axis=1)
    known = targets >= 0
    targets[known] = best[np.flatnonzero(known), group_of[targets[known]]]
    return ranks_by_id(scores, targets)


def per_user_metrics(ranks: Ranks, ks: Sequence[int] = (1, 10)) -> dict[str, NDArray[np.float64]]:
    """Every user's own value of every metric; with one relevant item a user.

    Args:
        ranks: (U,) 0 = not found, else 1-based.
        ks: cut-offs, each >= 1.

    Returns:
        name -> (U,): ``recall@k`` = [1 <= rank <= k], ``ndcg@k`` = 1 / log2(1 + rank) within k, ``mrr`` = 1 / rank over
        the full ranking; 0 for a miss.

    Raises:
        ValueError: there is no user, a rank is negative or no whole number, or a cut-off is below 1.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or not len(ranks):
        raise ValueError(f"ranks must be one row with at least one user, got shape {ranks.shape}")
    if not np.issubdtype(ranks.dtype, np.integer) or ranks.min() < 0:
        raise ValueError("ranks must be whole numbers: 0 for a miss, else counted from 1")
    if min(ks, default=1) < 1:
        raise ValueError(f"cut-offs must be 1 or more, got {min(ks)}")
    found = ranks > 0
    place = np.where(found, ranks, 1)
    metrics = {f"recall@{k}": (found & (place <= k)).astype(np.float64) for k in ks}
    metrics |= {f"ndcg@{k}": np.where(found & (place <= k), 1 / np.log2(1 + place), 0.0) for k in ks}
    return metrics | {"mrr": np.where(found, 1 / place, 0.0)}


def ranking_metrics(ranks: Ranks, ks: Sequence[int] = (1, 10)) -> dict[str, float]:
    """Means over all users, misses included: ``recall@k``, ``ndcg@k`` for every k, and ``mrr``, each in [0, 1].

    Args and errors as for :func:`per_user_metrics`.
    """
    return {name: float(values.mean()) for name, values in per_user_metrics(ranks, ks).items()}


def standard_errors(ranks: Ranks, ks: Sequence[int] = (1, 10)) -> dict[str, float]:
    """Standard error of every mean of :func:`ranking_metrics`: s / sqrt(U); NaN for a single user.

    Args and errors as for :func:`per_user_metrics`.
    """
    metrics = per_user_metrics(ranks, ks)
    users = len(ranks)
    if users == 1:
        return dict.fromkeys(metrics, float("nan"))
    return {name: float(values.std(ddof=1) / np.sqrt(users)) for name, values in metrics.items()}
