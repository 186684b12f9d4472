"""The trie against plain prefixes."""

import pickle
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.errors import DataError
from calrec.generation import ItemTrie
from calrec.text import trie as trie_module

END = 5
items = st.lists(
    st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=4).map(lambda tokens: (*tokens, END)),
    min_size=1,
    max_size=9,
)


def test_a_copy_is_as_good():
    trie = pickle.loads(pickle.dumps(ItemTrie([(0, 1, END), (0, END)])))
    assert trie.tail(trie.find((0, 1))) == (END,)
    assert trie.child(trie.root, 2) is None


@given(items, st.lists(st.sampled_from([0, 1, 2, END]), max_size=5))
def test_nodes_are_beginnings(sequences, tokens):
    trie, beginning = ItemTrie(sequences), tuple(tokens)
    below = [column for column, item in enumerate(sequences) if item[: len(beginning)] == beginning]
    node = trie.find(beginning)
    if node is None:
        assert not below
        return
    assert sorted(trie.order[node.first : node.last].tolist()) == below
    assert len(node) == len(below)
    assert trie.is_leaf(node) == (beginning in sequences)
    children = dict(trie.children(node))
    assert list(children) == sorted(
        {sequences[column][len(beginning)] for column in below} if END not in tokens else []
    )
    for token, child in children.items():
        assert trie.child(node, token) == child == trie.find((*beginning, token))
    assert (*beginning, *trie.tail(node)) in [sequences[column] for column in below]


@given(items, st.lists(st.lists(st.sampled_from([0, 1, 2, END]), max_size=5), max_size=9))
def test_what_was_looked_up_before_changes_nothing(sequences, beginnings):
    with mock.patch.object(trie_module, "_REMEMBERED", 3):
        trie = ItemTrie(sequences)
        assert [trie.find(tokens) for tokens in beginnings] == [ItemTrie(sequences).find(of) for of in beginnings]


@given(st.data(), items, items.flatmap(lambda drawn: st.just(drawn[1:])))
def test_a_changed_trie_is_one_built_anew(data, sequences, added):
    """Items leave, come and change places."""
    kept = data.draw(st.lists(st.sampled_from(range(len(sequences))), unique=True, min_size=0 if added else 1))
    places = data.draw(st.permutations([*kept, *[-1] * len(added)]))
    coming = iter(added)
    expected = ItemTrie([next(coming) if column < 0 else sequences[column] for column in places])
    changed = ItemTrie(sequences).changed(np.array(places), added)
    assert vars(changed).keys() == vars(expected).keys()
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(vars(changed)[name], value, err_msg=name)


def test_changes_that_cannot_be():
    trie = ItemTrie([(1, END), (2, 3, END)])
    with pytest.raises(DataError, match="empty"):
        trie.changed(np.array([], dtype=np.int64), [])
    with pytest.raises(DataError, match="column 0 has no tokens"):
        trie.changed(np.array([0, -1]), [(END,)])
    for origin in ([0, 1], [0, 2, -1], [0, -2, -1]):
        with pytest.raises(ValueError, match="-1 for each of the 1 added"):
            trie.changed(np.array(origin), [(4, END)])


def test_items_of_one_sequence_share_a_leaf():
    trie = ItemTrie([(1, END), (2, 3, END), (1, END)])
    leaf = trie.find((1, END))
    assert leaf is not None
    assert trie.is_leaf(leaf)
    assert trie.order[leaf.first : leaf.last].tolist() == [0, 2]
    assert trie.child(leaf, 1) is None
    assert trie.find((7,)) is None


def test_catalogues_that_cannot_be_generated():
    with pytest.raises(DataError, match="empty"):
        ItemTrie([])
    with pytest.raises(DataError, match="column 1 has no tokens"):
        ItemTrie([(1, END), (END,)])
