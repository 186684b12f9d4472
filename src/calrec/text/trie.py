"""The token sequences of the catalogue's items as a trie, without a node object: a node is a range of sorted rows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calrec.errors import DataError

# Beginnings that a trie remembers at most.
_REMEMBERED = 1 << 16


@dataclass(frozen=True, slots=True)
class TrieNode:
    """All items whose sequences begin with the same ``depth`` tokens: the rows ``first`` to ``last`` (exclusive)."""

    first: int
    last: int
    depth: int

    def __len__(self) -> int:
        """How many items lie below."""
        return self.last - self.first


@dataclass(frozen=True)
class Branches:
    """The C children of N nodes, those of one node together and in the order of their tokens.

    Attributes:
        parents: (C,) place of the parent among the N nodes.
        tokens: (C,) the token that leads to each child.
        first: (C,) its first row; ``last``: (C,) the row after its last.
    """

    parents: NDArray[np.int64]
    tokens: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


class ItemTrie:
    """A prefix tree over the items' token sequences.

    Attributes:
        root: the node of all items.
        longest: tokens of the longest item, its end included.
        order: (I,) the item of each row. lengths: (I,) its tokens.
        leaves: (I,) number of each row's leaf: equal sequences share it.

    Args:
        sequences: tokens of each item, its end token last; the place of a sequence is the item's column. No sequence
            may be the beginning of another, which the end token sees to; equal sequences share a leaf.

    Raises:
        DataError: no item at all, or an item without a token before its end.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        tokens, borders = _joined(sequences)
        self._build(tokens, borders[:-1], np.diff(borders), _sorted(tokens, borders))

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.order)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_token_at", "_start_at", "_found")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._make_quick()

    def _make_quick(self) -> None:
        # Single numbers come out of a view many times faster than out of an array.
        self._token_at, self._start_at = self._tokens.data, self._starts.data
        # Beginnings that were looked up: most of those to come are a token longer than one of them.
        self._found: dict[tuple[int, ...], TrieNode] = {(): self.root}

    def _build(
        self,
        tokens: NDArray[np.int32],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        order: NDArray[np.int64],
    ) -> None:
        """Of items whose tokens begin at ``starts``: ``order`` gives the item of every row."""
        if not len(order):
            raise DataError("the catalogue is empty: there is nothing to generate")
        self.order = order
        self.lengths = lengths[order]
        self._tokens = tokens[ranges(starts[order], self.lengths)]
        self._starts = self.lengths.cumsum() - self.lengths
        self.root = TrieNode(0, len(order), 0)
        self._make_quick()
        self._shared = self._shared_with_row_before()
        self.leaves = np.cumsum(self._shared < self.lengths) - 1
        self.longest = int(lengths.max())

    def _shared_with_row_before(self) -> NDArray[np.int64]:
        """How many tokens of each row's beginning are those of the row before it."""
        shared = np.zeros_like(self.lengths)
        rows = np.arange(1, len(shared))
        for depth in range(int(self.lengths.max())):
            rows = rows[np.minimum(self.lengths[rows], self.lengths[rows - 1]) > depth]
            rows = rows[self._tokens[self._starts[rows] + depth] == self._tokens[self._starts[rows - 1] + depth]]
            shared[rows] = depth + 1
        return shared

    def changed(self, origin: NDArray[np.int64], added: Sequence[Sequence[int]]) -> ItemTrie:
        """The trie of a changed catalogue, equal to one built anew; what stays keeps its order and is not sorted again.

        Args:
            origin: (I_new,) what column here every new column had, -1 where the item is new.
            added: the sequences of the new items, in the order of their columns.

        Raises:
            DataError: no item is left, or a new item without a token before its end.
            ValueError: ``origin`` has other columns than those here, or not as many new ones as ``added``.
        """
        origin = np.asarray(origin, dtype=np.int64)
        new = np.flatnonzero(origin == -1)
        if len(new) != len(added) or (origin < -1).any() or (origin >= len(self.order)).any():
            raise ValueError(
                f"origin must be -1 for each of the {len(added)} added items, and for others one of the "
                f"{len(self.order)} columns of before"
            )
        rows = np.empty_like(self.order)
        rows[self.order] = np.arange(len(rows))
        rows = rows[origin]
        tokens, borders = _joined(added)
        # Every leaf has an odd number, the gap before it the even one below, where new sequences keep their own order.
        places = 2 * self.leaves[rows] + 1
        places[new] = [self._place(tokens[borders[item] : borders[item + 1]]) for item in range(len(added))]
        within = np.zeros_like(places)
        within[new[_sorted(tokens, borders)]] = np.arange(len(new))
        within[places % 2 == 1] = 0
        starts, lengths = self._starts[rows], self.lengths[rows]
        starts[new], lengths[new] = len(self._tokens) + borders[:-1], np.diff(borders)
        trie = ItemTrie.__new__(ItemTrie)
        trie._build(np.concatenate([self._tokens, tokens]), starts, lengths, np.lexsort((within, places)))
        return trie

    def _place(self, tokens: NDArray[np.int32]) -> int:
        """Where a sequence stands among the leaves: 2 l + 1 at leaf l, 2 l in the gap before it."""
        node = self.root
        for token in tokens.tolist():
            first, last = self._span(node, token)
            if first == last:
                return 2 * int(self.leaves[first]) if first < len(self.leaves) else 2 * int(self.leaves[-1]) + 2
            node = TrieNode(first, last, node.depth + 1)
        return 2 * int(self.leaves[node.first]) + 1

    def is_leaf(self, node: TrieNode) -> bool:
        """Whether the node is the end of its items."""
        return int(self.lengths[node.first]) == node.depth

    def branches(self, first: NDArray[np.int64], last: NDArray[np.int64], depths: NDArray[np.int64]) -> Branches:
        """The children of N nodes, given by their rows and depths (N,); a leaf is none of them."""
        parents, rows = np.repeat(np.arange(len(first)), last - first), ranges(first, last - first)
        begins = self._shared[rows] <= depths[parents]
        begins[(last - first).cumsum() - (last - first)] = True
        starts, parents = rows[begins], parents[begins]
        counts = np.diff(np.flatnonzero(begins), append=len(rows))
        tokens = self._tokens[self._starts[starts] + depths[parents]].astype(np.int64)
        return Branches(parents, tokens, starts, starts + counts)

    def rest(self, rows: NDArray[np.int64], depths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tokens that N rows (N,) have left below depths (N,), one row after the other, and how many each has."""
        return self.between(rows, depths, self.lengths[rows])

    def between(
        self, rows: NDArray[np.int64], depths: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tokens of N rows from depths (N,) to ends (N,), one row after the other, and how many each has."""
        counts = ends - depths
        return self._tokens[ranges(self._starts[rows] + depths, counts)].astype(np.int64), counts

    def shared_depths(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many tokens all rows of each of N ranges (N,) share; each range has two rows or more."""
        borders = np.stack([first + 1, last], axis=1).ravel()
        # reduceat takes the minimum up to the next border; every second stretch is a gap between two ranges.
        shared: NDArray[np.int64] = np.minimum.reduceat(np.append(self._shared, 0), borders)[::2]
        return shared

    def undetermined(self, width: int) -> int:
        """No more than so many nodes lie in a beam of a width, over all of its depths, and lead to several items."""
        # Every node of several items has a row that shares its tokens with another item's, in the row before it.
        shared = self._shared[self._shared < self.lengths]
        return int(np.minimum(np.bincount(shared)[::-1].cumsum()[::-1][1:], width).sum())

    def children(self, node: TrieNode) -> Iterator[tuple[int, TrieNode]]:
        """The tokens that may come next, in their order, and the nodes they lead to."""
        if self.is_leaf(node):
            return
        below = self.branches(*(np.array([value]) for value in (node.first, node.last, node.depth)))
        for token, first, last in zip(below.tokens.tolist(), below.first.tolist(), below.last.tolist(), strict=True):
            yield token, TrieNode(first, last, node.depth + 1)

    def child(self, node: TrieNode, token: int) -> TrieNode | None:
        """Where a token leads from a node; None where it leaves the catalogue."""
        if self.is_leaf(node):
            return None
        first, last = self._span(node, token)
        return TrieNode(first, last, node.depth + 1) if last > first else None

    def _span(self, node: TrieNode, token: int) -> tuple[int, int]:
        """The rows below a node that go on with a token; where there are none, an empty span where they would be."""

        token_at, start_at, depth = self._token_at, self._start_at, node.depth

        def next_token(row: int) -> int:
            return token_at[start_at[row] + depth]

        rows = range(node.first, node.last)
        first = bisect_left(rows, token, key=next_token)
        return node.first + first, node.first + bisect_right(rows, token, lo=first, key=next_token)

    def find(self, tokens: Sequence[int]) -> TrieNode | None:
        """The node that a beginning leads to; None where no item begins so."""
        if len(self._found) > _REMEMBERED:
            self._found = {(): self.root}
        beginning, found = tuple(tokens), self._found
        if len(beginning) > self.longest:
            return None
        depth = len(beginning)
        while (node := found.get(beginning[:depth])) is None:
            depth -= 1
        for token in beginning[depth:]:
            below = self.child(node, token)
            if below is None:
                return None
            depth += 1
            found[beginning[:depth]] = node = below
        return node

    def tail(self, node: TrieNode) -> tuple[int, ...]:
        """The tokens that the first item below a node has left, its end included."""
        start = self._starts[node.first]
        return tuple(self._tokens[start + node.depth : start + self.lengths[node.first]].tolist())


def _joined(sequences: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All tokens, one item after the other, and the I + 1 borders between items.

    Raises:
        DataError: an item without a token before its end.
    """
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    if len(lengths) and lengths.min() < 2:
        column = int(lengths.argmin())
        raise DataError(f"the text of the item at column {column} has no tokens: give it a title, or leave it out")
    tokens = np.fromiter(chain.from_iterable(sequences), dtype=np.int32, count=int(lengths.sum()))
    return tokens, np.append(0, lengths.cumsum())


def _sorted(tokens: NDArray[np.int32], borders: NDArray[np.int64]) -> NDArray[np.int64]:
    """The items in the order of their tokens, equals by their place."""
    # Numbers with their high bytes first are ordered as their bytes are, which sort an order faster than tuples.
    written, edges = tokens.astype(">i4").tobytes(), (4 * borders).tolist()
    keys = [written[start:stop] for start, stop in pairwise(edges)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from each start on, ``lengths`` of each, one range after the other."""
    return np.repeat(starts - lengths.cumsum() + lengths, lengths) + np.arange(lengths.sum())
