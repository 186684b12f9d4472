"""Fewer samples, and the best text alone, from what was written once."""

import numpy as np
import pytest

from calrec import CALRec
from calrec.errors import DataError
from calrec.pipeline import InferenceSettings
from calrec.pipeline.regrounded import Regrounded
from calrec.protocol import Recommender
from calrec.records import Catalogue, Generation, History, Item

TITLES = ("red pen", "blue pen", "green ink", "ink pot")
ITEMS = tuple(Item(f"i{place}", {"title": title}) for place, title in enumerate(TITLES))


def written(**of_users):
    return {user: [Generation(text, (), s, 1, first) for text, s, first in texts] for user, texts in of_users.items()}


def regrounded(texts, **how):
    return Regrounded(texts, Catalogue(ITEMS), InferenceSettings(), **how)


def order(recommender, user="u"):
    (places,) = recommender.recommend([History(user, ("i0",))], 4)
    return [place.item_id for place in places]


def test_texts_of_later_samples_are_left_out():
    texts = written(u=[("ink pot", -1.0, 2), ("blue", -2.0, 0), ("red", -3.0, 1)])
    assert order(regrounded(texts)) == ["i3", "i1", "i0", "i2"]
    assert order(regrounded(texts, samples=2)) == ["i1", "i0"]
    assert order(regrounded(texts, samples=1)) == ["i1"]


def test_the_best_text_alone_is_the_most_probable_of_those_drawn():
    texts = written(u=[("green", -1.0, 5), ("blue", -2.0, 1), ("red", -3.0, 0)])
    assert order(regrounded(texts, best_alone=True)) == ["i2"]
    assert order(regrounded(texts, samples=2, best_alone=True)) == ["i1"]


def test_it_says_why():
    recommender = regrounded(written(u=[("blue pen", -2.0, 0)]))
    assert isinstance(recommender, Recommender)
    (places,) = recommender.recommend([History("u", ("i0",))], 1)
    assert (places[0].trace.generation, places[0].trace.words) == ("blue pen", ("blue", "pen"))


@pytest.mark.parametrize("titles", [("red pen",), ("red pen", "red pen")])
def test_what_all_items_match_alike_ranks_them_all(titles):
    catalogue = Catalogue(tuple(Item(f"i{place}", {"title": title}) for place, title in enumerate(titles)))
    recommender = Regrounded(written(u=[("red", -1.0, 0)]), catalogue, InferenceSettings())
    assert order(recommender) == [f"i{place}" for place in range(len(titles))]
    others = written(u=[("zzz", -0.1, 0), ("red", -1.0, 1)])
    (places,) = Regrounded(others, catalogue, InferenceSettings()).recommend([History("u", ("i0",))], 2)
    why = {(place.trace.generation, place.trace.match, place.trace.words) for place in places}
    assert why == {("red", 1.0, ("red",))}
    assert order(Regrounded(written(u=[("ink", -1.0, 0)]), catalogue, InferenceSettings())) == []


def test_a_user_without_texts_is_named():
    with pytest.raises(DataError, match="user 'v': no text was kept"):
        regrounded(written(u=[("red", -1.0, 0)])).score([History("v", ("i0",))])


@pytest.mark.parametrize("samples", [1, 2, 4, 8, 16])
def test_fewer_samples_rank_as_a_run_of_so_many_does(tiny_run, tiny_domain, samples):
    def run_of(n):
        sampling = {"n": n, "max_new_tokens": 24, "temperature": 1.5}
        return CALRec.for_domain(tiny_run, tiny_domain, InferenceSettings.model_validate({"sampling": sampling}))

    whole, fewer = run_of(16), run_of(samples)
    histories = [History(example.user_id, example.history) for example in tiny_domain.split("test")]
    texts = dict(zip((history.user_id for history in histories), whole.generate(histories), strict=True))
    again = Regrounded(texts, whole.catalogue, whole.settings, samples)

    def shown(recommender):  # log-probabilities may differ in their last digits
        return [[place.item_id for place in places] for places in recommender.recommend(histories, 9)]

    fewer.card = fewer.card.model_copy(update={"exclude_last": False})
    assert shown(again) == shown(fewer)
    assert np.isfinite(again.score(histories)).any()
    assert (samples == 16) == np.array_equal(again.score(histories), whole.score(histories))
