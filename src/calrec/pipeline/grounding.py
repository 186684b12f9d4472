"""From what the model wrote to items: BM25 of every text, joined by quasi-round-robin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calrec.records import Generation, Trace
from calrec.retrieval import Bm25Index, min_max, quasi_round_robin


class Grounding:
    """The texts of one user over the catalogue.

    Args:
        index: BM25 of the catalogue.
        generations: P distinct texts.
        epsilon: of the quasi-round-robin.

    Attributes:
        scores: (I,) of the catalogue; ``-inf`` where no text matches the item, or all match others better.
    """

    def __init__(self, index: Bm25Index, generations: Sequence[Generation], epsilon: float) -> None:
        self._index, self._generations = index, generations
        log_probs = np.array([generation.log_prob for generation in generations])
        self._weights = np.exp(epsilon * log_probs)
        self._matches = index.scores([generation.text for generation in generations])
        joined = quasi_round_robin(self._matches, log_probs, epsilon)
        if not joined.any():
            joined = (self._weights[:, None] * self._scaled).max(axis=0, initial=0)
        self.scores: NDArray[np.float64] = np.where(joined > 0, joined, -np.inf)

    @cached_property
    def _scaled(self) -> NDArray[np.float64]:
        scaled = min_max(self._matches)
        # Where every text matches all items alike, such as the only one there is, all that match count as a best match.
        return scaled if scaled.any() else (self._matches > 0).astype(np.float64)

    def trace(self, column: int) -> Trace | None:
        """The text that gave an item its score; None where none did."""
        if self.scores[column] == -np.inf:
            return None
        best = int(np.argmax(self._weights * self._scaled[:, column]))
        written = self._generations[best]
        words = self._index.matched_words(written.text, column)
        return Trace(written.text, written.log_prob, float(self._scaled[best, column]), words)
