"""The items bought most often, the same for everybody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calrec.baselines.baseline import Baseline, NoSettings, popularity
from calrec.data.store import Domain
from calrec.records import History


class Popularity(Baseline[NoSettings]):
    """Scores are the counts of purchases in the training sequences, over one more than the largest."""

    name = "popularity"

    def __init__(self, domain: Domain, settings: NoSettings) -> None:
        super().__init__(domain, settings)
        self._share = popularity(domain).astype(np.float32)

    def score(self, histories: Sequence[History]) -> NDArray[np.float32]:
        return np.tile(self._share, (len(histories), 1))
