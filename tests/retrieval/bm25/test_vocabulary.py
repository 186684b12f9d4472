"""Words are found by number, also where many begin alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.retrieval.bm25 import vocabulary
from calrec.retrieval.bm25.vocabulary import Vocabulary


@given(st.sets(st.text("abcé", min_size=1, max_size=3)), st.lists(st.text("abcé", max_size=4)))
@pytest.mark.parametrize("head", [1, 2, 8])
def test_a_word_is_found_where_it_stands(head, there, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_HEAD", head)
        ordered = sorted(there)
        known = Vocabulary.of(ordered)
        assert known.find(ordered) == list(range(len(ordered)))
        assert known.find(asked) == [ordered.index(word) if word in there else None for word in asked]


def test_words_of_a_long_vocabulary():
    ordered = sorted(f"w{number}" for number in range(2000))
    known = Vocabulary.of(ordered)
    assert known.find(ordered) == list(range(2000))
    assert known.find(["v", "w1x", "x"]) == [None] * 3
