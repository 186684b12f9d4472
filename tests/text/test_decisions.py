"""The decision tree against a plain walk through all texts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calrec.text.decisions import DecisionTree
from calrec.text.trie import ItemTrie

END = 5
items = st.lists(
    st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=4).map(lambda tokens: (*tokens, END)),
    min_size=1,
    max_size=9,
)


def plain_decisions(sequences, text):
    """(depth, right token, allowed tokens) of every place at which the catalogue leaves a choice."""
    found = []
    for depth, token in enumerate(text):
        allowed = sorted({other[depth] for other in sequences if other[:depth] == text[:depth]})
        if len(allowed) > 1:
            found.append((depth, token, allowed))
    return found


@given(items)
def test_paths_are_the_decisions_of_each_text(sequences):
    trie = ItemTrie(sequences)
    tree = DecisionTree(trie)
    paths = tree.paths()
    for row, column in enumerate(trie.order.tolist()):
        of_text = slice(*paths.starts[trie.leaves[row] : trie.leaves[row] + 2])
        found = [
            (int(tree.depths[node]), int(tree.tokens[edge]), tree.tokens[tree.edges(np.array([node]))[0]].tolist())
            for node, edge in zip(paths.nodes[of_text], paths.edges[of_text], strict=True)
        ]
        assert found == plain_decisions(sequences, sequences[column])


@given(items)
def test_chains_join_to_the_beginning_of_their_decision(sequences):
    trie = ItemTrie(sequences)
    tree = DecisionTree(trie)
    for node in range(len(tree)):
        walked, above = [], node
        while above >= 0:
            walked = [*tree.chains(np.array([above]))[0].tolist(), *walked]
            above = int(tree.parents[above])
        assert tuple(walked) == sequences[trie.order[tree.first[node]]][: tree.depths[node]]
        assert all(
            sequences[column][: tree.depths[node]] == tuple(walked)
            for column in trie.order[tree.first[node] : tree.last[node]]
        )


def test_one_text_leaves_nothing_to_decide():
    tree = DecisionTree(ItemTrie([(1, END), (1, END)]))
    assert len(tree) == 0
    assert tree.paths().starts.tolist() == [0, 0]
