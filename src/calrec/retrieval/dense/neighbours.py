"""A graph of near neighbours, which finds candidates among very many vectors; usearch builds and walks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calrec.errors import ConfigError

_GRAPH, _COLUMNS = "graph.usearch", "graph_columns.npy"
# Edges of a node, and how many nodes are looked at to choose them: what usearch and others take by default.
_CONNECTIVITY, _EXPANSION_ADD = 16, 128


class NeighbourGraph:
    """Finds columns whose vectors have large inner products with a query: most of them, rarely all.

    usearch was chosen before hnswlib, which has no wheels, and faiss, whose OpenMP clashes with torch's on macOS.

    Args:
        graph: usearch's index; its keys are the columns that the nodes had when it was made, from 0 on.
        columns: (G,) the column of every node now, -1 where its item is gone.
    """

    def __init__(self, graph: Any, columns: NDArray[np.int64]) -> None:
        self._graph = graph
        self.columns = columns
        self.alive = int((columns >= 0).sum())

    @classmethod
    def of(cls, vectors: NDArray[np.float16], threads: int) -> NeighbourGraph:
        """The graph of all vectors (I, D), of unit length. With one thread it is the same one every time."""
        graph = _usearch(len(vectors)).Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="bf16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            enable_key_lookups=False,
        )
        columns = np.arange(len(vectors), dtype=np.int64)
        graph.add(columns, np.asarray(vectors), threads=threads)
        return cls(graph, columns)

    @classmethod
    def load(cls, folder: Path) -> NeighbourGraph | None:
        """Map a saved graph into memory; None where the folder has none.

        Raises:
            ValueError, RuntimeError: it is damaged.
        """
        if not (folder / _GRAPH).exists():
            return None
        columns = np.asarray(np.load(folder / _COLUMNS, mmap_mode="r", allow_pickle=False))
        graph = _usearch(len(columns)).Index.restore(folder / _GRAPH, view=True)
        if graph is None or len(graph) != len(columns):
            raise ValueError(f"{folder / _GRAPH} does not fit {_COLUMNS}")
        return cls(graph, columns)

    def save(self, folder: Path) -> None:
        """Write two files into a folder."""
        self._graph.save(folder / _GRAPH)
        np.save(folder / _COLUMNS, self.columns, allow_pickle=False)

    def candidates(self, queries: NDArray[np.float64], count: int) -> list[NDArray[np.int64]]:
        """About ``count`` ascending columns for each of the queries (Q, D)."""
        # What is gone still takes places; it is at most half of what the graph holds.
        nodes = min(len(self.columns), -(-count * len(self.columns) // self.alive))
        # usearch looks at as many nodes as it is asked for, or more.
        found = (self._graph.search(query.astype(np.float32), nodes, threads=1) for query in queries)
        columns = (self.columns[matches.keys.astype(np.int64)] for matches in found)
        return [np.sort(of_query[of_query >= 0]) for of_query in columns]

    def changed(self, column_of: NDArray[np.int64]) -> NeighbourGraph:
        """The same graph for another catalogue.

        Args:
            column_of: for every old column the new one, or -1.
        """
        moved = np.where(self.columns >= 0, column_of[self.columns], -1)
        return NeighbourGraph(self._graph, moved)


def _usearch(items: int) -> Any:
    try:
        from usearch import index
    except ImportError:
        raise ConfigError(
            f"a catalogue of {items} vectors is searched by usearch, which is not installed: "
            'pip install "calrec[ann]", or raise dense.exact_below to search it exactly'
        ) from None
    return index
