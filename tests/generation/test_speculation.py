"""What is guessed from the catalogue."""

from calrec.generation import ItemTrie
from calrec.generation.speculation import CatalogueDrafter

END = 5
TRIE = ItemTrie([(1, 2, 3, 4, END), (1, 2, 3, 7, END), (1, 2, 8, END), (1, 9, 9, END), (2, 6, END)])


def test_a_beginning_of_one_item_is_guessed_to_its_end():
    assert CatalogueDrafter(TRIE).propose((1, 9), count=1, depth=10) == [(-1, 9)]
    assert CatalogueDrafter(TRIE).propose((2,), count=1, depth=10) == [(-1, 6)]
    assert CatalogueDrafter(TRIE).propose((1, 9, 9), count=1, depth=10) == []  # only the end is left


def test_more_samples_guess_more():
    one, many = (CatalogueDrafter(TRIE, expected=0.5).propose((1,), count, depth=10) for count in (1, 4))
    assert one == [(-1, 2), (0, 3)]  # 3 of 4 items, then 2 of 4
    assert many == [(-1, 2), (-1, 9), (0, 3), (0, 8), (1, 9), (2, 4), (2, 7)]


def test_with_more_expected_than_there_are_only_the_certain_is_guessed():
    certain = CatalogueDrafter(TRIE, expected=float("inf"))
    assert certain.propose((1,), count=32, depth=10) == []
    assert certain.propose((1, 9), count=1, depth=10) == [(-1, 9)]
    assert certain.propose((1, 2, 3), count=32, depth=10) == []


def test_guesses_end_with_the_depth_and_the_limit():
    assert CatalogueDrafter(TRIE).propose((1,), count=4, depth=2) == [(-1, 2), (-1, 9)]
    assert len(CatalogueDrafter(TRIE, limit=3).propose((1,), count=4, depth=10)) == 3


def test_nothing_is_guessed_outside_of_the_catalogue():
    assert CatalogueDrafter(TRIE).propose((3,), count=8, depth=10) == []
