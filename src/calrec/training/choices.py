"""The decisions that lead to a batch's targets, each in its own domain's catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calrec.losses import Choices
from calrec.text.decisions import DecisionTree
from calrec.text.encode import SequenceEncoder
from calrec.text.trie import ItemTrie, ranges

Ints = NDArray[np.int64]


class DomainDecisions:
    """The decisions to each text of one domain's catalogue.

    Args:
        encoder: of the catalogue.
        keys: (I,) number of every item's text among those of all domains.
    """

    def __init__(self, encoder: SequenceEncoder, keys: Ints) -> None:
        trie = ItemTrie([item.tolist() for item in encoder.items])
        self.tree = DecisionTree(trie)
        self._paths = self.tree.paths()
        self._text_of_key = np.full(int(keys.max()) + 1, -1)
        self._text_of_key[keys[trie.order]] = trie.leaves

    def to(self, keys: Ints) -> tuple[Ints, Ints, Ints]:
        """The decisions to K texts, one text's after the other's: place of the text in ``keys``, nodes and edges."""
        texts, starts = self._text_of_key[keys], self._paths.starts
        counts = starts[texts + 1] - starts[texts]
        places = ranges(starts[texts], counts)
        return np.repeat(np.arange(len(keys)), counts), self._paths.nodes[places], self._paths.edges[places]


@dataclass(frozen=True)
class Decisions:
    """P decisions of N targets.

    Attributes:
        target: (P,) whose. offset: (P,) tokens of the target before each decision.
        token: (P,) that is right. node: (P,) of M nodes. vocabulary: (U,) tokens that any of these allows.
        allowed_node, allowed: (E,) pairs of a node and a place in ``vocabulary``.
        nodes: M.
    """

    target: Ints
    offset: Ints
    token: Ints
    node: Ints
    vocabulary: Ints
    allowed_node: Ints
    allowed: Ints
    nodes: int

    def choices(self, place: Ints) -> Choices:
        """As tensors; ``place`` (P,) is the row of the predicting states that takes each decision."""
        label = np.searchsorted(self.vocabulary, self.token)
        return Choices(
            _long(place),
            _long(self.node),
            _long(label),
            _long(self.vocabulary),
            _long(self.allowed_node),
            _long(self.allowed),
            self.nodes,
        )


def decisions_of(domains: Sequence[DomainDecisions], domain: Ints, key: Ints) -> Decisions:
    """All decisions of N targets.

    Args:
        domains: of the mixture.
        domain: (N,) whose catalogue each target is of. key: (N,) number of its text.
    """
    parts, tokens, nodes = [], [], 0
    for number in np.unique(domain).tolist():
        targets, tree = np.flatnonzero(domain == number), domains[number].tree
        places, of_decision, edges = domains[number].to(key[targets])
        distinct, node = np.unique(of_decision, return_inverse=True)
        allowed, counts = tree.edges(distinct)
        parts.append(
            (
                targets[places],
                tree.depths[of_decision],
                tree.tokens[edges],
                node + nodes,
                np.repeat(np.arange(nodes, nodes + len(distinct)), counts),
            )
        )
        tokens.append(tree.tokens[allowed])
        nodes += len(distinct)
    target, offset, token, node, allowed_node = map(np.concatenate, zip(*parts, strict=True))
    vocabulary, places = np.unique(np.concatenate(tokens), return_inverse=True)
    return Decisions(target, offset, token, node, vocabulary, allowed_node, places, nodes)


def _long(values: Ints) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
