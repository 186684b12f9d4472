"""Candidates and their features, counted by hand and against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calrec.protocol import top_k
from calrec.ranker import CandidateTable, ItemFacts, candidate_table
from calrec.records import Catalogue, History, Item

NO = -np.inf
TITLES = ("red pen", "Blue PEN", "red ink", "paper", "stapler", "")
SCORES = arrays(np.float32, (3, 6), elements=st.sampled_from([NO, -2.0, 0.0, 0.25, 3.0]))
HISTORIES = st.lists(st.text("abcdefz", max_size=7), min_size=3, max_size=3)


def items(prices=None):
    attributes = [{"title": title} | ({} if prices is None else {"price": prices[n]}) for n, title in enumerate(TITLES)]
    catalogue = Catalogue(tuple(Item(item_id, own) for item_id, own in zip("abcdef", attributes, strict=True)))
    return ItemFacts(catalogue, np.array([4, 3, 2, 1, 0, 0]))


def histories(*bought):
    return [History(f"u{number}", tuple(ids)) for number, ids in enumerate(bought)]


def table_of(scores, bought, exclude_last=True, each=2, facts=None):
    return candidate_table(scores, histories(*bought), facts or items(), exclude_last=exclude_last, each=each)


def feature(table, name):
    return table.features[:, table.names.index(name)]


def test_candidates_are_the_best_of_each_source_and_the_history_without_its_last_item():
    scores = {"one": np.array([[1.0, 2, 3, 0, 0, 0]]), "other": np.array([[NO, NO, NO, NO, 5.0, NO]])}
    assert table_of(scores, ["adac"]).columns.tolist() == [0, 1, 3, 4]
    assert table_of(scores, ["adac"], exclude_last=False).columns.tolist() == [0, 1, 2, 3, 4]
    assert table_of(scores, ["cdc"], each=1).columns.tolist() == [1, 3, 4]


def test_features_by_hand():
    scores = {"knn": np.array([[np.e - 1, 0.0, 7.0, NO, 0.0, 1 - np.e]]), "beam": np.array([[-2.5, *[NO] * 5]])}
    table = table_of(scores, ["cadac"], each=6)
    assert table.columns.tolist() == [0, 1, 3, 4, 5]  # c was bought last
    assert feature(table, "knn: ranked").tolist() == [1, 1, 0, 1, 1]
    assert feature(table, "knn: reciprocal rank") == pytest.approx([1, 1 / 2, 0, 1 / 2, 1 / 4])
    assert feature(table, "knn: log rank") == pytest.approx(np.log([1, 2, 5, 2, 4]))
    assert feature(table, "knn: score") == pytest.approx([1, 0, 0, 0, -1])
    assert feature(table, "beam: score").tolist() == [-2.5, 0, 0, 0, 0]
    assert feature(table, "bought before") == pytest.approx(np.log([3, 1, 2, 1, 1]))
    assert feature(table, "recency") == pytest.approx([1 / 2, 0, 1 / 3, 0, 0])
    assert feature(table, "last item").tolist() == [0] * 5
    # "red ink", and with the others "red ink pen paper"
    assert feature(table, "words: last item") == pytest.approx([1 / 3, 0, 0, 0, 0])
    assert feature(table, "words: last 5 items") == pytest.approx([2 / 4, 1 / 5, 1 / 4, 0, 0])
    assert feature(table, "popularity") == pytest.approx(np.log([5, 4, 2, 1, 1]))


def test_the_last_item_is_marked_where_it_is_a_candidate():
    table = table_of({"one": np.zeros((1, 6))}, ["ab"], exclude_last=False, each=1)
    assert table.columns.tolist() == [0, 1]
    assert feature(table, "last item").tolist() == [0, 1]
    assert feature(table, "recency").tolist() == [1 / 2, 1]


def test_prices_count_where_there_are_any():
    scores = {"one": np.zeros((2, 6))}
    assert not any("price" in name for name in table_of(scores, ["ab", ""]).names)
    assert not any("price" in name for name in table_of(scores, ["ab", ""], facts=items([""] * 6)).names)
    facts = items(["$1", "1,000.00", "100", "0", "cheap", ""])
    table = table_of(scores, ["ab", ""], each=6, exclude_last=False, facts=facts)
    assert feature(table, "price: known").tolist() == [1, 1, 1, 0, 0, 0] * 2
    mean = np.log(1e5) / 3
    assert feature(table, "price") == pytest.approx([0, np.log(1000), np.log(100), mean, mean, mean] * 2)
    usual = np.log(1000) / 2
    assert feature(table, "price: distance") == pytest.approx([usual, usual, np.log(100) - usual] + [0] * 9)


@given(SCORES, SCORES, HISTORIES, st.booleans(), st.integers(1, 7))
def test_the_candidates_of_a_history_do_not_depend_on_others(one, other, bought, exclude_last, each):
    scores = {"one": one, "likelihood": other}
    together = table_of(scores, bought, exclude_last, each)
    assert np.isfinite(together.features).all()
    apart = [
        candidate_table(
            {source: table[[user]] for source, table in scores.items()},
            [history],
            items(),
            exclude_last=exclude_last,
            each=each,
        )
        for user, history in enumerate(histories(*bought))
    ]
    joined = CandidateTable.joined(apart)
    assert joined.names == together.names
    for name in ("features", "columns", "starts", "owners"):
        assert np.array_equal(getattr(joined, name), getattr(together, name))


@given(SCORES, HISTORIES, st.booleans(), st.integers(1, 7))
def test_candidates_and_ranks_against_brute_force(scores, bought, exclude_last, each):
    before = scores.copy()
    table = table_of({"one": scores}, bought, exclude_last, each)
    assert np.array_equal(scores, before)
    for user, ids in enumerate(bought):
        own = ["abcdef".index(item) for item in ids if item != "z"]
        row = scores[user].copy()
        last = own[-1:] if exclude_last and ids[-1:] != "z" else []
        row[last] = NO
        part = table.owners == user
        expected = {*top_k(row, each).tolist(), *own} - set(own[-1:] if exclude_last else [])
        assert table.columns[part].tolist() == sorted(expected)
        ahead = [int((row > row[column]).sum()) for column in sorted(expected)]
        assert np.expm1(feature(table, "one: log rank")[part]) == pytest.approx(ahead)


def test_places_of_targets_and_rows_of_scores():
    table = table_of({"one": np.eye(6)[:3]}, ["ab", "z", ""], each=1)
    assert table.columns.tolist() == [0, 1, 2]
    assert len(table) == 3
    assert table.places([0, 5, -1]).tolist() == [0, -1, -1]
    assert table.spread(np.array([0.5, 1.5, 2.5]), 4).tolist() == [
        [0.5, NO, NO, NO],
        [NO, 1.5, NO, NO],
        [NO, NO, 2.5, NO],
    ]


def test_a_history_may_have_no_candidate():
    table = table_of({"one": np.array([[NO] * 6, [1.0] * 6, [NO] * 6])}, ["z", "", "e"], each=1)
    assert table.starts.tolist() == [0, 0, 1, 1]
    assert table.places([1, 0, 4]).tolist() == [-1, 0, -1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"scores of one must be \(H, I\) = \(1, 6\)"):
        table_of({"one": np.zeros((2, 6))}, ["a"])
    with pytest.raises(ValueError, match="one source"):
        table_of({}, ["a"])
    with pytest.raises(ValueError, match="joined"):
        CandidateTable.joined([])
    with pytest.raises(ValueError, match="joined"):
        CandidateTable.joined([table_of({name: np.zeros((1, 6))}, ["a"]) for name in ("one", "other")])
