"""BM25 against its formula."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calrec.errors import DataError
from calrec.retrieval import Bm25Index, Bm25Settings

TEXTS = [
    "Title: A 3 Pack of Red Apples",
    "Title: Red Wine 75 cl",
    "Title: The The The",
    "",
    "Title: Größe 3/8 in. screw",
]
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


def test_wrong_input():
    with pytest.raises(DataError, match="at least one text"):
        Bm25Index([])
    with pytest.raises(ValidationError):
        Bm25Settings(b=1.5)
