"""Fitting a ranking on users whose next purchase is known, and what it is worth on users that it was not fitted on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calrec.errors import ConfigError
from calrec.metrics import ranking_metrics
from calrec.ranker.features import CandidateTable
from calrec.ranker.logit import ConditionalLogit, Floats, Integers, log_likelihoods, subset
from calrec.ranker.weights import RankerWeights

#: Penalties that are tried. The first of equals is kept: the largest.
PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001)
FOLDS = 5
_SEED = "calrec ranker"


@dataclass(frozen=True)
class FittedRanker:
    """A ranking fitted on H users with C candidates.

    Attributes:
        weights: fitted on all users.
        folds: one for each fold, fitted on the users of all other folds: use ``folds[fold_of(user_id, len(folds))]``
            for a user that ``weights`` were fitted on.
        held_out: (C,) scores, each user's by the fold that was not fitted on the user.
        ranks: (H,) of the targets by ``held_out``; 0 where a target is no candidate.
        likelihoods: penalty -> mean log-likelihood of held-out targets.
    """

    weights: RankerWeights
    folds: tuple[RankerWeights, ...]
    held_out: Floats
    ranks: Integers
    likelihoods: Mapping[float, float]

    @property
    def metrics(self) -> Mapping[str, float]:
        """Cross-validated, over all users."""
        return self.weights.metrics


def fit_ranker(
    table: CandidateTable,
    targets: Sequence[int] | Integers,
    user_ids: Sequence[str],
    penalties: Sequence[float] = PENALTIES,
    folds: int = FOLDS,
) -> FittedRanker:
    """Fit a conditional logit, its penalty chosen by cross-validation over users.

    Args:
        table: C candidates of H users.
        targets: (H,) columns of what they bought next, -1 for no item of the catalogue.
        user_ids: H of them; a user's fold depends on the id alone.
        penalties: values of l2 to try.
        folds: how many parts the users are cut into.

    Raises:
        ValueError: H differs, or there is no penalty or no second fold.
        ConfigError: no user's target is among the candidates.
    """
    if not len(table) == len(targets) == len(user_ids):
        raise ValueError(f"{len(table)} histories, {len(targets)} targets and {len(user_ids)} users do not fit")
    if not penalties or folds < 2:
        raise ValueError("fitting takes one penalty or more, and two folds or more")
    places = table.places(targets)
    if not (places >= 0).any():
        raise ConfigError("no user's target is among the candidates, so there is nothing to fit a ranking on")
    fold = np.array([fold_of(user_id, folds) for user_id in user_ids])  # (H,)
    tried: dict[float, list[ConditionalLogit]] = {}
    models = None
    for l2 in sorted(set(penalties), reverse=True):
        tried[l2] = models = _folds(table, places, fold, l2, folds, models)
    held = {l2: _held_out(table, fold, models) for l2, models in tried.items()}
    likelihoods = {l2: float(log_likelihoods(held[l2], table.starts, places).mean()) for l2 in held}
    best = max(likelihoods, key=lambda l2: likelihoods[l2])
    ranks = _ranks(table, held[best], places)
    metrics = ranking_metrics(ranks)
    return FittedRanker(
        _weights(table, places, ConditionalLogit.fit(table.features, table.starts, places, best), best, metrics),
        tuple(_weights(table, places[fold != number], model, best, {}) for number, model in enumerate(tried[best])),
        held[best],
        ranks,
        likelihoods,
    )


def fold_of(user_id: str, folds: int = FOLDS) -> int:
    """The fold of a user, from 0: the same whoever else is there."""
    digest = hashlib.blake2b(f"{_SEED}\x1f{user_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % folds


def _folds(
    table: CandidateTable,
    places: Integers,
    fold: Integers,
    l2: float,
    folds: int,
    before: Sequence[ConditionalLogit] | None,
) -> list[ConditionalLogit]:
    """One model for each fold, fitted on the users of all others; ``before`` are those of another penalty."""
    return [
        ConditionalLogit.fit(
            *subset(table.features, table.starts, places, fold != number),
            l2,
            None if before is None else before[number].weights,
        )
        for number in range(folds)
    ]


def _held_out(table: CandidateTable, fold: Integers, models: Sequence[ConditionalLogit]) -> Floats:
    scores, of_candidate = np.empty(len(table.columns)), fold[table.owners]
    for number, model in enumerate(models):
        scores[of_candidate == number] = model.scores(table.features[of_candidate == number])
    return scores


def _ranks(table: CandidateTable, scores: Floats, places: Integers) -> Integers:
    """(H,) the order of `calrec.protocol.top_k`: score first, then column, by which a history's candidates stand."""
    own = scores[places][table.owners]  # (C,) the target's score; of users without one, any
    rows = np.arange(len(scores))
    ahead = (scores > own) | ((scores == own) & (rows < places[table.owners]))
    counts = np.bincount(table.owners, weights=ahead, minlength=len(table))
    return np.where(places >= 0, counts + 1, 0).astype(np.int64)


def _weights(
    table: CandidateTable, places: Integers, model: ConditionalLogit, l2: float, metrics: Mapping[str, float]
) -> RankerWeights:
    return RankerWeights(
        sources=table.sources,
        each=table.each,
        names=table.names,
        weights=tuple(model.weights.tolist()),
        means=tuple(model.means.tolist()),
        scales=tuple(model.scales.tolist()),
        l2=l2,
        users=len(places),
        targets=int((places >= 0).sum()),
        metrics=metrics,
    )
