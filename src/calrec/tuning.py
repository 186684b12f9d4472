"""Settings of inference that are chosen on validation: how likelihoods are corrected, and how methods are joined.

With enough users a ranking of candidates is fitted; with few, weights of reciprocal ranks are searched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calrec.baselines import BASELINES
from calrec.data.store import Domain
from calrec.errors import ConfigError
from calrec.evaluation import require_unseen, sample_users
from calrec.metrics import PairedTest, paired_test, per_user_metrics, ranking_metrics, ranks_by_id, standard_errors
from calrec.metrics.ranking import Ranks
from calrec.pipeline import CALRec, InferenceSettings
from calrec.pipeline.methods import Scores, corrected
from calrec.pipeline.settings import CorrectionSettings, FusedSettings
from calrec.progress import progress_bar
from calrec.protocol import exclude_last
from calrec.ranker import RankerWeights, candidate_table, fit_ranker
from calrec.records import History
from calrec.retrieval import gains

logger = logging.getLogger(__name__)

#: What is tried. The first of equals is kept, so no correction and equal weights stay unless something is better.
PRIORS, LENGTHS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0), (0.0, 0.5, 1.0)
WEIGHTS = (1.0, 0.0, 0.25, 0.5, 2.0, 4.0)
ROUNDS = 3
GOAL = "ndcg@10"
#: Validation users from which on a ranking is fitted.
FITTED_FROM = 100
_BATCH = 32


@dataclass(frozen=True)
class Row:
    """What some settings reach on the validation users; ``method`` says which they are."""

    method: str
    metrics: Mapping[str, float]
    errors: Mapping[str, float]


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    Attributes:
        settings: with it; the method stays as it was.
        rows: every source by itself, with and without the correction, and the fusion. A fitted one is shown
            cross-validated, beside the same fit over the baselines alone.
        users: how many were looked at.
        added: what the model's sources add to the baselines, fused, in NDCG@10; None where nothing was fitted.
    """

    settings: InferenceSettings
    rows: tuple[Row, ...]
    users: int
    added: PairedTest | None = None


def tune(recommender: CALRec, domain: Domain, sources: Sequence[str], users: int | None = None) -> Tuned:
    """Choose correction and fusion weights by NDCG@10 over users of the validation split.

    Every source ranks every user once; what is tried afterwards is arithmetic. Kept in memory: some 20 bytes for every
    user, item and source.

    Args:
        recommender: over the domain's catalogue; what its settings say of each source is taken as it is.
        domain: whose validation split.
        sources: methods and baselines to join, at least two.
        users: a fixed sample of so many; None takes all.

    Raises:
        ConfigError: fewer than two sources, more users than there are, or a run that has learnt what they bought next.
    """
    if len(set(sources)) < 2:
        raise ConfigError(f"there is nothing to join in {', '.join(sources) or 'no source'}: name two sources or more")
    examples = sample_users(domain.split("valid"), users)
    require_unseen(recommender, domain, "valid")
    histories = [History(example.user_id, example.history) for example in examples]
    targets = np.array([domain.catalogue.positions.get(example.target, -1) for example in examples])
    trial = _Trial(recommender, histories, targets, domain.exclude_last)
    raw = trial.raw(sources)

    plain = recommender.settings.correction
    likely = [source for source in ("likelihood", "beam") if source in raw]
    correction = trial.best_correction(raw[likely[0]]) if likely else plain
    rows = []
    for source, scores in raw.items():
        tried = dict.fromkeys([CorrectionSettings(), correction]) if source in likely else [None]
        for how in tried:
            label = source if how is None or how == CorrectionSettings() else f"{source}, corrected"
            rows.append(trial.row(label, scores if how is None else trial.corrected(scores, how)))
    ready = {source: trial.corrected(raw[source], correction) if source in likely else raw[source] for source in raw}
    before, added = recommender.settings.fusion, None
    if len(examples) >= FITTED_FROM:
        ranker, held_out = trial.fitted(raw, domain)
        alone = {source: scores for source, scores in raw.items() if source in BASELINES}
        if 0 < len(alone) < len(raw):
            _, baselines = trial.fitted(alone, domain)
            rows.append(trial.row("baselines, fused", baselines))
            added = trial.compared(held_out, baselines)
        rows.append(trial.row("fused", held_out))
        fusion = FusedSettings(how="fitted", k=before.k, weights=dict.fromkeys(raw, 1.0), ranker=ranker)
    else:
        logger.warning("%d validation users are too few to fit a ranking: reciprocal ranks are weighed", len(examples))
        weights = trial.best_weights(ready)
        fusion = FusedSettings(how=before.rule.how, k=before.k, weights=weights)
        rows.append(trial.row("fused", trial.joined(trial.parts(ready), list(weights.values()))))
    settings = recommender.settings.model_copy(update={"correction": correction, "fusion": fusion})
    return Tuned(settings, tuple(rows), len(examples), added)


