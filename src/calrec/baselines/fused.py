"""Several baselines joined by a ranking that is fitted on validation users."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from calrec.baselines.baseline import Baseline, fill_by_popularity, popularity
from calrec.baselines.simple import BASELINES
from calrec.data.store import Domain
from calrec.errors import ConfigError
from calrec.ranker import PENALTIES, CandidateTable, FittedRanker, ItemFacts, candidate_table, fit_ranker, fold_of
from calrec.records import Example, History
from calrec.retrieval import fuse
from calrec.settings import Settings

# With fewer validation users, reciprocal rank fusion takes the place of a fitted ranking.
_FEWEST_USERS = 100
_SAMPLE_SEED = 0
# Histories whose dense scores are in memory at once while the ranking is fitted.
_BATCH = 256

logger = logging.getLogger(__name__)


class FusedSettings(Settings):
    """Which baselines are joined, and how their joint ranking is fitted.

    Attributes:
        sources: baselines with their default settings.
        each: best items that each of them brings.
        users: validation users that the ranking is fitted on, at most.
        l2: penalties to choose from by cross-validation.
    """

    sources: tuple[str, ...] = ("markov", "item-knn", "bm25", "user-history", "popularity")
    each: int = Field(default=60, ge=1)
    users: int = Field(default=2000, ge=1)
    l2: tuple[float, ...] = PENALTIES

    @field_validator("sources")
    @classmethod
    def _known(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in sources if name not in BASELINES]
        if unknown or len(set(sources)) < max(1, len(sources)):
            raise ValueError(f"name some of {', '.join(BASELINES)}, each once")
        return sources

    @field_validator("l2")
    @classmethod
    def _usable(cls, l2: tuple[float, ...]) -> tuple[float, ...]:
        if not l2 or min(l2) <= 0:
            raise ValueError("name at least one penalty, each above 0")
        return l2


class FusedBaselines(Baseline[FusedSettings]):
    """Candidates of several baselines by a conditional logit, then all other items by popularity.

    The baselines are fitted on training sequences, and the logit on validation users: what follows their training
    sequences. A history on which the logit was fitted is ranked by the weights of a fold without this user, so that an
    evaluation on the validation split is a cross-validated one.
    """

    name = "fused-baselines"
    settings_type = FusedSettings

    def __init__(self, domain: Domain, settings: FusedSettings) -> None:
        super().__init__(domain, settings)
        self._share = popularity(domain)
        self._exclude_last = domain.exclude_last
        self._items = ItemFacts(self.catalogue, np.array([domain.purchases[item] for item in self.catalogue.ids]))
        kinds = {name: BASELINES[name] for name in settings.sources}
        self._sources = {name: kind(domain, kind.settings_type()) for name, kind in kinds.items()}
        examples = _sample(domain.split("valid"), settings.users)
        self._fitted = self._fit(examples)
        self._fitted_on = {(example.user_id, example.history) for example in examples}

    @property
    def described(self) -> dict[str, Any]:
        fitted = self._fitted
        ranking = (
            {"how": "reciprocal-rank"}
            if fitted is None
            else {"how": "conditional-logit", "l2": fitted.weights.l2, "users": fitted.weights.users}
        )
        sources = {name: source.described for name, source in self._sources.items()}
        return super().described | {"source_settings": sources, "ranking": ranking}

    @property
    def fitted(self) -> FittedRanker | None:
        """The ranking; None where there are too few validation users to fit one."""
        return self._fitted

    def score(self, histories: Sequence[History]) -> NDArray[np.float32]:
        if self._fitted is None:
            parts = list(self._scores(histories).values())
            fused = np.zeros((len(histories), len(self.catalogue)))
            for user, row in enumerate(fused):
                # Above 0 for what any source ranks.
                row[:] = np.maximum(fuse([part[user] for part in parts], [1.0] * len(parts)), 0)
            return fill_by_popularity(fused.astype(np.float32), self._share)
        table = self._table(histories)
        rows = table.spread(self._values(self._fitted, table, histories), len(self.catalogue))  # (H, I)
        # Above 0, so that no other item comes before a candidate.
        lowest = np.where(rows > -np.inf, rows, np.inf).min(axis=1, keepdims=True)
        found = np.where(rows > -np.inf, rows - lowest + 1, 0)
        return fill_by_popularity(found.astype(np.float32), self._share)

    def _fit(self, examples: Sequence[Example]) -> FittedRanker | None:
        if len(examples) < _FEWEST_USERS:
            few = "%s: reciprocal rank fusion, as %d validation users are too few to fit a ranking on; it takes %d"
            logger.warning(few, self.name, len(examples), _FEWEST_USERS)
            return None
        histories = [History(example.user_id, example.history) for example in examples]
        parts = [self._table(histories[start : start + _BATCH]) for start in range(0, len(histories), _BATCH)]
        targets = [self.catalogue.positions.get(example.target, -1) for example in examples]
        users = [example.user_id for example in examples]
        try:
            return fit_ranker(CandidateTable.joined(parts), targets, users, self.settings.l2)
        except ConfigError as error:
            logger.warning("%s: reciprocal rank fusion: %s", self.name, error)
            return None

    def _scores(self, histories: Sequence[History]) -> Mapping[str, NDArray[np.float32]]:
        return {name: source.score(histories) for name, source in self._sources.items()}

    def _table(self, histories: Sequence[History]) -> CandidateTable:
        each, exclude_last = self.settings.each, self._exclude_last
        return candidate_table(self._scores(histories), histories, self._items, exclude_last=exclude_last, each=each)

    def _values(self, fitted: FittedRanker, table: CandidateTable, histories: Sequence[History]) -> NDArray[np.float64]:
        """(C,) scores of candidates, each history's by weights that were not fitted on it."""
        values = fitted.weights.score(table)
        fold = np.array(
            [
                fold_of(history.user_id, len(fitted.folds))
                if (history.user_id, history.item_ids) in self._fitted_on
                else -1
                for history in histories
            ]
        )
        for number in set(fold.tolist()) - {-1}:
            own = (fold == number)[table.owners]
            values[own] = fitted.folds[number].score(table)[own]
        return values


def _sample(examples: Sequence[Example], users: int) -> list[Example]:
    if len(examples) <= users:
        return list(examples)
    drawn = np.random.default_rng(_SAMPLE_SEED).choice(len(examples), users, replace=False)
    return [examples[place] for place in sorted(drawn)]
