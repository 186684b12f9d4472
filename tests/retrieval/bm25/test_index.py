"""BM25 against its formula."""

import contextlib
import math
import pickle
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from calrec.errors import DataError
from calrec.retrieval import Bm25Index, Bm25Settings
from calrec.retrieval.bm25 import pruned

TEXTS = [
    "Title: A 3 Pack of Red Apples",
    "Title: Red Wine 75 cl",
    "Title: The The The",
    "",
    "Title: Größe 3/8 in. screw",
]
ZIPF = np.random.default_rng(7)
short_texts = st.lists(st.sampled_from(["a", "the", "red", "3", "Apple", "x1"]), max_size=6).map(" ".join)


def direct(texts, query, k1, b):
    """The formula of the docstring, word by word."""
    documents = [text.lower().split() for text in texts]
    mean_length = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        frequency, score = Counter(document), 0.0
        for word in query.lower().split():
            holders = sum(word in other for other in documents)
            if frequency[word]:
                idf = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
                tf = frequency[word] / (frequency[word] + k1 * (1 - b + b * len(document) / mean_length))
                score += idf * tf
        scores.append(score)
    return scores


@given(st.lists(short_texts, min_size=1, max_size=8), short_texts, st.floats(0, 3), st.floats(0, 1))
def test_scores_equal_the_direct_formula(texts, query, k1, b):
    index = Bm25Index(texts, Bm25Settings(k1=k1, b=b))
    scores = index.scores([query, ""])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[0], direct(texts, query, k1, b), rtol=1e-5, atol=1e-6)
    assert not scores[1].any()


def in_total_order(scores, k):
    """Columns of the k best, score first, then column; what scores nothing has no place."""
    return sorted((column for column in range(len(scores)) if scores[column] > 0), key=lambda i: (-scores[i], i))[:k]


def some_left_out():
    """Of any catalogue, however small, the items that cannot be among the best are left out."""
    return mock.patch.object(pruned, "_FEW", 0)


@given(
    st.lists(short_texts, min_size=1, max_size=30), st.lists(short_texts, max_size=3), st.integers(1, 12), st.booleans()
)
def test_top_equals_sorting_the_direct_formula(texts, queries, k, all_scored):
    with contextlib.nullcontext() if all_scored else some_left_out():
        columns, scores = Bm25Index(texts).top(queries, k)
    assert columns.shape == scores.shape == (len(queries), k)
    assert (columns.dtype, scores.dtype) == (np.int64, np.float32)
    for row, query in enumerate(queries):
        expected = np.float32(direct(texts, query, 1.5, 0.75))
        best = in_total_order(expected, k)
        none = k - len(best)
        assert columns[row].tolist() == best + [-1] * none
        np.testing.assert_array_equal(scores[row], [*expected[best], *[0] * none])


@given(st.lists(short_texts, min_size=1, max_size=30), short_texts, st.integers(1, 4))
def test_top_does_not_depend_on_how_fine_the_units_are(texts, query, k):
    with some_left_out(), mock.patch.object(pruned, "_HIGHEST", 40):
        columns, _ = Bm25Index(texts).top([query], k)
    best = in_total_order(np.float32(direct(texts, query, 1.5, 0.75)), k)
    assert columns[0, : len(best)].tolist() == best


def test_queries_that_leave_hardly_anything_out_are_added_up(monkeypatch):
    monkeypatch.setattr(pruned, "_CELLS", 1000)
    texts = made_up_titles(500)
    index, queries = Bm25Index(texts), [" ".join(f"w{word}" for word in range(300)), texts[3], "w1 w2"]
    expected = index.top(queries, 20)
    with some_left_out():
        assert all(map(np.array_equal, index.top(queries, 20), expected))


def test_an_index_that_was_asked_can_be_copied():
    texts = made_up_titles(500)
    index = Bm25Index(texts)
    expected = index.top(texts[:5], 20)
    copied = pickle.loads(pickle.dumps(index))
    assert all(map(np.array_equal, copied.top(texts[:5], 20), expected))


def test_queries_of_very_many_words_are_added_up():
    texts = made_up_titles(500)
    index, query = Bm25Index(texts), " ".join(f"w{word}" for word in range(3000))
    with some_left_out():
        expected = index.top([query], 20)
        with mock.patch.object(pruned, "_MANY_WORDS", 100):
            assert np.array_equal(index.top([query], 20), expected)


