"""Ranking by the likelihood over the catalogue, and filters, from histories to recommendations."""

import json
import logging

import numpy as np
import pytest

from calrec import CALRec, Filter
from calrec.errors import DataError
from calrec.pipeline import InferenceSettings
from calrec.pipeline.tuned import load_inference, save_inference
from calrec.records import Item

BEAM = {"method": "beam", "likelihood": "catalogue"}


@pytest.fixture
def beam(tiny_run):
    return CALRec.from_pretrained(tiny_run, settings=InferenceSettings.model_validate(BEAM))


@pytest.fixture
def run_over_catalogue(tiny_run):
    """The run, as if it had been trained over its catalogue."""
    card = json.loads((tiny_run / "calrec.json").read_text())
    card["plan"]["objective"]["next_item"] = "catalogue"
    (tiny_run / "calrec.json").write_text(json.dumps(card))
    return tiny_run


def test_log_probs_sum_to_one_over_the_catalogue_or_the_given_items(beam):
    whole = beam.log_probs([["i0", "i1"], ["i5"]])
    assert whole.shape == (2, 9)
    np.testing.assert_allclose(np.exp(whole).sum(axis=1), 1)
    few = beam.log_probs([["i0", "i1"], ["i5"]], items=["i7", "i2", "i4"])
    assert few.shape == (2, 3)
    np.testing.assert_allclose(np.exp(few).sum(axis=1), 1)


def test_log_probs_over_given_items_are_those_of_a_catalogue_that_has_no_others(beam):
    few = beam.log_probs([["i2", "i4"]], items=["i7", "i2", "i4"])
    beam.remove_items(["i0", "i1", "i3", "i5", "i6", "i8"])
    np.testing.assert_allclose(few[0, [1, 2, 0]], beam.log_probs([["i2", "i4"]])[0], atol=1e-5)


@pytest.mark.parametrize("items", [["i1", "nope"], ["i1", "i1"]])
def test_log_probs_of_unknown_or_repeated_ids_are_refused(beam, items):
    with pytest.raises(DataError, match="items:"):
        beam.log_probs([["i0"]], items=items)


def test_a_wide_beam_ranks_by_log_probs_and_leaves_the_last_item_out(beam):
    (ranking,) = beam.recommend([["i0", "i1"]], k=9)
    (expected,) = beam.log_probs([["i0", "i1"]])
    assert len(ranking) == 8
    assert [place.item_id for place in ranking] == [f"i{c}" for c in np.argsort(-expected) if c != 1]
    np.testing.assert_allclose([place.score for place in ranking], sorted(np.delete(expected, 1))[::-1], atol=1e-4)


@pytest.mark.parametrize("normalise", ["catalogue", "allowed"])
@pytest.mark.parametrize("method", ["beam", "samples"])
def test_filters_leave_what_they_allow(tiny_run, method, normalise):
    settings = {**BEAM, "method": method, "beam": {"normalise": normalise, "width": 2}, "sampling": {"bound": True}}
    recommender = CALRec.from_pretrained(tiny_run, settings=InferenceSettings.model_validate(settings))

    def ids(filters):
        return {place.item_id for place in recommender.recommend([["i0", "i1"]], 9, filters)[0]}

    assert ids(Filter(where={"brand": ["FARM"]})) <= {"i3", "i5", "i7"}
    assert ids(Filter(allow=["i1", "i4"])) <= {"i4"}
    assert not ids(Filter(allow=["i1"]))
    assert not ids(Filter(allow=["i4"], exclude=["i4", "gone"]))
    if method == "beam":
        assert len(ids(Filter(where={"brand": ["farm"]}))) == 2  # as many as the beam is wide
        assert ids(Filter(allow=["i1", "i4"])) == {"i4"}


def test_each_history_may_have_its_own_filter(beam):
    first, second = beam.recommend([["i0"], ["i0"]], 9, [Filter(allow=["i2"]), Filter(exclude=["i2"])])
    assert [place.item_id for place in first] == ["i2"]
    assert len(second) == 7


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (Filter(allow=["nope"]), "'nope' is not in the catalogue"),
        (Filter(where={"brnd": ["farm"]}), "did you mean 'brand'"),
        ([Filter(), Filter()], "2 filters for 1 histories"),
    ],
)
def test_filters_that_do_not_fit_are_refused(beam, filters, message):
    with pytest.raises(DataError, match=message):
        beam.recommend([["i0"]], 3, filters)


def test_a_changed_catalogue_has_other_decisions(beam):
    beam.log_probs([["i0"]])
    beam.add_items([Item("new", {"title": "apple 0"})])
    (found,) = beam.log_probs([["i0"]])
    assert found[0] == found[9]  # two items with one text share its probability
    assert np.exp(found).sum() == pytest.approx(1)


def test_a_run_trained_over_its_catalogue_ranks_so_by_itself(run_over_catalogue, caplog):
    with caplog.at_level(logging.WARNING):
        recommender = CALRec.from_pretrained(run_over_catalogue)
    assert (recommender.name, recommender.settings.likelihood) == ("calrec-beam", "catalogue")
    assert recommender.described["inference"]["likelihood"] == "catalogue"
    assert not caplog.records


@pytest.mark.parametrize(
    ("overrides", "message"),
    [(["likelihood=free"], "likelihood is free"), (["method=samples"], "free samples of a run")],
)
def test_a_mismatch_of_training_and_ranking_is_said(run_over_catalogue, caplog, overrides, message):
    with caplog.at_level(logging.WARNING):
        CALRec.from_pretrained(run_over_catalogue, settings=load_inference(run_over_catalogue, overrides))
    assert message in caplog.text


def test_settings_that_were_saved_keep_their_method(run_over_catalogue):
    save_inference(run_over_catalogue, InferenceSettings(method="samples"), {})
    assert load_inference(run_over_catalogue).method == "samples"


def test_constrained_samples_have_their_log_probability_over_the_catalogue(tiny_run):
    settings = {"likelihood": "catalogue", "sampling": {"bound": True, "n": 8}}
    recommender = CALRec.from_pretrained(tiny_run, settings=InferenceSettings.model_validate(settings))
    request = recommender.request([["i0", "i1"]])
    (expected,) = recommender.log_probs([["i0", "i1"]])
    texts = {text: column for column, text in enumerate(recommender.catalogue.texts)}
    for generation in request.generations()[0]:
        assert generation.log_prob == pytest.approx(expected[texts[generation.text]], abs=1e-4)
