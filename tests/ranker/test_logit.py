"""The conditional logit against finite differences, a closed form, and weights that are known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.ranker import ConditionalLogit
from calrec.ranker.logit import log_likelihoods, objective, subset


def simulated(seed, users, weights, largest=12):
    """Users who choose among 2 to ``largest`` candidates as a conditional logit does."""
    draws = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(draws.integers(2, largest + 1, users))])
    features = draws.normal(size=(starts[-1], len(weights))) * [3.0, 0.2, 1.0][: len(weights)] + 5
    noisy = features @ weights + draws.gumbel(size=starts[-1])
    targets = np.array([first + noisy[first:end].argmax() for first, end in pairwise(starts)])
    return features, starts, targets


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3]))
def test_the_gradient_is_that_of_finite_differences(seed, l2):
    features, starts, targets = simulated(seed, 7, [0.2, -1.0, 0.5])
    features -= 5
    weights = np.random.default_rng(seed).normal(size=3)
    _, gradient = objective(weights, features, starts, targets, l2)
    for place, step in enumerate(np.eye(3) * 1e-6):
        ahead, behind = (objective(weights + way * step, features, starts, targets, l2)[0] for way in (1, -1))
        assert gradient[place] == pytest.approx((ahead - behind) / 2e-6, abs=1e-6)


def test_the_objective_is_the_likelihood_written_out():
    features, starts, targets = simulated(3, 5, [0.2, -1.0])
    weights = np.array([0.1, 0.7])
    expected = 0.0
    for user, target in enumerate(targets):
        own = features[starts[user] : starts[user + 1]] @ weights
        expected -= np.log(np.exp(features[target] @ weights) / np.exp(own).sum()) / 5
    value, _ = objective(weights, features, starts, targets, 0.5)
    assert value == pytest.approx(expected + 0.25 * (0.01 + 0.49))
    assert -log_likelihoods(features @ weights, starts, targets).mean() == pytest.approx(expected)


def test_equal_scores_make_all_candidates_equally_likely():
    found = log_likelihoods(np.full(9, 1e4), np.array([0, 4, 4, 9]), np.array([2, -1, 5]))
    assert found == pytest.approx([-np.log(4), -np.log(5)])
    assert log_likelihoods(np.zeros(2), np.array([0, 2]), np.array([-1])).shape == (0,)


def test_a_pair_with_and_without_a_feature_has_its_odds():
    # 30 of 40 users choose the candidate that has it: its weight is log(30 / 10).
    features = np.tile([[1.0], [0.0]], (40, 1))
    starts, targets = np.arange(0, 81, 2), np.arange(0, 80, 2) + np.array([0] * 30 + [1] * 10)
    logit = ConditionalLogit.fit(features, starts, targets, l2=1e-9)
    with_it, without = logit.scores(np.array([[1.0], [0.0]]))
    assert with_it - without == pytest.approx(np.log(3), abs=1e-4)


def test_known_weights_are_found():
    weights = np.array([0.4, -3.0, 0.8])
    logit = ConditionalLogit.fit(*simulated(0, 4000, weights), l2=1e-9)
    assert logit.weights / logit.scales == pytest.approx(weights, rel=0.1)


def test_a_larger_penalty_makes_smaller_weights():
    users = simulated(0, 200, [0.4, -3.0, 0.8])
    sizes = [np.linalg.norm(ConditionalLogit.fit(*users, l2=l2).weights) for l2 in (0.001, 0.1, 10)]
    assert sizes == sorted(sizes, reverse=True)


def test_users_whose_target_is_no_candidate_do_not_enter():
    features, starts, targets = simulated(0, 50, [0.4, -3.0, 0.8])
    missing = np.arange(50) % 3 == 0
    one = ConditionalLogit.fit(features, starts, np.where(missing, -1, targets), l2=0.01)
    other = ConditionalLogit.fit(*subset(features, starts, targets, ~missing), l2=0.01)
    assert np.array_equal(one.weights, other.weights)


def test_a_constant_feature_weighs_nothing_and_no_target_leaves_all_equal():
    features, starts, targets = simulated(0, 50, [0.4, -3.0, 0.8])
    features[:, 1] = 0.1
    logit = ConditionalLogit.fit(features, starts, targets, l2=0.01)
    assert logit.weights[1] == pytest.approx(0, abs=1e-9)
    nothing = ConditionalLogit.fit(features, starts, np.full(50, -1), l2=0.01)
    assert not nothing.scores(features).any()


def test_the_same_users_give_the_same_weights():
    first, second = (ConditionalLogit.fit(*simulated(1, 100, [0.4, -3.0, 0.8]), l2=0.01) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)


def test_where_the_search_begins_does_not_matter():
    users = simulated(1, 100, [0.4, -3.0, 0.8])
    one, other = (ConditionalLogit.fit(*users, l2=0.01, first=first) for first in (None, np.array([2.0, 2.0, 2.0])))
    assert one.weights == pytest.approx(other.weights, abs=1e-3)


@given(st.integers(1, 30))
def test_a_score_does_not_depend_on_what_stands_beside_it(count):
    features = np.random.default_rng(count).normal(size=(30, 27))
    logit = ConditionalLogit(*np.random.default_rng(0).uniform(0.5, 2, (3, 27)))
    assert np.array_equal(logit.scores(features)[:count], logit.scores(features[:count]))
