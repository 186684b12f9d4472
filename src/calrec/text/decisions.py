"""The places where a catalogue's texts part: all that a model must decide to choose one of them.

At every other place the catalogue leaves one token to go on with. Of the tokens of an item most are certain that way,
so a likelihood that is normalised over the catalogue (`calrec.losses.catalogue_nll`) is a product over decisions alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calrec.text.trie import ItemTrie, ranges

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class DecisionPaths:
    """Paths to each of T texts, one text after the other, its decisions from the first on.

    Attributes:
        starts: (T + 1,) borders between the texts. nodes: (P,) decisions. edges: (P,) what is chosen at each.
    """

    starts: Ints
    nodes: Ints
    edges: Ints


class DecisionTree:
    """The branching nodes of an `ItemTrie`, N of them, with the E edges that leave them; node 0 is the first decision.

    A catalogue of a single text has no decision: N and E are 0 then.

    Args:
        trie: of the catalogue.

    Attributes:
        depths: (N,) tokens of an item before the decision. first, last: (N,) its rows of the trie, ``last`` exclusive.
        parents: (N,) node of the decision before; -1 for node 0.
        starts: (N + 1,) the edges of node n are ``starts[n]`` to ``starts[n + 1]``, in the order of their tokens.
        tokens: (E,) token that is chosen. edge_first, edge_last: (E,) rows below the edge.
        below: (E,) node of the next decision; -1 where one text alone is left.
        longest_chains: tokens from the first to the last decision at most, the longest way at each level taken.
    """

    def __init__(self, trie: ItemTrie) -> None:
        self.trie = trie
        none = np.empty(0, dtype=np.int64)
        nodes: list[tuple[Ints, ...]] = [(none, none, none, none)]
        edges: list[tuple[Ints, ...]] = [(none, none, none, none)]
        counts, below = [none], [none]
        first, last = np.array([trie.root.first]), np.array([trie.root.last])
        parents, done = np.array([-1]), 0
        several = trie.leaves[first] < trie.leaves[last - 1]
        first, last, parents = first[several], last[several], parents[several]
        while len(first):  # one decision further in each round
            depths = trie.shared_depths(first, last)
            branches = trie.branches(first, last, depths)
            nodes.append((depths, first, last, parents))
            edges.append((branches.tokens, branches.first, branches.last, branches.parents + done))
            counts.append(np.bincount(branches.parents, minlength=len(first)))
            several = trie.leaves[branches.first] < trie.leaves[branches.last - 1]
            next_first = done + len(first)
            below.append(np.where(several, next_first + several.cumsum() - 1, -1))
            first, last, parents = (
                array[several] for array in (branches.first, branches.last, branches.parents + done)
            )
            done = next_first
        self.depths, self.first, self.last, self.parents = map(np.concatenate, zip(*nodes, strict=True))
        self.tokens, self.edge_first, self.edge_last, self.edge_nodes = map(np.concatenate, zip(*edges, strict=True))
        self.starts = np.append(0, np.concatenate(counts).cumsum())
        self.below = np.concatenate(below)
        levels = np.repeat(np.arange(len(nodes)), [len(of_level[0]) for of_level in nodes])
        steps = self.depths - self._depths_before(np.arange(len(self)))
        self.longest_chains = int(sum(steps[levels == level].max() for level in range(1, len(nodes))))

    def __len__(self) -> int:
        """The number of decisions."""
        return len(self.depths)

    def edges(self, nodes: Ints) -> tuple[Ints, Ints]:
        """The edges of K nodes, one node's after the other's, and how many each has (K,)."""
        counts = self.starts[nodes + 1] - self.starts[nodes]
        return ranges(self.starts[nodes], counts), counts

    def chains(self, nodes: Ints) -> tuple[Ints, Ints]:
        """The tokens from the decision before each of K nodes to its own, one after the other, and their counts (K,).

        The first of them was chosen at the decision before, the others are certain; of node 0 all are certain.
        """
        return self.trie.between(self.first[nodes], self._depths_before(nodes), self.depths[nodes])

    def tokens_to(self, rows: Ints) -> Ints:
        """(K,) tokens before the last decision of some ascending rows, less those that the row before shares."""
        decided = np.flatnonzero(self.below < 0)
        decided = decided[np.argsort(self.edge_first[decided])]  # these cover every row once
        counts = self.edge_last[decided] - self.edge_first[decided]
        tokens = np.repeat(self.depths[self.edge_nodes[decided]], counts)[rows] if len(self) else np.zeros_like(rows)
        tokens[1:] -= np.minimum(tokens[1:], self.trie.shared_depths(rows[:-1], rows[1:] + 1))
        return tokens

    def _depths_before(self, nodes: Ints) -> Ints:
        return np.where(self.parents[nodes] < 0, 0, self.depths[self.parents[nodes]])

    def paths(self) -> DecisionPaths:
        """The decisions of every text; text t is leaf t of the trie."""
        of_node = np.full(len(self), -1)
        of_node[self.below[self.below >= 0]] = np.flatnonzero(self.below >= 0)
        edges = np.flatnonzero(self.below < 0)
        texts = self.trie.leaves[self.edge_first[edges]]
        found = []
        while len(edges):  # one decision back in each round
            nodes = self.edge_nodes[edges]
            found.append((texts, nodes, edges))
            edges = of_node[nodes]
            texts, edges = texts[edges >= 0], edges[edges >= 0]
        n_texts = int(self.trie.leaves[-1]) + 1
        if not found:
            return DecisionPaths(np.zeros(n_texts + 1, dtype=np.int64), *np.empty((2, 0), dtype=np.int64))
        texts, nodes, edges = map(np.concatenate, zip(*found, strict=True))
        order = np.lexsort((nodes, texts))  # nodes are numbered from the first decision on
        return DecisionPaths(np.append(0, np.bincount(texts, minlength=n_texts).cumsum()), nodes[order], edges[order])
