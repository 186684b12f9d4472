"""Samples that can only be items of the catalogue (beyond the paper)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from calrec.text.trie import ItemTrie


class CatalogueBound:
    """The tokens that may follow a beginning, which are those that lead to an item.

    Args:
        trie: of the catalogue.
        normalise: whether log-probabilities are those over what is allowed, and so over the catalogue, instead of the
            whole vocabulary. The draws are the same.
    """

    def __init__(self, trie: ItemTrie, normalise: bool = False) -> None:
        self.normalise = normalise
        # All users begin at the root, which has the most children, and samples of one user meet again and again.
        self._trie = trie
        self._known = lru_cache(maxsize=4096)(self._find)

    def after(self, tokens: tuple[int, ...]) -> NDArray[np.int64]:
        """What may follow ``tokens``, themselves the beginning of an item but not a whole one; in the tokens' order."""
        return self._known(tokens)

    def _find(self, tokens: tuple[int, ...]) -> NDArray[np.int64]:
        node = self._trie.find(tokens)
        if node is None:
            raise ValueError(f"no item begins with the tokens {tokens}")
        place = (np.array([value]) for value in (node.first, node.last, node.depth))
        return self._trie.branches(*place).tokens
