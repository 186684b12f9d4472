"""Guesses from the catalogue, so that what the samples write is verified several tokens at a time."""

from __future__ import annotations

from calrec.generation.trie import ItemTrie, TrieNode


class CatalogueDrafter:
    """Guesses that samples go on as the catalogue's items do.

    Of c samples that stand at a node of the trie, c * m / M are expected at a node below it with m of the M items;
    the nodes where at least ``expected`` samples are, are guessed. A beginning that only one item has is so guessed to
    its end, and where items part, the more is guessed the more samples there are.

    Args:
        trie: of the catalogue.
        expected: how many samples a guess must expect, > 0; fewer mean more guesses, more of them wrong.
        limit: most guesses below one branch.
    """

    def __init__(self, trie: ItemTrie, expected: float = 0.5, limit: int = 32) -> None:
        self._trie, self._expected, self._limit = trie, expected, limit

    def propose(self, tokens: tuple[int, ...], count: int, depth: int) -> list[tuple[int, int]]:
        """See `calrec.generation.prefix_tree.Drafter`."""
        start = self._trie.find(tokens)
        if start is None:
            return []
        guesses: list[tuple[int, int]] = []
        fewest = self._expected * len(start) / count
        level: list[tuple[int, TrieNode]] = [(-1, start)]
        while level:
            below: list[tuple[int, TrieNode]] = []
            for place, node in level:
                if node.depth == depth or len(node) < fewest:
                    continue
                for token, child in self._trie.children(node):
                    # Nothing follows the end of an item, so that leaf needs no computing.
                    if len(child) >= fewest and not self._trie.is_leaf(child) and len(guesses) < self._limit:
                        below.append((len(guesses), child))
                        guesses.append((place, token))
            level = below
        return guesses
