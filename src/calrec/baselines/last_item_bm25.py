"""BM25 of the last item's title over all titles: what text alone can do without any training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calrec.baselines.baseline import Baseline
from calrec.data.store import Domain
from calrec.protocol import exclude_last
from calrec.records import History, Recommendation
from calrec.retrieval import Bm25Index, Bm25Settings
from calrec.settings import Settings


class LastItemBm25Settings(Settings):
    """How to look for the last title.

    Attributes:
        itself: whether the last item, which matches its own title best, may be recommended.
        bm25: the constants of BM25.
    """

    itself: bool = True
    bm25: Bm25Settings = Field(default_factory=Bm25Settings)


class LastItemBm25(Baseline[LastItemBm25Settings]):
    """Items by how well their titles match the last item's; those without a common word are not recommended."""

    name = "bm25"
    settings_type = LastItemBm25Settings
    grid: ClassVar = {"bm25.k1": (0.5, 1.5, 3.0), "bm25.b": (0.0, 0.4, 0.75)}

    def __init__(self, domain: Domain, settings: LastItemBm25Settings) -> None:
        super().__init__(domain, settings)
        self._itself = settings.itself
        self._index = Bm25Index(self.catalogue.texts, settings.bm25)

    def score(self, histories: Sequence[History]) -> NDArray[np.float32]:
        scores = self._index.scores(self._queries(histories))
        scores[scores == 0] = -np.inf
        if not self._itself:
            exclude_last(scores, self.catalogue, histories)
        return scores

    def recommend(self, histories: Sequence[History], k: int) -> list[list[Recommendation]]:
        """The k best items of each history, as by ``score`` and without scoring a large catalogue's every item."""
        catalogue = self.catalogue
        found = self._index.top(self._queries(histories), k + (not self._itself))
        rankings = []
        for history, columns, scores in zip(histories, *found, strict=True):
            keep = columns >= 0
            if not self._itself:
                keep &= ~np.isin(columns, catalogue.columns(history.item_ids[-1:]))
            places = zip(columns[keep][:k].tolist(), scores[keep][:k].tolist(), strict=True)
            rankings.append(
                [
                    Recommendation(catalogue.ids[column], score, rank, catalogue.texts[column])
                    for rank, (column, score) in enumerate(places, start=1)
                ]
            )
        return rankings

    def _queries(self, histories: Sequence[History]) -> list[str]:
        texts = self.catalogue.texts
        last = [self.catalogue.columns(history.item_ids[-1:]) for history in histories]
        return [texts[columns[0]] if columns else "" for columns in last]
