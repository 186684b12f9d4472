"""What every method speaks, be it a language model or a count of purchases, and the one order of all rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from calrec.records import Catalogue, Generation, History, Recommendation


@runtime_checkable
class Recommender(Protocol):
    """A method that is ready to rank: whatever it had to learn, it has learnt before."""

    @property
    def name(self) -> str: ...

    @property
    def catalogue(self) -> Catalogue: ...

    def score(self, histories: Sequence[History]) -> NDArray[np.floating[Any]]:
        """Scores of all items: shape (len(histories), len(catalogue)), higher is better.

        ``-inf`` says that the method does not recommend the item at all; such an item is in no ranking.
        """
        ...

    def recommend(self, histories: Sequence[History], k: int) -> list[list[Recommendation]]:
        """The k best items of each history, best first; fewer where the method recommends fewer."""
        ...


@runtime_checkable
class Writer(Recommender, Protocol):
    """A method that can show what it wrote to find its items."""

    def score_and_write(self, histories: Sequence[History]) -> tuple[NDArray[np.floating[Any]], list[list[Generation]]]:
        """The scores (H, I), and for each history the texts behind them, best first; none where it wrote none."""
        ...


@runtime_checkable
class Prepared(Recommender, Protocol):
    """A method that learns for minutes before its first scores, which is no part of scoring."""

    def prepare(self) -> Sequence[float]:
        """Do it, once, and give back NDCG@10 on validation after each pass over what it learns from."""
        ...


def exclude_last(scores: NDArray[np.floating[Any]], catalogue: Catalogue, histories: Sequence[History]) -> None:
    """Take the last item of every history out of its ranking, in place.

    Where consecutive duplicates were dropped from the data, that item is never the answer.
    """
    for row, history in zip(scores, histories, strict=True):
        row[catalogue.columns(history.item_ids[-1:])] = -np.inf


def top_k(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.intp]:
    """Columns of the k best scores of one row, in the total order: score first, then item id; ``-inf`` is left out."""
    k = min(k, len(scores))
    if k == 0:
        return np.empty(0, dtype=np.intp)
    # Everything that can be among the k best, ties at the border included, before the exact sort.
    border = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero((scores >= border) & (scores > -np.inf))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def rankings(scores: NDArray[np.floating[Any]], catalogue: Catalogue, k: int) -> list[list[Recommendation]]:
    """Rows of scores (H, I) as lists of recommendations."""
    return [
        [
            Recommendation(catalogue.ids[column], float(row[column]), rank, catalogue.texts[column])
            for rank, column in enumerate(top_k(row, k), start=1)
        ]
        for row in scores
    ]