def made_up_titles(items, vocabulary=3000):
    """Titles by Zipf's law, some of them given twice."""
    drawn = ZIPF.zipf(1.2, (items, 9)) % vocabulary
    titles = [" ".join(f"w{word}" for word in row[: 3 + row[0] % 7]) for row in drawn]
    return [*titles, *titles[::5]]


@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize("ways", [contextlib.nullcontext, some_left_out])
def test_top_equals_sorting_all_scores(k, ways):
    texts = made_up_titles(5000)
    index = Bm25Index(texts)
    queries = [*texts[:40], "w1", "w1 w2 w3", "w1 w2 w2999 w17 zebra", *(text + " " + text for text in texts[40:50])]
    with ways():
        columns, scores = index.top(queries, k)
    for row, all_scores in enumerate(index.scores(queries)):
        best = in_total_order(all_scores, k)
        assert columns[row, : len(best)].tolist() == best
        np.testing.assert_array_equal(scores[row, : len(best)], all_scores[best])
        assert (columns[row, len(best) :] == -1).all()


def test_common_words_are_gone_through_once_for_all_requests(monkeypatch):
    made = []
    gains = pruned.Scorer._gains

    def watched(scorer, *asked):
        made.append(asked)
        return gains(scorer, *asked)

    monkeypatch.setattr(pruned.Scorer, "_gains", watched)
    texts = [f"pen number{number}" for number in range(200)]
    index = Bm25Index(texts)
    for _ in range(2):
        index.scores(["pen number7"])
    assert len(made) == 3  # one of them is rare


@pytest.mark.parametrize("kept", [0, 20, 60, 1000])
def test_what_is_kept_is_bounded_and_changes_nothing(kept):
    texts = made_up_titles(500)
    queries = texts[:30]
    expected = Bm25Index(texts).top(queries, 10)
    with some_left_out(), mock.patch.object(pruned, "_KEPT", kept):
        index = Bm25Index(texts)
        for _ in range(2):
            for query, columns, scores in zip(queries, *expected, strict=True):
                found = index.top([query], 10)
                assert found[0][0].tolist() == columns.tolist()
                assert found[1][0].tolist() == scores.tolist()
                assert sum(map(pruned._bytes, index._common._kept.values())) <= kept * len(texts)
        assert bool(index._common._kept) == (kept > 0)


def test_common_words_are_looked_up_and_not_gone_through(monkeypatch):
    gone_through = []
    by_word = pruned.Scorer.by_word

    def watched(*arguments):
        columns, gains = by_word(*arguments)
        gone_through.append(len(columns))
        return columns, gains

    monkeypatch.setattr(pruned.Scorer, "by_word", watched)
    texts = [f"title pack model{number // 4} part{number // 20}" for number in range(2000)]
    with some_left_out():
        columns, _ = Bm25Index(texts).top(["title pack model7 part1"], 4)
    assert columns.tolist() == [[28, 29, 30, 31]]
    assert max(gone_through) <= 20


def test_short_words_numbers_and_common_words_count():
    scores = Bm25Index(TEXTS).scores(["3", "the", "a", "title"])
    assert np.flatnonzero(scores[0]).tolist() == [0, 4]
    assert np.flatnonzero(scores[1]).tolist() == [2]
    assert np.flatnonzero(scores[2]).tolist() == [0]
    assert np.flatnonzero(scores[3]).tolist() == [0, 1, 2, 4]


def test_what_matches_nothing_scores_zero():
    assert not Bm25Index(TEXTS).scores(["zebra", "", "!?"]).any()
    assert not Bm25Index(["", "--"]).scores(["anything"]).any()
    assert Bm25Index(TEXTS).scores([]).shape == (0, 5)


def test_items_of_one_text_score_alike():
    scores = Bm25Index(["red apple", "blue sky", "red apple"]).scores(["a red apple"])
    assert scores[0, 0] == scores[0, 2] > scores[0, 1]


def test_matched_words_come_in_the_order_of_the_item():
    index = Bm25Index(TEXTS)
    assert index.matched_words("apples RED apples 3", 0) == ("3", "red", "apples")
    assert index.matched_words("größe", 4) == ("größe",)
    assert index.matched_words("the", 2) == ("the",)
    assert index.matched_words("zebra", 0) == ()


def assert_same_index(one, other):
    """All that they hold, bit by bit."""
    arrays, expected = one._postings.arrays, other._postings.arrays
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(array, expected[name], name)


