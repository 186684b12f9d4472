"""Retrieval by vectors: the items whose vectors have the largest inner products with a user's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calrec.data.writing import beside, take_place
from calrec.errors import DataError
from calrec.retrieval.dense.inner_products import Ranked, best_of, check_unit, first, in_steps, products
from calrec.retrieval.dense.neighbours import NeighbourGraph
from calrec.settings import Settings

logger = logging.getLogger(__name__)

_VECTORS, _CARD = "vectors.npy", "dense.json"


class DenseSettings(Settings):
    """How vectors are searched (all our choice; the paper does not retrieve by its towers).

    Attributes:
        exact_below: up to that many items every one is scored; more are searched through a graph of neighbours, which
            misses some (extra ``calrec[ann]``).
        candidates: items that the graph brings for each query, to be scored exactly; more miss less and take longer.
            Rankings longer than that are exact.
        threads: cores that make the graph. With more than one, its edges, and so what it misses, vary from run to run.
    """

    exact_below: int = Field(default=200_000, ge=1)
    candidates: int = Field(default=500, ge=1)
    threads: int = Field(default=1, ge=1)


class DenseIndex:
    """Unit vectors of a catalogue's items in float16, searched by inner product: of unit vectors it is the cosine.

    A score is the exact inner product of the kept vector and the query (to 2^-28 in each coordinate), rounded to
    float32 once. So it is the same number whatever the batch, the number of threads or the library that multiplies.

    Args:
        vectors: (I, D) of unit length; the place of a vector is the item's column.
        settings: of the search.

    Raises:
        DataError: there is no vector at all.
        ValueError: not a matrix, or a vector that is not of unit length or not finite.
        ConfigError: more items than ``exact_below``, and no usearch.
    """

    def __init__(self, vectors: NDArray[np.floating[Any]], settings: DenseSettings | None = None) -> None:
        settings = settings or DenseSettings()
        kept = _kept(vectors)
        if not len(kept):
            raise DataError("retrieval needs a catalogue of at least one item, got none: prepare a domain with items")
        self._use(kept, _graph_for(kept, settings), settings)

    @classmethod
    def stored(
        cls,
        folder: Path,
        key: str,
        compute: Callable[[], NDArray[np.floating[Any]]],
        settings: DenseSettings | None = None,
    ) -> DenseIndex:
        """The index that a folder keeps, mapped into memory; computed and written there where it is not to be trusted.

        Args:
            folder: is made, or replaced as a whole.
            key: of all that the vectors depend on, such as a hash of weights and texts; an index that was written
                with another key, or that is damaged, is computed anew.
            compute: gives the vectors (I, D).
            settings: of the search.
        """
        settings = settings or DenseSettings()
        try:
            return cls._opened(folder, key, settings)
        except _NotKeptError as reason:
            logger.info("%s: %s; computing it", folder, reason)
        return cls(compute(), settings)._kept_in(folder, key)

    @classmethod
    def _opened(cls, folder: Path, key: str, settings: DenseSettings) -> DenseIndex:
        try:
            card = json.loads((folder / _CARD).read_bytes())
            vectors = np.asarray(np.load(folder / _VECTORS, mmap_mode="r", allow_pickle=False))
            graph = NeighbourGraph.load(folder) if len(vectors) > settings.exact_below else None
        except FileNotFoundError:
            raise _NotKeptError("no index is kept there") from None
        except (OSError, EOFError, ValueError, RuntimeError) as error:
            raise _NotKeptError(f"the index is damaged ({error})") from None
        if card != _card(key, vectors):
            raise _NotKeptError("the index is of other weights or texts")
        if graph is None and len(vectors) > settings.exact_below:
            return cls(vectors, settings)._kept_in(folder, key)
        index = cls.__new__(cls)
        index._use(vectors, graph, settings)
        return index

    def _use(self, vectors: NDArray[np.float16], graph: NeighbourGraph | None, settings: DenseSettings) -> None:
        self.settings = settings
        self._vectors = vectors
        self._graph = graph
        # The columns that the graph does not know: they are all scored.
        self._beyond = np.arange(len(vectors), dtype=np.int64)
        if graph is not None:
            self._beyond = np.delete(self._beyond, graph.columns[graph.columns >= 0])

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def search(self) -> Literal["exact", "graph"]:
        """How ``top`` searches; it stands in results."""
        return "exact" if self._graph is None else "graph"

    def save(self, folder: Path, key: str) -> None:
        """Write the index, whole or not at all: ``vectors.npy``, a small ``dense.json``, and the graph if there is one.

        Raises:
            DataError: the folder cannot be written.
        """
        with beside(folder) as fresh:
            np.save(fresh / _VECTORS, self._vectors, allow_pickle=False)
            (fresh / _CARD).write_text(json.dumps(_card(key, self._vectors), indent=2) + "\n", encoding="utf-8")
            if self._graph is not None:
                self._graph.save(fresh)
            take_place(fresh, folder)

    def _kept_in(self, folder: Path, key: str) -> DenseIndex:
        """The same, written and mapped; where it cannot be written, as it is."""
        try:
            self.save(folder, key)
            return self._opened(folder, key, self.settings)
        except (DataError, _NotKeptError) as reason:
            logger.warning("the vectors are made at every start, for %s", reason)
            return self

    def changed(self, origin: NDArray[np.int64], added: NDArray[np.floating[Any]]) -> DenseIndex:
        """The index of another catalogue, equal to one made from all its vectors; this one stays as it is.

        A graph is kept: what is gone is passed over, and what is new always scored, so that it misses no more than one
        made from all. It is made anew when more than ``exact_below`` items are new to it, or half of its own are gone.

        Args:
            origin: for every new column its old column, or -1 where the item is new: (I of the new one,). Items that
                stay keep their order.
            added: (N, D) vectors of the new items, in the order of their columns.

        Raises:
            DataError: no item would be left.
            ValueError: ``origin`` and ``added`` do not fit together, or not this index, or as for a new index.
        """
        kept = origin >= 0
        if added.shape != ((~kept).sum(), self._vectors.shape[1]):
            raise ValueError(f"origin has {(~kept).sum()} new items, but vectors of shape {added.shape} are added")
        if np.any(np.diff(origin[kept]) <= 0) or np.any(origin >= len(self)):
            raise ValueError(f"origin must name old columns below {len(self)} in ascending order")
        if not len(origin):
            raise DataError("no item would be left to retrieve: keep at least one")
        vectors = np.empty((len(origin), self._vectors.shape[1]), dtype=np.float16)
        np.take(self._vectors, origin, axis=0, out=vectors, mode="clip")
        vectors[~kept] = _kept(added)
        index = DenseIndex.__new__(DenseIndex)
        index._use(vectors, self._graph_after(origin, vectors), self.settings)
        return index

    def _graph_after(self, origin: NDArray[np.int64], vectors: NDArray[np.float16]) -> NeighbourGraph | None:
        if self._graph is None or len(vectors) <= self.settings.exact_below:
            return _graph_for(vectors, self.settings)
        column_of = np.full(len(self), -1, dtype=np.int64)
        column_of[origin[origin >= 0]] = np.flatnonzero(origin >= 0)
        graph = self._graph.changed(column_of)
        worn = 2 * graph.alive < len(graph.columns) or len(vectors) - graph.alive > self.settings.exact_below
        return _graph_for(vectors, self.settings) if worn else graph

    def scores(self, queries: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Inner products of the queries (Q, D), which must be of unit length, with all items: (Q, I).

        Raises:
            ValueError: queries of another width or length, or not finite.
        """
        return products(self._checked(queries), self._vectors, np.arange(len(self)))

    def top(self, queries: NDArray[np.floating[Any]], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best items of every query in the total order: score first, then column.

        Args:
            queries: (Q, D) of unit length.
            k: places, at least 1.

        Returns:
            Columns (Q, k) and scores (Q, k). Where fewer items are found, the columns end with -1 and the scores with
            ``-inf``.

        Raises:
            ValueError: k is less than 1, or as for ``scores``.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        wide = self._checked(queries)
        best_columns = np.full((len(wide), k), -1, dtype=np.int64)
        best_scores = np.full((len(wide), k), -np.inf, dtype=np.float32)
        for row, (columns, scores) in enumerate(self._best(wide, k)):
            best_columns[row, : len(columns)] = columns
            best_scores[row, : len(scores)] = scores
        return best_columns, best_scores

    def _best(self, queries: NDArray[np.float64], k: int) -> list[Ranked]:
        if self._graph is None or k > self.settings.candidates:
            return best_of(queries, self._vectors, np.arange(len(self)), k)
        candidates = self._graph.candidates(queries, self.settings.candidates)
        new = best_of(queries, self._vectors, self._beyond, k)
        return [self._joined(*of_query, k) for of_query in zip(queries, candidates, new, strict=True)]

    def _joined(self, query: NDArray[np.float64], candidates: NDArray[np.int64], new: Ranked, k: int) -> Ranked:
        """The best of what the graph brought for one query, scored exactly, and of what it does not know."""
        columns = np.concatenate([candidates, new[0]])
        scores = np.concatenate([products(query[None], self._vectors, candidates)[0], new[1]])
        order = np.argsort(columns)
        return first(columns[order], scores[order], k)

    def _checked(self, queries: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        if queries.ndim != 2 or queries.shape[1] != self._vectors.shape[1]:
            raise ValueError(f"queries must be (Q, {self._vectors.shape[1]}), got {queries.shape}")
        check_unit(queries, "query")
        return in_steps(queries)


class _NotKeptError(Exception):
    """Why what a folder holds is not the index that is wanted."""


def _card(key: str, vectors: NDArray[np.float16]) -> dict[str, Any]:
    """What stands in ``dense.json``."""
    return {"key": key, "dtype": vectors.dtype.name, "shape": list(vectors.shape)}


def _graph_for(vectors: NDArray[np.float16], settings: DenseSettings) -> NeighbourGraph | None:
    return NeighbourGraph.of(vectors, settings.threads) if len(vectors) > settings.exact_below else None


def _kept(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """Checked vectors as they are kept."""
    if vectors.ndim != 2:
        raise ValueError(f"vectors must be (I, D), got {vectors.shape}")
    check_unit(vectors, "vector")
    return np.ascontiguousarray(vectors, dtype=np.float16)
