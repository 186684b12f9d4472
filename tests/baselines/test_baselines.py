"""Baselines on sequences small enough to count by hand."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from calrec.baselines import BASELINES, fit_baseline
from calrec.errors import ConfigError
from calrec.protocol import Recommender, exclude_last, rankings
from calrec.records import Catalogue, History, Item

TITLES = ("red pen", "blue pen", "red ink", "paper", "stapler")
BOUGHT = {"u1": "abcb", "u2": "abd", "u3": "bca"}


@pytest.fixture
def domain():
    """What baselines ask of a domain; items a to e, of which nobody bought e."""
    items = tuple(Item(item_id, {"title": title}) for item_id, title in zip("abcde", TITLES, strict=True))
    histories = [History(user, tuple(ids)) for user, ids in BOUGHT.items()]
    return SimpleNamespace(
        catalogue=Catalogue(items), training_sequences=lambda: histories, purchases=Counter("".join(BOUGHT.values()))
    )


def ranking(domain, name, bought, *overrides):
    (places,) = fit_baseline(name, domain, overrides).recommend([History("x", tuple(bought))], 5)
    return "".join(place.item_id for place in places)


@pytest.mark.parametrize("name", BASELINES)
def test_all_speak_the_protocol_and_know_nothing_of_batches(domain, name):
    method = fit_baseline(name, domain)
    assert isinstance(method, Recommender)
    histories = [History("x", ("a", "b")), History("y", ("d",)), History("z", ("e",))]
    together = method.score(histories)
    assert together.shape == (3, 5)
    assert np.array_equal(together, np.concatenate([method.score([history]) for history in histories]))


def test_popularity_counts_training_purchases(domain):
    assert ranking(domain, "popularity", "e") == "bacde"


def test_the_users_own_items_most_frequent_then_most_recent(domain):
    assert ranking(domain, "user-history", "cdcda")[:3] == "dca"


def test_markov_follows_what_followed(domain):
    assert ranking(domain, "markov", "da")[0] == "b"
    assert ranking(domain, "markov", "ab")[0] == "c"


def test_bm25_finds_titles_that_share_words(domain):
    assert set(ranking(domain, "bm25", "a")) == {"a", "b", "c"}
    assert "a" not in ranking(domain, "bm25", "a", "itself=false")
    assert ranking(domain, "bm25", "e", "itself=false") == ""


@pytest.mark.parametrize("itself", ["true", "false"])
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_bm25_recommends_what_it_scores_best(domain, itself, k):
    method = fit_baseline("bm25", domain, [f"itself={itself}"])
    histories = [History("x", tuple(bought)) for bought in ("a", "b", "ac", "d", "e", "ez")]
    assert method.recommend(histories, k) == rankings(method.score(histories), domain.catalogue, k)


def test_the_last_item_can_be_taken_out_of_any_ranking(domain):
    method, history = fit_baseline("popularity", domain), History("x", ("a", "b"))
    scores = method.score([history])
    exclude_last(scores, method.catalogue, [history])
    assert scores[0, 1] == -np.inf
    assert np.isfinite(scores[0, 0])


@pytest.mark.parametrize(
    ("name", "overrides"), [("markvo", ()), ("item-knn", ("windo=3",)), ("item-knn", ("window=0",))]
)
def test_unknown_names_and_settings_are_refused(domain, name, overrides):
    with pytest.raises(ConfigError):
        fit_baseline(name, domain, overrides)