@st.composite
def changes(draw):
    """Old texts, where each new column comes from, and the added texts."""
    old = draw(st.lists(short_texts, min_size=1, max_size=8))
    kept = [column for column in range(len(old)) if draw(st.booleans())]
    new_words = short_texts | st.sampled_from(["zebra", "aardvark red", "größe größe"])
    added = draw(st.lists(new_words, min_size=0 if kept else 1, max_size=5))
    origin = list(kept)
    for _ in added:
        origin.insert(draw(st.integers(0, len(origin))), -1)
    return old, np.array(origin), added


@given(changes())
@example((["a b", "c"], np.array([1, -1]), ["a a d"]))
def test_a_changed_index_equals_one_made_anew(change):
    old, origin, added = change
    incoming = iter(added)
    new = [old[column] if column >= 0 else next(incoming) for column in origin]
    before, fresh = Bm25Index(old), Bm25Index(new)
    changed = before.changed(origin, added)
    assert_same_index(changed, fresh)
    assert_same_index(before, Bm25Index(old))
    np.testing.assert_array_equal(changed.scores([*new, "a red"]), fresh.scores([*new, "a red"]))


def test_many_changes_of_an_opened_index(tmp_path):
    texts = made_up_titles(300, vocabulary=500)
    Bm25Index(texts).save(tmp_path / "index")
    index = Bm25Index.load(tmp_path / "index")
    for step in range(5):
        origin = np.delete(np.arange(len(texts)), [step, 40 + step])
        origin = np.insert(origin, [0, 100], -1)
        added = [f"w1 new{step}", texts[7]]
        incoming = iter(added)
        texts = [texts[column] if column >= 0 else next(incoming) for column in origin]
        index = index.changed(origin, added)
    assert_same_index(index, Bm25Index(texts))


@pytest.mark.parametrize("texts", [TEXTS, ["", "--"], ["ha " * 300, "ha"]])
def test_a_saved_index_opens_equal_and_mapped(tmp_path, texts):
    settings = Bm25Settings(k1=0.9, b=0.4)
    saved = Bm25Index(texts, settings)
    Bm25Index(["another"]).save(tmp_path / "index")
    saved.save(tmp_path / "index")
    opened = Bm25Index.load(tmp_path / "index", settings)
    assert_same_index(opened, saved)
    assert all(not array.flags.owndata for array in opened._postings.arrays.values())
    assert [file.suffix for file in (tmp_path / "index").iterdir()] == [".npy"] * len(opened._postings.arrays)
    np.testing.assert_array_equal(opened.scores(texts), saved.scores(texts))
    assert [opened.matched_words("ha 3 red", column) for column in range(len(texts))] == [
        saved.matched_words("ha 3 red", column) for column in range(len(texts))
    ]


def test_a_folder_that_is_no_index(tmp_path):
    with pytest.raises(DataError, match=r"no whole BM25 index.*build it anew"):
        Bm25Index.load(tmp_path / "nothing")
    Bm25Index(TEXTS).save(tmp_path / "index")
    (tmp_path / "index" / "counts.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="no whole BM25 index"):
        Bm25Index.load(tmp_path / "index")


def test_an_index_is_made_once_and_then_opened(tmp_path, monkeypatch, caplog):
    fresh, folder = Bm25Index(TEXTS), tmp_path / "kept" / "index"
    assert_same_index(Bm25Index.stored(folder, TEXTS), fresh)
    with monkeypatch.context() as patched:
        patched.setattr(Bm25Index, "__init__", None)
        assert_same_index(Bm25Index.stored(folder, TEXTS), fresh)
    (folder / "hits.npy").unlink()
    (folder / "hits.npy").write_bytes(b"\x93NUMPY")
    assert_same_index(Bm25Index.stored(folder, TEXTS), fresh)
    (tmp_path / "file").touch()
    assert_same_index(Bm25Index.stored(tmp_path / "file" / "index", TEXTS), fresh)
    assert "the BM25 index is made at every start, for" in caplog.text


def test_wrong_changes():
    index = Bm25Index(["a", "b"])
    with pytest.raises(DataError, match="at least one text"):
        index.changed(np.array([], dtype=np.int64), [])
    with pytest.raises(ValueError, match="1 new items, but 0 texts"):
        index.changed(np.array([0, -1]), [])
    for origin in ([1, 0], [0, 0], [0, 2]):
        with pytest.raises(ValueError, match="ascending"):
            index.changed(np.array(origin), [])


def test_wrong_input():
    with pytest.raises(ValueError, match="k must be at least 1"):
        Bm25Index(["a"]).top(["a"], 0)
    with pytest.raises(DataError, match="at least one text"):
        Bm25Index([])
    with pytest.raises(ValidationError):
        Bm25Settings(b=1.5)
