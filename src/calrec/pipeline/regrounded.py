"""What other ways to use a run's samples would have given: the texts are at hand, and no model is asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from calrec.data.store import Domain
from calrec.errors import DataError
from calrec.pipeline.grounding import Grounding
from calrec.pipeline.settings import InferenceSettings
from calrec.protocol import rankings
from calrec.records import Catalogue, Generation, History, Recommendation
from calrec.retrieval import Bm25Index
from calrec.text.item_text import ItemText, template_of


class Regrounded:
    """Stored texts as a recommender for the users who have some; a ``calrec.protocol.Recommender``.

    A sample's random numbers are its own, so the texts that the first n samples wrote are those that a run of n samples
    writes.

    Args:
        written: the texts by user id, the most probable first.
        catalogue: with the texts of the template that the run was written in.
        settings: of the grounding.
        samples: ground what the first so many samples wrote; None takes all.
        best_alone: ground the most probable of these texts and no other, so that there is nothing to join.
    """

    name = "calrec"

    def __init__(
        self,
        written: Mapping[str, Sequence[Generation]],
        catalogue: Catalogue,
        settings: InferenceSettings,
        samples: int | None = None,
        best_alone: bool = False,
    ) -> None:
        self.catalogue = catalogue
        self._written, self._epsilon = written, settings.epsilon
        self._samples, self._best_alone = samples, best_alone
        self._bm25 = Bm25Index(catalogue.texts, settings.bm25)

    @classmethod
    def of_result(
        cls,
        rankings: pl.DataFrame,
        settings: Mapping[str, Any],
        domain: Domain,
        samples: int | None = None,
        best_alone: bool = False,
    ) -> Regrounded | None:
        """From what a result keeps; None where its rankings do not come of samples alone, whose texts are kept.

        Args:
            rankings: its table. settings: those that its summary names.
            domain: whose catalogue.
            samples, best_alone: as of the class.
        """
        inference, template = settings.get("inference", {}), template_of(settings)
        if "generations" not in rankings.columns or template is None or "method" in inference:
            return None
        # Neither their tokens are kept, nor how often fewer samples wrote each.
        written = {
            user_id: [Generation(text["text"], (), text["log_prob"], text["count"], text["first"]) for text in texts]
            for user_id, texts in rankings.select("user_id", "generations").iter_rows()
        }
        grounding = InferenceSettings.model_validate({name: inference[name] for name in ("bm25", "epsilon")})
        catalogue = domain.catalogue_with_texts(ItemText(template))
        return cls(written, catalogue, grounding, samples, best_alone)

    def score(self, histories: Sequence[History]) -> NDArray[np.float64]:
        """Scores of all items: (H, I).

        Raises:
            DataError: a user who has no texts.
        """
        return np.stack([grounding.scores for grounding in self._grounded(histories)])

    def recommend(self, histories: Sequence[History], k: int) -> list[list[Recommendation]]:
        """The k best items of each history, and why each is there. Errors as for ``score``."""
        grounded, places = self._grounded(histories), self.catalogue.positions
        ranked = rankings(np.stack([grounding.scores for grounding in grounded]), self.catalogue, k)
        return [
            [replace(place, trace=grounding.trace(places[place.item_id])) for place in of_user]
            for grounding, of_user in zip(grounded, ranked, strict=True)
        ]

    def _grounded(self, histories: Sequence[History]) -> list[Grounding]:
        return [Grounding(self._bm25, self._used(history.user_id), self._epsilon) for history in histories]

    def _used(self, user_id: str) -> list[Generation]:
        if user_id not in self._written:
            raise DataError(f"user {user_id!r}: no text was kept; evaluate the run for this user first")
        texts = [text for text in self._written[user_id] if self._samples is None or text.first < self._samples]
        return texts[:1] if self._best_alone else texts
