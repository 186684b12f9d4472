"""Guesses from the catalogue, so that what the samples write is verified several tokens at a time."""

from __future__ import annotations

from calrec.generation.trie import ItemTrie, TrieNode

EXPECTED = 0.5


class CatalogueDrafter:
    """Guesses that samples go on as the catalogue's items do.

    Of c samples that stand at a node of the trie, c * m / M are expected at a node below it with m of the M items;
    the nodes where at least ``expected`` samples are, are guessed. A beginning that only one item has is so guessed to
    its end, and where items part, the more is guessed the more samples there are.

    Args:
        trie: of the catalogue.
        expected: how many samples a guess must expect, > 0; fewer mean more guesses, more of them wrong. Where more are
            asked for than there are, only what all items of a beginning share is guessed.
        limit: most guesses below one branch, apart from what all its items share.
    """

    def __init__(self, trie: ItemTrie, expected: float = EXPECTED, limit: int = 32) -> None:
        self._trie, self._expected, self._limit = trie, expected, limit

    def propose(self, tokens: tuple[int, ...], count: int, depth: int) -> list[tuple[int, int]]:
        """See `calrec.generation.prefix_tree.Drafter`."""
        start = self._trie.find(tokens)
        if start is None:
            return []
        guesses: list[tuple[int, int]] = []
        fewest = len(start) * min(1.0, self._expected / count)
        level: list[tuple[int, TrieNode]] = [(-1, start)]
        while level:
            below: list[tuple[int, TrieNode]] = []
            for place, node in level:
                if node.depth == depth or len(node) < fewest:
                    continue
                for token, child in self._trie.children(node):
                    room = len(guesses) < self._limit or len(child) == len(start)
                    # Nothing follows the end of an item, so that leaf needs no computing.
                    if room and len(child) >= fewest and not self._trie.is_leaf(child):
                        below.append((len(guesses), child))
                        guesses.append((place, token))
            level = below
        return guesses
