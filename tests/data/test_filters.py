import hashlib
from collections import Counter
from itertools import chain, combinations, pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare

from calrec.data.filters import FilterSettings, Frames, apply_filters, core, sort_by_time
from calrec.errors import DataError

TEXT = ("title", "brand")
rows_of_three_users = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from(["1", "2", "3", "10", "11"]), st.integers(0, 4)), max_size=25
)


@pytest.fixture(scope="session")
def frames_of(shop):
    def frames(rows):
        source = shop(rows)
        return Frames(source.items, source.interactions)

    return frames


@pytest.fixture(scope="session")
def sequence(frames_of):
    """What one user's (item, time) rows become."""

    def filtered(rows, **settings):
        frames, _ = apply_filters(frames_of([("u", *row) for row in rows]), FilterSettings(**settings), TEXT)
        return frames.interactions["item_id"].to_list()

    return filtered


def test_equal_times_can_go_by_item_id_as_a_number(sequence):
    assert sequence([("10", 1), ("2", 1), ("1", 0)], ties="item_id") == ["1", "2", "10"]


def test_equal_times_can_stay_in_the_source_order(sequence):
    assert sequence([("10", 1), ("2", 1), ("1", 0)], ties="source_order") == ["1", "10", "2"]


def test_equal_times_by_a_hash_follow_neither_rows_nor_ids(sequence):
    """The order is fixed: by SHA-256 of a seed, the user, the item and the time."""
    rows = [("1", 1), ("2", 1), ("10", 1), ("11", 1), ("3", 0)]
    hashed = sequence(rows)
    assert hashed == sequence(rows[::-1], ties="hash") == ["3", *sorted(hashed[1:], key=_digest)]
    assert hashed[1:] not in (["1", "2", "10", "11"], ["11", "10", "2", "1"])


def _digest(item):
    return hashlib.sha256(f"calrec ties 1u\x1f{item}\x1f0x1.0000000000000p+0".encode()).digest()


def test_equal_times_by_a_hash_put_every_item_last_about_as_often(frames_of):
    """By id it would always be 11; a chi-square test of 400 users' last items."""
    rows = [(f"u{user}", item, 0) for user in range(400) for item in ("1", "2", "10", "11")]
    frames, _ = apply_filters(frames_of(rows), FilterSettings(ties="hash"), TEXT)
    last = Counter(frames.interactions.group_by("user_id").agg(pl.col("item_id").last())["item_id"])
    assert chisquare(list(last.values())).pvalue > 0.001
    assert len(last) == 4


def test_a_basket_that_is_bought_again_comes_in_another_order(frames_of):
    """The second of two orders of four items is the first in one of 24 cases, as chance has it."""
    items = ("1", "2", "10", "11")
    rows = [(f"u{user}", item, day) for user in range(480) for day in (0, 1) for item in items]
    frames, _ = apply_filters(frames_of(rows), FilterSettings(drop_consecutive=False), TEXT)
    orders = frames.interactions.group_by("user_id", "timestamp", maintain_order=True).agg("item_id")
    first, second = (orders.filter(pl.col("timestamp") == day)["item_id"].to_list() for day in (0, 1))
    assert 2 < sum(one == other for one, other in zip(first, second, strict=True)) < 45


def test_whole_and_fractional_numbers_are_hashed_alike(frames_of):
    frames = frames_of([("u", item, 7) for item in ("1", "2", "10", "11")])
    whole = Frames(frames.items, frames.interactions.with_columns(pl.col("timestamp").cast(pl.Int64)))
    ordered = [sort_by_time(one, "hash").interactions["item_id"].to_list() for one in (frames, whole)]
    assert ordered[0] == ordered[1]


def test_consecutive_duplicates_go_and_later_repeats_stay(sequence):
    rows = [("1", 0), ("1", 1), ("2", 2), ("1", 3), ("1", 4)]
    assert sequence(rows) == ["1", "2", "1"]
    assert sequence(rows, drop_consecutive=False) == ["1", "1", "2", "1", "1"]


def test_repeats_of_two_users_are_not_consecutive(frames_of):
    rows = [(user, item, time) for user in ("u", "v") for time, item in enumerate(("1", "2", "1"))]
    frames, _ = apply_filters(frames_of(rows), FilterSettings(), TEXT)
    assert frames.interactions.height == 6


def test_identical_texts_merge_after_the_sort_and_before_duplicates(sequence):
    """1 and 3 are one text: merged they are a run where 2 does not stand between them in the order of the ids."""
    rows = [("1", 0), ("3", 1), ("10", 2), ("11", 3), ("3", 4), ("2", 4)]
    assert sequence(rows, identical_texts="merge", ties="item_id") == ["1", "10", "11", "2", "1"]
    assert sequence(rows, ties="item_id") == ["1", "3", "10", "11", "2", "3"]


def test_merging_is_counted(frames_of):
    rows = [("u", item, time) for time, item in enumerate(["1", "3", "10", "11"])]
    _, counts = apply_filters(frames_of(rows), FilterSettings(identical_texts="merge"), TEXT)
    steps = [(count.step, count.users, count.items, count.interactions) for count in counts]
    assert steps == [
        ("source", 1, 5, 4),
        ("unknown items", 1, 5, 4),
        ("items without a title", 1, 5, 4),
        ("identical texts merged", 1, 4, 4),
        ("consecutive duplicates", 1, 4, 3),
        ("users with 3 items or more", 1, 4, 3),
    ]


