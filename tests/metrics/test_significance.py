"""The paired tests against scipy's, which draw user by user, and Holm's correction against its definition."""

import numpy as np
import pytest
from scipy import stats

from calrec.metrics import holm, paired_test


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(3)
    return 1 / rng.integers(1, 12, 80), 1 / rng.integers(1, 15, 80)


def test_the_permutation_test_is_scipys(values):
    peer = stats.permutation_test(
        values,
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        n_resamples=10_000,
        vectorized=True,
        rng=1,
    )
    assert paired_test(*values).p_value == pytest.approx(peer.pvalue, abs=0.02)


def test_the_interval_is_scipys(values):
    peer = stats.bootstrap(
        (values[0] - values[1],), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    test = paired_test(*values)
    assert (test.low, test.high) == pytest.approx((peer.low, peer.high), abs=0.003)


def test_a_clear_difference_is_seen_and_counted():
    better, worse = np.array([1.0] * 90 + [0.0] * 10), np.array([0.0] * 85 + [1.0] * 15)
    test = paired_test(better, worse)
    assert (test.wins, test.ties, test.losses) == (85, 5, 10)
    assert test.difference == pytest.approx(0.75)
    assert test.p_value < 0.001
    assert test.low < 0.75 < test.high


def test_equal_methods_do_not_differ():
    same = np.array([0.0, 1.0, 0.5])
    test = paired_test(same, same)
    assert (test.difference, test.low, test.high, test.p_value, test.ties) == (0, 0, 0, 1, 3)


def test_turned_around_the_sign_turns(values):
    forth, back = paired_test(*values), paired_test(*values[::-1])
    assert back.difference == -forth.difference
    assert (back.wins, back.losses) == (forth.losses, forth.wins)


def test_only_the_same_users_pair():
    with pytest.raises(ValueError, match="same users"):
        paired_test(np.zeros(3), np.zeros(4))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
