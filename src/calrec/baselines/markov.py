"""First-order Markov chain: what came next when somebody bought this item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from calrec.baselines.baseline import Baseline, NoSettings, popularity
from calrec.data.store import Domain
from calrec.records import History


class Markov(Baseline[NoSettings]):
    """Counts of the direct successors of the last item; equal counts, zero among them, by popularity."""

    name = "markov"

    def __init__(self, domain: Domain, settings: NoSettings) -> None:
        super().__init__(domain, settings)
        self._share = popularity(domain)
        self._successors = successors(domain, window=1)

    def score(self, histories: Sequence[History]) -> NDArray[np.float32]:
        last = [self.catalogue.columns(history.item_ids[-1:]) for history in histories]
        scores = np.tile(self._share, (len(histories), 1))
        rows = [row for row, columns in enumerate(last) if columns]
        scores[rows] += self._successors[[column for columns in last for column in columns]].toarray()
        return scores.astype(np.float32)


def successors(domain: Domain, window: int) -> csr_array:
    """How often item j followed item i at a distance of at most ``window`` purchases: sparse (I, I), float64.

    An item that follows itself is not counted.
    """
    catalogue = domain.catalogue
    first: list[int] = []
    then: list[int] = []
    for history in domain.training_sequences():
        columns = catalogue.columns(history.item_ids)
        for distance in range(1, window + 1):
            first += columns[:-distance]
            then += columns[distance:]
    pairs = np.array([first, then], dtype=np.int64)
    pairs = pairs[:, pairs[0] != pairs[1]]
    counts = csr_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(len(catalogue), len(catalogue)))
    counts.sum_duplicates()
    return counts
