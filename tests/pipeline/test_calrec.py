"""From a history to recommendations, on a tiny random model."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from calrec import CALRec
from calrec.errors import DataError, ModelError
from calrec.evaluation import evaluate
from calrec.evaluation.beyond import beyond_accuracy
from calrec.evaluation.result import rankings_hash
from calrec.evaluation.verify import faults
from calrec.generation import Draw
from calrec.pipeline import InferenceSettings
from calrec.pipeline.methods import Request
from calrec.pipeline.regrounded import Regrounded
from calrec.protocol import Writer
from calrec.records import Generation, History

FEW = InferenceSettings.model_validate({"sampling": {"n": 4, "max_new_tokens": 12}})


@pytest.fixture
def recommender(tiny_run):
    return CALRec.from_pretrained(tiny_run, settings=FEW)


def test_it_speaks_the_protocol(recommender):
    assert isinstance(recommender, Writer)


def test_histories_may_be_ids_titles_or_texts(recommender):
    by_id = recommender.recommend([["i0", "i1"]], k=3)
    assert recommender.recommend([["apple 0", "BREAD  1"]], k=3) == by_id
    assert recommender.recommend([["Title: apple 0", "i1"]], k=3) == by_id


def test_order_and_batch_of_users_change_nothing(recommender, monkeypatch):
    histories = [History(f"u{i}", ("i0", f"i{i}")) for i in range(1, 5)]

    def shown(rankings):  # log-probabilities may differ in their last digits
        return [[(place.item_id, place.rank, place.trace.generation) for place in ranking] for ranking in rankings]

    together = shown(recommender.recommend(histories, 5))
    assert any(together)
    assert [shown(recommender.recommend([history], 5))[0] for history in histories] == together
    assert shown(recommender.recommend(histories[::-1], 5)) == together[::-1]
    monkeypatch.setattr("calrec.pipeline.calrec._TOGETHER", 2)
    assert shown(recommender.recommend(histories, 5)) == together


def test_the_last_item_is_not_recommended(recommender):
    (ranking,) = recommender.recommend([["i3", "i1"]], k=9)
    assert "i1" not in [place.item_id for place in ranking]
    assert [place.rank for place in ranking] == list(range(1, len(ranking) + 1))


def test_generations_become_items_and_say_why(recommender, monkeypatch):
    written = [Generation("Title: figs 5", (1,), -1.0), Generation("Title: honey 99", (2,), -3.0)]
    monkeypatch.setattr(Request, "generations", lambda self: [written])
    (ranking,) = recommender.recommend([["i0"]], k=2)
    assert [place.item_id for place in ranking] == ["i5", "i7"]
    first, second = ranking
    assert (first.trace.generation, first.trace.match) == ("Title: figs 5", 1.0)
    assert first.score == pytest.approx(np.exp(-1 / 5000))
    assert second.trace.words == ("title", "honey")


def test_of_two_spellings_the_one_drawn_first_stands_for_both(recommender):
    end = recommender.index.encoder.end_id
    one, other = (recommender.tokenizer.encode(text, add_special_tokens=False) for text in ("figs", "figs "))
    draws = [Draw((*other, end), -1.0, 2, 3), Draw((*one, end), -2.0, 5, 1), Draw((*one[:2],), -3.0, 1, 0)]
    cut, whole = sorted(recommender.request([["i0"]])._distinct_texts(draws), key=lambda written: written.first)
    assert (cut.text, cut.count, cut.first, cut.ended) == ("fi", 1, 0, False)
    assert (whole.text, whole.log_prob, whole.count, whole.first, whole.ended) == ("figs", -2.0, 7, 1, True)


def test_an_evaluation_keeps_what_was_written(recommender, tiny_domain, tmp_path):
    result = evaluate(recommender, tiny_domain, "test", tmp_path / "out", batch_size=5)
    n = recommender.settings.sampling.n
    assert [sum(g["count"] for g in of_user) for of_user in result.rankings["generations"]] == [n] * 12
    assert {"distinct", "exact", "invalid"} < set(result.summary.beyond)
    history = History("u00", tiny_domain.split("test")[0].history)
    (written,) = recommender.generate([history])
    assert [g["text"] for g in result.rankings["generations"][0]] == [generation.text for generation in written]


def test_texts_of_no_known_template_are_not_checked(recommender, tiny_domain, tmp_path):
    result = evaluate(recommender, tiny_domain, "test", tmp_path / "out")
    assert Regrounded.of_result(result.rankings, result.summary.settings, tiny_domain) is None
    assert faults(result, tiny_domain) == []


def test_what_was_written_is_grounded_again(recommender, tiny_domain, tmp_path):
    result = evaluate(recommender, tiny_domain, "test", tmp_path / "out", settings=recommender.described)
    again = Regrounded.of_result(result.rankings, result.summary.settings, tiny_domain)
    assert faults(result, tiny_domain, again) == []

    first, *others = result.rankings["generations"].to_list()
    lying = [{**text, "exact": not text["exact"]} for text in first]
    another = [{**text, "text": "Title: honey"} for text in first]
    for changed, said in ((lying, "the marks of the text"), (another, "the texts give another ranking")):
        table = result.rankings.with_columns(pl.Series("generations", [changed, *others]))
        beyond = beyond_accuracy(table, tiny_domain)
        summary = result.summary.model_copy(update={"beyond": beyond, "rankings_hash": rankings_hash(table)})
        again = Regrounded.of_result(table, summary.settings, tiny_domain)
        found = faults(replace(result, rankings=table, summary=summary), tiny_domain, again)
        assert any(said in fault for fault in found)


def test_nothing_written_nothing_recommended(recommender, monkeypatch):
    monkeypatch.setattr(Request, "generations", lambda self: [[Generation("zzz", (1,), -1.0)]])
    assert recommender.recommend([["i0"]], k=2) == [[]]


@pytest.mark.parametrize("history", [[], "i0", ["no such thing"], ["aple 0"]])
def test_histories_that_are_none_are_refused(recommender, history):
    with pytest.raises(DataError, match=r"history"):
        recommender.recommend([history])


def test_the_nearest_title_is_suggested(recommender):
    with pytest.raises(DataError, match=r"did you mean 'apple 0' \(i0\)\?"):
        recommender.recommend([["aple 0"]])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"is no run: it has no calrec\.json"):
        CALRec.from_pretrained(tmp_path)


def test_a_processor_that_is_slow_in_the_weights_dtype_is_warned_of(tiny_run, monkeypatch, caplog):
    monkeypatch.setattr("calrec.model.precision.slowdown", lambda dtype, _: 30.0 if dtype == "bfloat16" else 1.0)
    CALRec.from_pretrained(tiny_run, settings=FEW)
    assert not caplog.messages
    CALRec.from_pretrained(tiny_run, settings=FEW.model_copy(update={"dtype": "bfloat16"}))
    assert "in bfloat16 take about 30 times as long as in float32 here: set dtype=float32" in caplog.text