def test_items_without_a_title_go_with_their_interactions(frames_of):
    rows = [("u", item, time) for time, item in enumerate(["1", "2", "10", "11"])]
    frames = frames_of(rows)
    untitled = pl.when(pl.col("item_id") == "2").then(pl.lit("")).otherwise("title")
    frames = Frames(frames.items.with_columns(title=untitled), frames.interactions)
    frames, _ = apply_filters(frames, FilterSettings(), TEXT)
    assert frames.items["item_id"].to_list() == ["1", "3", "10", "11"]
    assert frames.interactions["item_id"].to_list() == ["1", "10", "11"]


def test_an_unknown_item_is_an_error_that_names_it_or_is_dropped(frames_of):
    rows = [("u", item, time) for time, item in enumerate(["1", "2", "99", "10"])]
    with pytest.raises(DataError, match=r"user 'u' has item '99'.*--unknown-items drop"):
        apply_filters(frames_of(rows), FilterSettings(), TEXT)
    frames, counts = apply_filters(frames_of(rows), FilterSettings(unknown_items="drop"), TEXT)
    assert frames.interactions["item_id"].to_list() == ["1", "2", "10"]
    assert [count.interactions for count in counts[:2]] == [4, 3]


@pytest.mark.parametrize(
    ("written", "known"), [("2.0", "2"), ("02", "2"), ("a-b", "A B"), ("PEN", "pen"), ("2", "002")]
)  # fmt: skip
def test_an_id_that_is_written_otherwise_among_the_items_is_named(frames_of, written, known):
    """Whether it is one of many or none fits, and also where unknown items may go."""
    frames = frames_of([("u", "1", 0), ("u", "10", 1), ("u", written, 2)])
    items = frames.items.with_columns(item_id=pl.col("item_id").replace({"2": known}))
    message = f"'{written}', which is not among the items .*: an item is '{written}' here and '{known}' there: write"
    with pytest.raises(DataError, match=message):
        apply_filters(Frames(items, frames.interactions), FilterSettings(), TEXT)
    with pytest.raises(DataError, match=message):
        apply_filters(Frames(items, frames.interactions.tail(1)), FilterSettings(unknown_items="drop"), TEXT)


def test_dropping_unknown_items_never_drops_all(frames_of):
    with pytest.raises(
        DataError, match=r"no interaction's item is; .* such as \['1'\]: give the column .*--item-column"
    ):
        apply_filters(frames_of([("u", "red", 0), ("u", "blue", 1)]), FilterSettings(unknown_items="drop"), TEXT)


def test_low_ratings_go_first_and_are_counted(frames_of):
    frames = frames_of([("u", item, place) for place, item in enumerate(("1", "99", "2", "10", "11"))])
    rated = Frames(frames.items, frames.interactions.with_columns(rating=pl.Series([4.0, 1.0, 3.5, 5.0, 4.0])))
    left, counts = apply_filters(rated, FilterSettings(), TEXT, min_rating=4)
    assert left.interactions["item_id"].to_list() == ["1", "10", "11"]
    assert [(count.step, count.interactions) for count in counts[:2]] == [("source", 5), ("rated 4 or more", 3)]
    with pytest.raises(DataError, match="nothing is rated 6 or more: lower --min-rating"):
        apply_filters(rated, FilterSettings(), TEXT, min_rating=6)


def test_the_catalogue_is_all_or_what_is_bought(frames_of):
    rows = [("u", item, time) for time, item in enumerate(["1", "2", "10"])]
    for catalogue, size in (("all", 5), ("bought", 3)):
        frames, _ = apply_filters(frames_of(rows), FilterSettings(catalogue=catalogue), TEXT)
        assert frames.items.height == size


def test_nobody_left_names_the_step(sequence):
    with pytest.raises(DataError, match=r"no user is left after the step 'users with 4 items or more'.*--min-length"):
        sequence([("1", 0), ("2", 1), ("10", 2)], min_length=4)


def test_sequences_too_short_to_split_cannot_be_asked_for():
    with pytest.raises(ValidationError, match="min_length"):
        FilterSettings(min_length=2)


@given(rows_of_three_users, st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_the_core_is_a_fixed_point(frames_of, rows, user_minimum, item_minimum, drop):
    rules = FilterSettings(drop_consecutive=drop)
    frames = frames_of(sorted(rows))
    left = core(frames, user_minimum, item_minimum, rules)
    again = core(left, user_minimum, item_minimum, rules)
    assert again.interactions.equals(left.interactions)
    for column, minimum in (("user_id", user_minimum), ("item_id", item_minimum)):
        assert all(count >= minimum for count in left.interactions[column].value_counts()["count"])
    if drop:
        pairs = left.interactions.select("user_id", "item_id").rows()
        assert all(one != two for one, two in pairwise(pairs))


@settings(max_examples=30)
@given(rows_of_three_users, st.integers(2, 3))
def test_the_core_is_the_largest(frames_of, rows, minimum):
    """Every set of users and items that have enough of each other lies within the core."""
    left = core(frames_of(sorted(rows)), minimum, minimum, FilterSettings(drop_consecutive=False)).interactions
    core_users, core_items = set(left["user_id"]), set(left["item_id"])
    for users in _subsets({row[0] for row in rows}):
        for items in _subsets({row[1] for row in rows}):
            kept = [row for row in rows if row[0] in users and row[1] in items]
            sizes = [*Counter(row[0] for row in kept).values(), *Counter(row[1] for row in kept).values()]
            if kept and min(sizes) >= minimum:
                assert {row[0] for row in kept} <= core_users
                assert {row[1] for row in kept} <= core_items


def _subsets(values):
    return chain.from_iterable(combinations(sorted(values), size) for size in range(1, len(values) + 1))
