"""Is one method better than another? Paired tests over the same users, corrected for how many are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What a paired comparison of two methods over the same users says.

    Attributes:
        difference: mean of the first minus mean of the second.
        low, high: 95 % percentile bootstrap interval of the difference.
        p_value: of the two-sided sign-flip permutation test, in (0, 1].
        wins, ties, losses: users for whom the first is better, equal, worse.
    """

    difference: float
    low: float
    high: float
    p_value: float
    wins: int
    ties: int
    losses: int


def paired_test(
    first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES
) -> PairedTest:
    """Compare two methods by their users' own values of one metric.

    Both tests draw over the distinct differences instead of over the users: how often each difference is drawn is
    multinomial (bootstrap), how often its sign stays is binomial (permutation). This is the same distribution, and
    fast for any number of users, since ranks give few distinct values.

    Args:
        first: (U,) values of one method.
        second: (U,) values of the other, for the same users in the same order.
        seed: of the resampling.
        resamples: number of bootstrap samples and of permutations, each.

    Raises:
        ValueError: the two are not of the same users, or there is no user.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"a paired test needs the same users twice, got shapes {first.shape} and {second.shape}")
    differences = first - second
    users = len(differences)
    rng = np.random.default_rng(seed)
    mean = float(differences.mean())
    values, counts = np.unique(differences, return_counts=True)
    means = rng.multinomial(users, counts / users, size=resamples) @ values / users
    low, high = np.quantile(means, (0.025, 0.975))
    sizes, counts = np.unique(np.abs(differences), return_counts=True)
    flipped = (2 * rng.binomial(counts, 0.5, size=(resamples, len(counts))) - counts) @ sizes / users
    # Sums of the same numbers in another order differ in their last digits.
    as_large = np.count_nonzero(np.abs(flipped) >= abs(mean) - 1e-12)
    return PairedTest(
        difference=mean,
        low=float(low),
        high=float(high),
        p_value=(1 + as_large) / (1 + resamples),
        wins=int(np.count_nonzero(differences > 0)),
        ties=int(np.count_nonzero(differences == 0)),
        losses=int(np.count_nonzero(differences < 0)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values adjusted so that the chance of any false alarm among them all stays at the level.

    The i-th smallest of n is multiplied by n - i + 1, never below a smaller one's, never above 1 (Holm 1979).
    """
    adjusted, floor = [0.0] * len(p_values), 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        floor = max(floor, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = floor
    return adjusted
