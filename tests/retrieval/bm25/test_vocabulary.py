"""Words are found by number wherever they stand between the guides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.retrieval.bm25 import vocabulary
from calrec.retrieval.bm25.vocabulary import Vocabulary


@given(st.sets(st.text("abcé", min_size=1, max_size=3)), st.lists(st.text("abcé", max_size=4)))
@pytest.mark.parametrize("step", [1, 2, 7, 256])
def test_a_word_is_found_where_it_stands(step, there, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_STEP", step)
        ordered = sorted(there)
        known = Vocabulary.of(ordered)
        assert [known.find(word) for word in ordered] == list(range(len(ordered)))
        assert all(known.find(word) is None for word in asked if word not in there)


def test_words_of_a_long_vocabulary():
    ordered = sorted(f"w{number}" for number in range(2000))
    known = Vocabulary.of(ordered)
    assert [known.find(word) for word in ordered] == list(range(2000))
    assert known.find("v") is None
    assert known.find("w1x") is None
    assert known.find("x") is None
