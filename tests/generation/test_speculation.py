"""What is guessed from the catalogue."""

from hypothesis import given
from hypothesis import strategies as st

from calrec.generation import ItemTrie
from calrec.generation.speculation import CERTAIN, CatalogueDrafter

END = 5
TRIE = ItemTrie([(1, 2, 3, 4, END), (1, 2, 3, 7, END), (1, 2, 8, END), (1, 9, 9, END), (2, 6, END)])
items = st.lists(
    st.lists(st.sampled_from([0, 1]), min_size=1, max_size=5).map(lambda tokens: (*tokens, END)), min_size=1, max_size=9
)


def test_a_beginning_of_one_item_is_guessed_to_its_end():
    assert CatalogueDrafter(TRIE).propose((1, 9), depth=10) == (9,)
    assert CatalogueDrafter(TRIE).propose((2,), depth=10) == (6,)
    assert CatalogueDrafter(TRIE).propose((1, 9, 9), depth=10) == ()  # only the end is left


def test_where_items_part_the_greater_part_is_followed():
    assert CatalogueDrafter(TRIE).propose((1,), depth=10) == (2,)  # 3 of 4 items; then 2 of 4
    assert CatalogueDrafter(TRIE).propose((1, 2), depth=10) == (3,)  # 2 of 3; then 1 of 3


def test_what_is_certain_is_what_all_items_share():
    certain = CatalogueDrafter(ItemTrie([(1, 2, 3, END), (1, 2, 4, END), (7, END), (7, END)]), CERTAIN)
    assert certain.propose((1,), depth=10) == (2,)
    assert certain.propose((1, 2), depth=10) == ()
    assert certain.propose((), depth=10) == ()


@given(items, st.lists(st.sampled_from([0, 1]), max_size=3), st.sampled_from([0.51, 0.6, 0.8, 1.0]))
def test_the_chain_is_the_longest_that_enough_items_share(sequences, beginning, share):
    start = tuple(beginning)
    having = [item for item in sequences if item[: len(start)] == start]
    chain = CatalogueDrafter(ItemTrie(sequences), share).propose(start, depth=10)
    candidates = {item[len(start) : stop] for item in having for stop in range(len(start), len(item))}
    enough = [
        tokens
        for tokens in candidates
        if sum(item[: len(start) + len(tokens)] == start + tokens for item in having) >= share * len(having)
    ]
    assert chain == max(enough, key=len, default=())


def test_guesses_end_with_the_depth():
    assert CatalogueDrafter(TRIE).propose((1, 9), depth=2) == ()
    assert CatalogueDrafter(ItemTrie([(1, 2, 3, 4, END)])).propose((1,), depth=3) == (2, 3)


def test_nothing_is_guessed_outside_of_the_catalogue():
    assert CatalogueDrafter(TRIE).propose((3,), depth=10) == ()
