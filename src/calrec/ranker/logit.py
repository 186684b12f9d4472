"""Conditional logit: which of a user's candidates is bought next (McFadden, 1974)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_STEPS = 500


@dataclass(frozen=True)
class ConditionalLogit:
    """P(candidate c of user h) = exp(w . x_c) / sum of exp(w . x_d) over the candidates d of h.

    Attributes:
        weights: (F,) w, of features that are standardised.
        means: (F,) of the features as they are. scales: (F,) their standard deviations, 1 where a feature is constant.
    """

    weights: Floats
    means: Floats
    scales: Floats

    @classmethod
    def fit(
        cls, features: Floats, starts: Integers, targets: Integers, l2: float, first: Floats | None = None
    ) -> ConditionalLogit:
        """Maximise the mean log-likelihood of the targets, less ``l2 / 2 * |w|^2``.

        Args:
            features: (C, F) of the candidates of H users, one user after the other.
            starts: (H + 1,) the candidates of user h are ``starts[h]`` to ``starts[h + 1]``.
            targets: (H,) the row of each user's target, -1 where it is no candidate; such a user is left out.
            l2: how much large weights are punished, > 0.
            first: (F,) weights to begin with, zeros by default; near the best ones, they save steps.
        """
        features, starts, targets = with_targets(features, starts, targets)
        size = features.shape[1]
        if not len(targets):
            return cls(np.zeros(size), np.zeros(size), np.ones(size))
        means, scales = features.mean(axis=0), features.std(axis=0)
        # A constant feature has nothing left but rounding.
        scales[scales <= 1e-9 * np.maximum(1, np.abs(means))] = 1.0
        found = minimize(
            objective,
            np.zeros(size) if first is None else first,
            args=((features - means) / scales, starts, targets, l2),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": _MOST_STEPS, "gtol": 1e-5, "ftol": 1e-11, "maxcor": 20},
        )
        return cls(np.asarray(found.x, dtype=np.float64), means, scales)

    def scores(self, features: Floats) -> Floats:
        """(C,) w . x of features (C, F); differences within a user are log odds."""
        # Row by row, so that a score does not depend on what stands beside it, as it does in a product of matrices.
        total: Floats = (((features - self.means) / self.scales) * self.weights).sum(axis=1)
        return total


def objective(
    weights: Floats, features: Floats, starts: Integers, targets: Integers, l2: float
) -> tuple[float, Floats]:
    """The penalised mean negative log-likelihood, and its gradient (F,).

    Args:
        weights: (F,). features: (C, F). starts: (H + 1,), no user without candidates. targets: (H,) rows. l2: >= 0.
    """
    users = len(targets)
    scores = features @ weights  # (C,)
    highest = np.maximum.reduceat(scores, starts[:-1])  # (H,)
    sizes = np.diff(starts)
    odds = np.exp(scores - np.repeat(highest, sizes))  # (C,)
    sums = np.add.reduceat(odds, starts[:-1])  # (H,)
    value = (np.log(sums) + highest - scores[targets]).sum() / users + l2 / 2 * (weights @ weights)
    expected = (odds / np.repeat(sums, sizes)) @ features  # (F,) sum over the users
    gradient = (expected - features[targets].sum(axis=0)) / users + l2 * weights
    return float(value), gradient


def log_likelihoods(scores: Floats, starts: Integers, targets: Integers) -> Floats:
    """Log-probability of the target of each user who has one, from scores (C,); shape (users with a target,)."""
    table, starts, targets = with_targets(scores[:, None], starts, targets)
    if not len(targets):
        return np.empty(0)
    one = table[:, 0]
    highest = np.maximum.reduceat(one, starts[:-1])
    sums = np.add.reduceat(np.exp(one - np.repeat(highest, np.diff(starts))), starts[:-1])
    found: Floats = one[targets] - highest - np.log(sums)
    return found


def with_targets(features: Floats, starts: Integers, targets: Integers) -> tuple[Floats, Integers, Integers]:
    """Features, starts and targets of the users whose target is a candidate."""
    return subset(features, starts, targets, targets >= 0)


def subset(
    features: Floats, starts: Integers, targets: Integers, users: NDArray[np.bool_]
) -> tuple[Floats, Integers, Integers]:
    """Features, starts and targets of some users (H,); rows of targets are those of the smaller table."""
    sizes = np.diff(starts)
    kept = np.concatenate([[0], np.cumsum(sizes[users])]).astype(np.int64)
    moved = targets[users] - starts[:-1][users] + kept[:-1]
    return features[np.repeat(users, sizes)], kept, np.where(targets[users] >= 0, moved, -1)
