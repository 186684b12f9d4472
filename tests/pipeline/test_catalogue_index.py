"""A catalogue that changes: equal to one made anew, while requests in flight keep theirs."""

import shutil

import numpy as np
import pytest

from calrec import CALRec
from calrec.errors import DataError
from calrec.pipeline import InferenceSettings
from calrec.records import History, Item

EVERYTHING = InferenceSettings.model_validate(
    {
        "method": "fused",
        "sampling": {"n": 4, "max_new_tokens": 12},
        "correction": {"prior": 0.5},
        "fusion": {"weights": {"samples": 1, "beam": 1, "towers": 1}},
    }
)
NEW = (Item("a0", {"title": "jam 10"}), Item("i3", {"title": "kale 11"}), Item("i40", {"title": "lemon 12"}))


@pytest.fixture
def recommender(tiny_run):
    return CALRec.from_pretrained(tiny_run, settings=EVERYTHING)


def shown(recommender):
    (ranking,) = recommender.recommend([["i0", "i2"]], k=20)
    return [(place.item_id, place.text, pytest.approx(place.score)) for place in ranking]


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_changed_catalogue_is_one_made_anew(recommender, tiny_run, asked_before):
    if asked_before:  # else nothing is there that must be kept up
        recommender.recommend([["i0"]])
    recommender.add_items(NEW)
    recommender.remove_items(["i5", "i7"])
    kept = {item.item_id: item for item in recommender.catalogue.items}
    assert sorted(kept) == ["a0", "i0", "i1", "i2", "i3", "i4", "i40", "i6", "i8"]
    anew = CALRec.from_pretrained(tiny_run, recommender.catalogue, EVERYTHING)
    assert shown(recommender) == shown(anew)
    assert kept["i3"].title == "kale 11"
    assert {"a0", "i40"} & {item_id for item_id, *_ in shown(recommender)}


def test_only_new_texts_are_read(recommender, monkeypatch):
    recommender.recommend([["i0"]])
    read = []
    monkeypatch.setattr(
        "calrec.pipeline.catalogue_index.item_vectors",
        lambda lm, items: read.extend(items) or np.eye(len(items), recommender.lm.config.hidden_size, dtype=np.float32),
    )
    recommender.add_items([*NEW, *recommender.catalogue.items[:3]])
    assert len(read) == 3


def test_a_request_in_flight_keeps_its_catalogue(recommender):
    request = recommender.request([["i5", "i7"]])
    recommender.remove_items(["i5", "i7"])
    assert request.scored("fused").scores.shape == (1, 9)
    with pytest.raises(DataError, match="item 'i5' is not in the catalogue"):
        recommender.request([History("u", ("i0", "i5"))])
    with pytest.raises(DataError, match="'i5' is no id"):
        recommender.recommend([["i5"]])


def test_what_cannot_be_changed_changes_nothing(recommender):
    before = recommender.index
    with pytest.raises(DataError, match="'i99' is not in the catalogue"):
        recommender.remove_items(["i1", "i99"])
    with pytest.raises(DataError, match="keep at least one item"):
        recommender.remove_items(recommender.catalogue.ids)
    with pytest.raises(DataError, match="item x: its text ''"):
        recommender.add_items([Item("x", {"title": "  "})])
    assert recommender.index is before


def test_what_was_computed_is_kept_with_the_run_and_known_again(tiny_run, monkeypatch):
    asked = InferenceSettings.model_validate(
        {"method": "fused", "fusion": {"weights": {"towers": 1, "beam": 1}}, "correction": {"prior": 1}}
    )
    first = CALRec.from_pretrained(tiny_run, settings=asked).recommend([["i0"]])
    assert list((tiny_run / "computed").glob("*/vectors/vectors.npy"))

    def unwanted(*_):
        raise AssertionError("they are kept")

    with monkeypatch.context() as patched:
        patched.setattr("calrec.pipeline.catalogue_index.item_vectors", unwanted)
        patched.setattr("calrec.pipeline.catalogue_index.score_items", unwanted)
        assert CALRec.from_pretrained(tiny_run, settings=asked).recommend([["i0"]]) == first
    # Other texts have other vectors, in a folder of their own.
    other = CALRec.from_pretrained(tiny_run, settings=asked)
    other.add_items(NEW)
    CALRec.from_pretrained(tiny_run, other.catalogue, asked).recommend([["i0"]])
    assert len(list((tiny_run / "computed").glob("*/vectors/vectors.npy"))) == 2
    # And so has another precision.
    CALRec.from_pretrained(tiny_run, settings=asked.model_copy(update={"dtype": "bfloat16"})).recommend([["i0"]])
    assert len(list((tiny_run / "computed").glob("*/vectors/vectors.npy"))) == 3


def test_what_cannot_be_kept_is_computed_at_every_start(tiny_run, caplog):
    asked = InferenceSettings.model_validate(
        {"method": "fused", "fusion": {"weights": {"towers": 1, "beam": 1}}, "correction": {"prior": 1}}
    )
    first = CALRec.from_pretrained(tiny_run, settings=asked).recommend([["i0"]])
    (priors,) = (tiny_run / "computed").glob("*/priors.npy")
    priors.write_bytes(priors.read_bytes()[:100])
    assert CALRec.from_pretrained(tiny_run, settings=asked).recommend([["i0"]]) == first
    assert "priors.npy cannot be read" in caplog.text
    shutil.rmtree(tiny_run / "computed")
    (tiny_run / "computed").touch()
    assert CALRec.from_pretrained(tiny_run, settings=asked).recommend([["i0"]]) == first
    assert "the items' priors are made at every start" in caplog.text
    assert "the vectors are made at every start" in caplog.text


def test_bm25_is_kept_with_the_run_and_opened_again(tiny_run, monkeypatch):
    first = shown(CALRec.from_pretrained(tiny_run))
    (folder,) = (tiny_run / "computed").glob("bm25-*")
    assert (folder / "hits.npy").is_file()
    with monkeypatch.context() as patched:
        patched.setattr("calrec.retrieval.bm25.index.Postings.of", None)
        recommender = CALRec.from_pretrained(tiny_run)
        assert shown(recommender) == first
    # A catalogue that changes in the process is not written; one that comes from elsewhere has a folder of its own.
    recommender.add_items(NEW)
    recommender.recommend([["i0"]])
    assert list((tiny_run / "computed").glob("bm25-*")) == [folder]
    CALRec.from_pretrained(tiny_run, recommender.catalogue).recommend([["i0"]])
    assert len(list((tiny_run / "computed").glob("bm25-*"))) == 2
