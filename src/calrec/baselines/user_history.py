"""What the user bought before: the row to beat where people buy the same again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calrec.baselines.baseline import Baseline, NoSettings, fill_by_popularity, popularity
from calrec.data.store import Domain
from calrec.records import History


class UserHistory(Baseline[NoSettings]):
    """The user's own most frequent items, equal ones by the most recent purchase; then all others by popularity."""

    name = "user-history"

    def __init__(self, domain: Domain, settings: NoSettings) -> None:
        super().__init__(domain, settings)
        self._share = popularity(domain)

    def score(self, histories: Sequence[History]) -> NDArray[np.float32]:
        scores = np.zeros((len(histories), len(self.catalogue)), dtype=np.float32)
        for row, history in zip(scores, histories, strict=True):
            columns = self.catalogue.columns(history.item_ids)
            np.add.at(row, columns, 1)
            # The latest place of each item, as a part of one purchase, orders those bought equally often.
            latest = {column: place / len(columns) for place, column in enumerate(columns)}
            row[list(latest)] += list(latest.values())
        return fill_by_popularity(scores, self._share)
