"""Fitting on users, and that no fold is fitted on the users that it scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.errors import ConfigError
from calrec.metrics import ranking_metrics, ranks_by_id
from calrec.ranker import CandidateTable, RankerWeights, fit_ranker, fold_of

ITEMS = 9


def simulated(users=60, features=3, weights=(2.0, -1.0, 0.5), seed=0):
    """A table over nine items, six of which are candidates of each user, and the column that each user chooses."""
    draws = np.random.default_rng(seed)
    columns = np.concatenate([np.sort(draws.choice(ITEMS, 6, replace=False)) for _ in range(users)])
    values = draws.normal(size=(6 * users, features))
    names = tuple(f"f{number}" for number in range(features))
    table = CandidateTable(names, values, columns, np.arange(0, 6 * users + 1, 6), ("one", "other"), each=3)
    noisy = (values @ np.array(weights) + draws.gumbel(size=6 * users)).reshape(users, 6)
    chosen = columns.reshape(users, 6)[np.arange(users), noisy.argmax(axis=1)]
    return table, chosen, [f"user-{number}" for number in range(users)]


def test_held_out_scores_do_not_depend_on_what_the_user_bought():
    table, targets, users = simulated()
    plain = fit_ranker(table, targets, users, penalties=[0.01])
    for user in (0, 7, 31):
        others = targets.copy()
        own = table.columns[table.owners == user]
        others[user] = own[own != targets[user]][0]
        changed = fit_ranker(table, others, users, penalties=[0.01])
        fold = np.array([fold_of(name) for name in users])[table.owners]
        same = fold == fold_of(users[user])
        assert np.array_equal(changed.held_out[same], plain.held_out[same])
        assert not np.array_equal(changed.held_out[~same], plain.held_out[~same])
        assert changed.weights.weights != plain.weights.weights


def test_held_out_scores_are_those_of_the_folds():
    table, targets, users = simulated()
    fitted = fit_ranker(table, targets, users)
    assert len(fitted.folds) == 5
    for user, name in enumerate(users):
        own = table.owners == user
        assert np.array_equal(fitted.folds[fold_of(name)].score(table)[own], fitted.held_out[own])


def test_a_fold_depends_on_the_user_alone():
    table, targets, users = simulated()
    order = np.random.default_rng(1).permutation(len(users))
    rows = np.concatenate([np.arange(6) + 6 * user for user in order])
    shuffled = CandidateTable(
        table.names, table.features[rows], table.columns[rows], table.starts, table.sources, table.each
    )
    plain = fit_ranker(table, targets, users)
    moved = fit_ranker(shuffled, targets[order], [users[user] for user in order])
    assert moved.held_out == pytest.approx(plain.held_out[rows], abs=1e-3)
    sizes = np.bincount([fold_of(f"user-{number}") for number in range(1000)])
    assert len(sizes) == 5
    assert sizes.min() > 150


def test_where_there_is_nothing_to_find_held_out_users_are_ranked_at_chance():
    table, targets, users = simulated(users=200, features=100, weights=[0.0] * 100)
    fitted = fit_ranker(table, targets, users, penalties=[1e-6])
    fooled = table.spread(fitted.weights.score(table), ITEMS)
    assert ranking_metrics(ranks_by_id(fooled, targets))["recall@1"] > 0.35
    assert fitted.metrics["recall@1"] == pytest.approx(1 / 6, abs=0.08)


@given(st.integers(0, 20))
def test_metrics_are_those_of_the_full_ranking(seed):
    table, targets, users = simulated(users=20, seed=seed)
    targets[::3] = np.random.default_rng(seed).integers(-1, ITEMS, len(targets[::3]))
    table.features[:] = np.round(table.features)  # equal scores
    fitted = fit_ranker(table, targets, users, penalties=[0.1])
    ranks = ranks_by_id(table.spread(fitted.held_out, ITEMS), targets)
    assert np.array_equal(fitted.ranks, ranks)
    assert fitted.metrics == ranking_metrics(ranks)
    assert fitted.weights.users == 20
    assert fitted.weights.targets == (ranks > 0).sum()


def test_the_penalty_is_the_one_that_finds_held_out_targets_best():
    noise = fit_ranker(*simulated(features=30, weights=[0.0] * 30), penalties=[0.0001, 10.0])
    assert noise.weights.l2 == 10.0
    clear = fit_ranker(*simulated(users=300), penalties=[0.0001, 10.0])
    assert clear.weights.l2 == 0.0001
    assert clear.likelihoods[0.0001] > clear.likelihoods[10.0]


def test_the_same_users_give_the_same_ranking():
    first, second = fit_ranker(*simulated()), fit_ranker(*simulated())
    assert first.weights == second.weights
    assert np.array_equal(first.held_out, second.held_out)


def test_weights_are_kept_as_json():
    table, targets, users = simulated()
    weights = fit_ranker(table, targets, users).weights
    again = RankerWeights.model_validate_json(weights.model_dump_json())
    assert again == weights
    assert np.array_equal(again.score(table), weights.score(table))
    assert (again.sources, again.each) == (("one", "other"), 3)


def test_other_features_are_refused():
    table, targets, users = simulated()
    weights = fit_ranker(table, targets, users).weights
    renamed = CandidateTable(("f0", "f1", "g"), table.features, table.columns, table.starts, table.sources, 3)
    with pytest.raises(ConfigError, match="lacks f2 and adds g"):
        weights.score(renamed)
    turned = CandidateTable(table.names[::-1], table.features, table.columns, table.starts, table.sources, 3)
    with pytest.raises(ConfigError, match="another order"):
        weights.explain(turned, 0)


def test_weights_must_fit_their_names():
    weights = fit_ranker(*simulated()).weights.model_dump()
    with pytest.raises(ValueError, match="one value for each feature"):
        RankerWeights.model_validate(weights | {"weights": (1.0,)})
    with pytest.raises(ValueError, match="above 0"):
        RankerWeights.model_validate(weights | {"scales": (1.0, 0.0, 1.0)})


def test_an_explanation_adds_up_to_the_lead_over_the_users_candidates():
    table, targets, users = simulated()
    weights = fit_ranker(table, targets, users).weights
    scores = weights.score(table)
    for row in (0, 8, 299):
        parts = weights.explain(table, row)
        own = scores[table.owners == table.owners[row]]
        assert sum(part.log_odds for part in parts) == pytest.approx(scores[row] - own.mean())
        assert [abs(part.log_odds) for part in parts] == sorted((abs(part.log_odds) for part in parts), reverse=True)
        assert {part.feature: part.value for part in parts} == dict(zip(table.names, table.features[row], strict=True))


def test_what_cannot_be_fitted_is_refused():
    table, targets, users = simulated()
    with pytest.raises(ConfigError, match="nothing to fit"):
        fit_ranker(table, np.full(60, -1), users)
    with pytest.raises(ValueError, match="do not fit"):
        fit_ranker(table, targets[1:], users)
    with pytest.raises(ValueError, match="two folds"):
        fit_ranker(table, targets, users, folds=1)
