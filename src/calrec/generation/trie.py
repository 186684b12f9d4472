"""The token sequences of the catalogue's items as a trie, without a node object: a node is a range of sorted rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calrec.errors import DataError


@dataclass(frozen=True, slots=True)
class TrieNode:
    """All items whose sequences begin with the same ``depth`` tokens: the rows ``first`` to ``last`` (exclusive)."""

    first: int
    last: int
    depth: int

    def __len__(self) -> int:
        """How many items lie below."""
        return self.last - self.first


class ItemTrie:
    """A prefix tree over the items' token sequences.

    Attributes:
        root: the node of all items.
        longest: tokens of the longest item, its end included.

    Args:
        sequences: tokens of each item, its end token last; the place of a sequence is the item's column. No sequence
            may be the beginning of another, which the end token sees to; equal sequences share a leaf.

    Raises:
        DataError: no item at all, or an item without a token before its end.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        if not sequences:
            raise DataError("the catalogue is empty: there is nothing to generate")
        lengths = np.array([len(tokens) for tokens in sequences])
        if lengths.min() < 2:
            column = int(lengths.argmin())
            raise DataError(f"the text of the item at column {column} has no tokens: give it a title, or leave it out")
        padded = np.full((len(sequences), lengths.max()), -1, dtype=np.int32)
        padded[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate([np.asarray(row) for row in sequences])
        self._order = np.lexsort(padded.T[::-1])
        self._tokens = padded[self._order]
        self._lengths = lengths[self._order]
        self.root = TrieNode(0, len(sequences), 0)
        self.longest = int(lengths.max())

    def columns(self, node: TrieNode) -> NDArray[np.int64]:
        """The items below a node, in the order of their columns."""
        return np.sort(self._order[node.first : node.last])

    def is_leaf(self, node: TrieNode) -> bool:
        """Whether the node is the end of its items."""
        return int(self._lengths[node.first]) == node.depth

    def is_determined(self, node: TrieNode) -> bool:
        """Whether all items below the node have one and the same sequence."""
        return bool((self._tokens[node.first] == self._tokens[node.last - 1]).all())

    def children(self, node: TrieNode) -> Iterator[tuple[int, TrieNode]]:
        """The tokens that may come next, in their order, and the nodes they lead to."""
        if self.is_leaf(node):
            return
        tokens = self._tokens[node.first : node.last, node.depth]
        starts = np.flatnonzero(np.diff(tokens, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
            yield int(tokens[start]), TrieNode(node.first + start, node.first + stop, node.depth + 1)

    def child(self, node: TrieNode, token: int) -> TrieNode | None:
        """Where a token leads from a node; None where it leaves the catalogue."""
        if self.is_leaf(node):
            return None
        tokens = self._tokens[node.first : node.last, node.depth]
        start, stop = np.searchsorted(tokens, token, side="left"), np.searchsorted(tokens, token, side="right")
        return TrieNode(node.first + int(start), node.first + int(stop), node.depth + 1) if stop > start else None

    def find(self, tokens: Sequence[int]) -> TrieNode | None:
        """The node that a beginning leads to; None where no item begins so."""
        node = self.root
        for token in tokens:
            below = self.child(node, token)
            if below is None:
                return None
            node = below
        return node

    def end(self, node: TrieNode) -> TrieNode:
        """The leaf below a node that is determined."""
        return TrieNode(node.first, node.last, int(self._lengths[node.first]))

    def tail(self, node: TrieNode) -> tuple[int, ...]:
        """The tokens that the first item below a node has left, its end included."""
        row = self._tokens[node.first, node.depth : self._lengths[node.first]]
        return tuple(row.tolist())
