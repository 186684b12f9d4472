"""Weights of a fitted ranking, as they are kept and as they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from pydantic import model_validator

from calrec.errors import ConfigError
from calrec.ranker.features import CandidateTable
from calrec.ranker.logit import ConditionalLogit, Floats
from calrec.settings import Settings


class RankerWeights(Settings):
    """A conditional logit over candidates and where it comes from, to be kept as JSON.

    Attributes:
        sources: whose scores it needs.
        each: best items that each of them brings.
        names: of the F features.
        weights, means, scales: F each; a feature adds weight * (value - mean) / scale to a candidate's score.
        l2: the penalty that it was fitted with.
        users: how many it was fitted on. targets: how many of these had their target among the candidates.
        metrics: cross-validated, over the users; a target that is no candidate is a miss.
    """

    sources: tuple[str, ...]
    each: int
    names: tuple[str, ...]
    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    l2: float
    users: int
    targets: int
    metrics: Mapping[str, float] = {}

    @model_validator(mode="after")
    def _fits(self) -> RankerWeights:
        if not len(self.names) == len(self.weights) == len(self.means) == len(self.scales):
            raise ValueError("names, weights, means and scales must have one value for each feature")
        if min(self.scales, default=1.0) <= 0:
            raise ValueError("scales must be above 0")
        return self

    @property
    def logit(self) -> ConditionalLogit:
        return ConditionalLogit(np.array(self.weights), np.array(self.means), np.array(self.scales))

    def score(self, table: CandidateTable) -> Floats:
        """(C,) scores of a table's candidates, higher is better; differences within a user are log odds.

        Raises:
            ConfigError: the table has other features than those that the weights were fitted on.
        """
        self._require(table)
        return self.logit.scores(table.features)

    def explain(self, table: CandidateTable, row: int) -> list[Contribution]:
        """Say what lifts or lowers one candidate among its user's, the strongest first.

        The parts add up to the candidate's score less the mean score of the user's candidates.

        Args:
            table: of candidates.
            row: of the candidate in it.

        Raises:
            ConfigError: as for `score`.
        """
        self._require(table)
        user = table.owners[row]
        own = table.features[table.starts[user] : table.starts[user + 1]]  # (candidates of the user, F)
        parts = (table.features[row] - own.mean(axis=0)) / np.array(self.scales) * np.array(self.weights)
        found = map(Contribution, self.names, table.features[row].tolist(), parts.tolist())
        return sorted(found, key=lambda part: -abs(part.log_odds))

    def _require(self, table: CandidateTable) -> None:
        if table.names == self.names:
            return
        missing, more = set(self.names) - set(table.names), set(table.names) - set(self.names)
        parts = [
            f"{label} {', '.join(sorted(names))}" for label, names in (("lacks", missing), ("adds", more)) if names
        ]
        raise ConfigError(
            f"the ranking was fitted on other features: the table {' and '.join(parts) or 'has another order'}; "
            "fit it again"
        )


class Contribution(NamedTuple):
    """Part of one feature in a candidate's score.

    Attributes:
        feature: its name.
        value: of the candidate.
        log_odds: what it adds, relative to the mean over the user's candidates.
    """

    feature: str
    value: float
    log_odds: float
