"""The joined baselines on a small shop, and that validation users are not ranked by what they taught."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from calrec.baselines import ALL_BASELINES, BASELINES, fit_baseline
from calrec.data.filters import FilterSettings
from calrec.data.prepare import build_domain
from calrec.data.sources import Source
from calrec.errors import ConfigError
from calrec.evaluation import evaluate
from calrec.pipeline.settings import SOURCES
from calrec.protocol import Recommender, exclude_last, top_k
from calrec.ranker import fold_of
from calrec.records import History
from calrec.retrieval import fuse

FAST = ("each=5", "l2=[0.01]")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """150 users who buy six of forty items: mostly the next one on a ring, sometimes any."""
    draws = np.random.default_rng(0)
    bought = []
    for user in range(150):
        place = int(draws.integers(40))
        for step in range(6):
            bought.append((f"u{user:03}", f"i{place:02}", float(step)))
            place = (place + 1 if draws.random() < 0.7 else int(draws.integers(40))) % 40
    items = pl.DataFrame(
        {
            "item_id": [f"i{place:02}" for place in range(40)],
            "title": [f"thing {place // 4} of {place}" for place in range(40)],
        }
    )
    interactions = pl.DataFrame(bought, schema=["user_id", "item_id", "timestamp"], orient="row")
    source = Source("shop", "test", items, interactions, files={}, text_attributes=("title",))
    return build_domain(source, FilterSettings(catalogue="all"), tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def fused(shop):
    return fit_baseline("fused-baselines", shop, FAST)


def histories(shop, split="valid"):
    return [History(example.user_id, example.history) for example in shop.split(split)]


def with_other_target(shop, user_id):
    """The shop in which a user's second-last purchase, the target on validation, is another item."""

    def changed(row):
        bought = list(row["item_ids"])
        if row["user_id"] == user_id:
            bought[-2] = next(item for item in ("i00", "i01", "i02", "i03") if item not in bought[-3:])
        return bought

    rows = [changed(row) for row in shop.sequences.iter_rows(named=True)]
    return dataclasses.replace(shop, sequences=shop.sequences.with_columns(item_ids=pl.Series(rows)))


def test_it_speaks_the_protocol_and_knows_nothing_of_batches(shop, fused):
    assert isinstance(fused, Recommender)
    some = [*histories(shop)[:4], *histories(shop, "test")[:4], History("x", ()), History("y", ("unknown",))]
    together = fused.score(some)
    assert together.shape == (10, 40)
    assert fused.score([]).shape == (0, 40)
    assert np.array_equal(together, np.concatenate([fused.score([history]) for history in some]))


def test_a_validation_user_is_ranked_by_what_others_bought(shop, fused):
    user = shop.split("valid")[3].user_id
    other = fit_baseline("fused-baselines", with_other_target(shop, user), FAST)
    (own,) = [history for history in histories(shop) if history.user_id == user]
    fold = fold_of(user)
    elsewhere = next(history for history in histories(shop) if fold_of(history.user_id) != fold)
    # Users of other folds, and those that are no validation users, may be ranked by what this one bought.
    assert np.array_equal(fused.score([own]), other.score([own]))
    assert not np.array_equal(fused.score([elsewhere]), other.score([elsewhere]))
    stranger = History("stranger", own.item_ids)
    assert not np.array_equal(fused.score([stranger]), other.score([stranger]))


def test_evaluated_on_validation_it_has_its_cross_validated_metrics(shop, fused, tmp_path):
    result = evaluate(fused, shop, "valid", tmp_path / "out", settings=fused.described)
    found = {example.user_id: rank for example, rank in zip(shop.split("valid"), fused.fitted.ranks, strict=True)}
    ranks = dict(result.rankings.select("user_id", "rank_by_id").iter_rows())
    assert {user: rank for user, rank in ranks.items() if found[user]} == {u: r for u, r in found.items() if r}
    # A target that is no candidate comes after all candidates.
    assert all(ranks[user] > 5 for user, rank in found.items() if not rank)
    assert result.summary.metrics.by_id["recall@1"] > 0.4


def test_every_item_is_ranked_and_candidates_come_first(shop, fused):
    some = histories(shop, "test")[:5]
    scores = fused.score(some)
    assert np.isfinite(scores).all()
    exclude_last(scores, shop.catalogue, some)
    rows = {name: fit_baseline(name, shop).score(some) for name in BASELINES}
    for user, history in enumerate(some):
        known = set(shop.catalogue.columns(history.item_ids)) - set(shop.catalogue.columns(history.item_ids[-1:]))
        for table in rows.values():
            exclude_last(table, shop.catalogue, some)
            known |= set(top_k(table[user], 5).tolist())
        order = top_k(scores[user], 40).tolist()
        assert set(order[: len(known)]) == known
        rest = [shop.purchases[shop.catalogue.ids[column]] for column in order[len(known) :]]
        assert rest == sorted(rest, reverse=True)


def test_few_validation_users_give_reciprocal_rank_fusion(tiny_domain, caplog):
    method = fit_baseline("fused-baselines", tiny_domain, ["sources=[markov, bm25]"])
    assert "12 validation users are too few" in caplog.text
    assert method.fitted is None
    assert method.described["ranking"] == {"how": "reciprocal-rank"}
    assert method.score([]).shape == (0, 9)
    some = histories(tiny_domain)
    parts = [fit_baseline(name, tiny_domain).score(some) for name in ("markov", "bm25")]
    for user, row in enumerate(method.score(some)):
        expected = fuse([part[user] for part in parts], [1.0, 1.0])
        assert top_k(row, 9).tolist() == top_k(expected.astype(np.float32), 9).tolist()


def test_where_no_target_is_a_candidate_there_is_nothing_to_fit(shop, monkeypatch, caplog):
    unknown = [dataclasses.replace(example, target="gone") for example in shop.split("valid")]
    monkeypatch.setattr(type(shop), "split", lambda *_: unknown)
    assert fit_baseline("fused-baselines", shop, FAST).fitted is None
    assert "nothing to fit a ranking on" in caplog.text


def test_a_sample_of_users_is_enough(shop):
    method = fit_baseline("fused-baselines", shop, [*FAST, "users=120"])
    assert method.fitted.weights.users == 120
    assert method.described["ranking"] == {"how": "conditional-logit", "l2": 0.01, "users": 120}


def test_results_say_what_decided_them(fused):
    described = fused.described
    assert described["sources"] == ["markov", "item-knn", "bm25", "user-history", "popularity"]
    assert described["source_settings"]["item-knn"] == {"window": 3, "decay": 0.3}
    assert (described["each"], described["users"], described["l2"]) == (5, 2000, [0.01])


def test_it_can_be_asked_for_by_name_but_not_be_joined_again():
    assert "fused-baselines" in ALL_BASELINES
    assert "fused-baselines" not in BASELINES
    assert "fused-baselines" not in SOURCES


@pytest.mark.parametrize(
    "override",
    ["sources=[fused-baselines]", "sources=[sasrec]", "sources=[]", "sources=[bm25, bm25]", "l2=[]", "l2=[0]"],
)
def test_unknown_sources_and_penalties_are_refused(shop, override):
    with pytest.raises(ConfigError):
        fit_baseline("fused-baselines", shop, [override])