class _Parts(NamedTuple):
    """What M sources say of U users' items: (M, U, I) each.

    Attributes:
        gains: what a source adds to an item at weight 1. ranked: whether it ranks the item at all.
    """

    gains: NDArray[np.float64]
    ranked: NDArray[np.bool_]


class _Trial:
    """Validation users, ranked in many ways; last items are taken out of what comes of it, as evaluation does."""

    def __init__(
        self, recommender: CALRec, histories: Sequence[History], targets: NDArray[np.int64], last_excluded: bool
    ) -> None:
        self._recommender, self._last_excluded = recommender, last_excluded
        self._histories, self._targets = histories, targets

    def raw(self, sources: Iterable[str]) -> dict[str, Scores]:
        """source -> (U, I) scores, likelihoods without a correction."""
        parts: dict[str, list[Scores]] = {source: [] for source in sources}
        with progress_bar("validation users", len(self._histories)) as bar:
            for start in range(0, len(self._histories), _BATCH):
                request = self._recommender.request(self._histories[start : start + _BATCH])
                for source, scores in parts.items():
                    scores.append(request.uncorrected(source))
                bar.update(len(request.histories))
        return {source: np.concatenate(scores) for source, scores in parts.items()}

    def fitted(self, raw: Mapping[str, Scores], domain: Domain) -> tuple[RankerWeights, Scores]:
        """A ranking fitted on all users, and the scores (U, I) of each user's candidates by fits without that user."""
        facts = self._recommender.index.facts(domain.purchases)
        table = candidate_table(raw, self._histories, facts, exclude_last=self._last_excluded)
        found = fit_ranker(table, self._targets, [history.user_id for history in self._histories])
        return found.weights, table.spread(found.held_out, len(domain.catalogue))

    def compared(self, first: Scores, second: Scores) -> PairedTest:
        """The difference of two rankings' NDCG@10, paired over users."""
        one, other = (per_user_metrics(self._ranks(scores), ks=(10,))[GOAL] for scores in (first, second))
        return paired_test(one, other)

    def row(self, method: str, scores: Scores) -> Row:
        ranks = self._ranks(scores)
        return Row(method, ranking_metrics(ranks), standard_errors(ranks))

    def corrected(self, scores: Scores, settings: CorrectionSettings) -> Scores:
        return corrected(scores, self._recommender.index, settings)

    def best_correction(self, scores: Scores) -> CorrectionSettings:
        tried = [CorrectionSettings(prior=prior, length=length) for prior, length in product(PRIORS, LENGTHS)]
        return max(tried, key=lambda settings: self._reached(self.corrected(scores, settings)))

    def best_weights(self, ready: Mapping[str, Scores]) -> dict[str, float]:
        """The best that is reached from equal weights and from each source alone; equal ones win equals."""
        parts = self.parts(ready)
        starts = [[1.0] * len(ready), *np.eye(len(ready)).tolist()]
        reached = [self._improved(parts, start) for start in starts]
        best = max(reached, key=lambda weights: self._reached(self.joined(parts, weights)))
        return dict(zip(ready, best, strict=True))

    def _improved(self, parts: _Parts, weights: list[float]) -> list[float]:
        """One weight after the other, a few rounds."""
        for _ in range(ROUNDS):
            before = list(weights)
            for place in range(len(weights)):
                tried = [[*weights[:place], weight, *weights[place + 1 :]] for weight in (weights[place], *WEIGHTS)]
                weights = max(filter(any, tried), key=lambda chosen: self._reached(self.joined(parts, chosen)))
            if weights == before:
                break
        return weights

    def parts(self, ready: Mapping[str, Scores]) -> _Parts:
        fusion = self._recommender.settings.fusion.rule
        return _Parts(
            np.stack([gains(scores, fusion) for scores in ready.values()]),
            np.stack([scores > -np.inf for scores in ready.values()]),
        )

    def joined(self, parts: _Parts, weights: Sequence[float]) -> Scores:
        """``calrec.retrieval.fuse`` of all users, from what all weights share."""
        scores = np.tensordot(np.array(weights), parts.gains, axes=1)
        return np.where(parts.ranked[np.array(weights) > 0].any(axis=0), scores, -np.inf)

    def _ranks(self, scores: Scores) -> Ranks:
        if self._last_excluded:
            scores = scores.copy()
            exclude_last(scores, self._recommender.catalogue, self._histories)
        return ranks_by_id(scores, self._targets)

    def _reached(self, scores: Scores) -> float:
        return ranking_metrics(self._ranks(scores), ks=(10,))[GOAL]


def chosen_by(tuned: Tuned, domain: Domain) -> dict[str, Any]:
    """What is written beside the settings: on whom they were chosen, and what they reached there."""
    return {
        "domain": domain.name,
        "split_hash": domain.split_hash,
        "split": "valid",
        "users": tuned.users,
        "goal": GOAL,
        "reached": {row.method: row.metrics for row in tuned.rows},
    }
