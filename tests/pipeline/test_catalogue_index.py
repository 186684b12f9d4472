"""A catalogue that changes: equal to one made anew, while requests in flight keep theirs."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from calrec import CALRec
from calrec.errors import DataError
from calrec.pipeline import InferenceSettings, catalogue_index
from calrec.records import Catalogue, History, Item

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


def test_a_change_before_the_first_request_reads_only_what_is_new(tiny_run, monkeypatch):
    run = tiny_run
    CALRec.from_pretrained(run, settings=EVERYTHING).recommend([["i0"]])  # leaves vectors, priors and BM25 in the run
    read, scored = [], []
    item_vectors, score_items = catalogue_index.item_vectors, catalogue_index.score_items

    def reading(lm, items):
        read.extend(items)
        return item_vectors(lm, items)

    def scoring(lm, prompts, trie, candidates, **limits):
        scored.extend(candidates[0])
        return score_items(lm, prompts, trie, candidates, **limits)

    monkeypatch.setattr(catalogue_index, "item_vectors", reading)
    monkeypatch.setattr(catalogue_index, "score_items", scoring)
    monkeypatch.setattr(catalogue_index.Bm25Index, "__init__", lambda *_: pytest.fail("BM25 was made anew"))
    recommender = CALRec.from_pretrained(run, settings=EVERYTHING)
    recommender.add_items(NEW[:1])
    recommender.recommend([["i0"]])
    assert len(read) == len(scored) == 1


def test_priors_keep_the_lower_limit_of_memory(recommender, monkeypatch):
    limited = {"beam": {"memory_gb": 0.5}, "candidates": {"memory_gb": 0.25}}
    settings = InferenceSettings.model_validate(EVERYTHING.model_dump() | limited)
    index = CALRec(recommender.lm, recommender.tokenizer, recommender.card, recommender.catalogue, settings).index
    limits = []
    monkeypatch.setattr(catalogue_index, "score_items", lambda *_, memory_gb: limits.append(memory_gb) or [np.zeros(9)])
    assert len(index.priors) == 9
    assert limits == [0.25]


def test_only_new_texts_are_written(recommender, monkeypatch):
    written, item_text = [], recommender._item_text
    monkeypatch.setattr(recommender, "_item_text", lambda item: written.append(item) or item_text(item))
    recommender.add_items(NEW)
    recommender.remove_items(["i5"])
    assert written == list(NEW)


def test_an_empty_catalogue_is_refused(tiny_run):
    with pytest.raises(DataError, match="the catalogue is empty: at least one item"):
        CALRec.from_pretrained(tiny_run, Catalogue(()))


def test_requests_and_changes_may_come_at_once(recommender):
    """Whatever a thread sees is one catalogue or the other, and never half of each."""
    with_new = CALRec(recommender.lm, recommender.tokenizer, recommender.card, recommender.catalogue, EVERYTHING)
    with_new.add_items(NEW)
    allowed = [shown(recommender), shown(with_new)]
    stop, seen = threading.Event(), []

    def ask():
        while not stop.is_set():
            seen.append(shown(recommender))

    before = {item.item_id: item for item in recommender.catalogue.items}
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        for _ in range(5):
            recommender.add_items(NEW)
            recommender.remove_items(["a0", "i40"])
            recommender.add_items([before["i3"]])
        stop.set()
        for future in asking:
            future.result()
    assert seen
    between = {tuple(item_id for item_id, *_ in ranking) for ranking in seen}
    known = {tuple(item_id for item_id, *_ in ranking) for ranking in allowed}
    assert known & between
    assert all({"a0", "i40"} <= set(ids) or not {"a0", "i40"} & set(ids) for ids in between)


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
    with pytest.raises(DataError, match="the catalogue is empty: at least one item"):
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
    whole = priors.read_bytes()
    priors.write_bytes(whole[:100])
    assert CALRec.from_pretrained(tiny_run, settings=asked).recommend([["i0"]]) == first
    assert "priors.npy cannot be read" in caplog.text
    for wrong in (np.zeros(3), np.full(9, np.nan)):
        np.save(priors, wrong)
        assert CALRec.from_pretrained(tiny_run, settings=asked).recommend([["i0"]]) == first
        assert "it holds no 9 numbers" in caplog.text
        assert priors.read_bytes() == whole
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
