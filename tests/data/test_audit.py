from pathlib import Path

import polars as pl
import pytest

from calrec.data.audit import audit
from calrec.data.filters import FilterSettings
from calrec.data.prepare import build_domain


@pytest.fixture
def audited(shop):
    def measure(rows, **settings):
        return audit(build_domain(shop(rows), FilterSettings(**settings), Path("shop")))

    return measure


def test_counts_and_shares(audited):
    """u buys 1 2 1 2 with a tie before the target; v buys 10 11 3 and ends with an item that reads like 1."""
    report = audited(
        [("u", "1", 5), ("u", "2", 6), ("u", "1", 7), ("u", "2", 7), ("v", "10", 1), ("v", "11", 2), ("v", "3", 3)],
        ties="item_id",
    )
    assert (report.users, report.items, report.interactions, report.mean_length) == (2, 5, 7, 3.5)
    assert report.items_never_bought == 0
    assert report.repeats == pytest.approx(2 / 7)
    assert report.shared_times == pytest.approx(2 / 7)
    assert report.targets_tied == 0.5
    assert report.targets_seen_before == 0.5
    assert report.targets_never_trained == 0.5
    assert report.consecutive_repeats == 0
    assert not report.faults
    assert len(report.warnings) == 4
    rule = "50% of the targets were chosen by the rule for equal times, item_id, which methods may find"
    assert report.warnings[0].startswith(rule)


def test_the_ceiling_of_the_texts(audited):
    """One of two targets shares its text with one other item: drawn between the two, it is right half the time."""
    report = audited([("u", "10", 1), ("u", "11", 2), ("u", "1", 3), ("v", "10", 1), ("v", "11", 2), ("v", "2", 3)])
    assert (report.items_sharing_text, report.largest_text_group) == (2, 2)
    assert report.targets_with_unique_text == 0.5
    assert report.best_recall_at_1 == 0.75


def test_training_after_a_target(audited):
    """Training is each user's first, at 0, 10 and 3: two are later than u's target at 2, none than the others'."""
    times = {"u": (0, 1, 2), "v": (10, 11, 12), "w": (3, 4, 10.5)}
    rows = [(user, item, time) for user in times for item, time in zip(("1", "2", "3"), times[user], strict=True)]
    report = audited(rows)
    assert not report.times_are_positions
    assert report.training_after_target == pytest.approx(2 / 9)


def test_positions_are_no_times(audited):
    report = audited([(user, item, place) for user in "uv" for place, item in enumerate(("1", "2", "3"))])
    assert report.times_are_positions
    assert report.training_after_target is None


def test_dates_are_no_positions_even_if_all_begin_on_one_day(audited):
    day = 1_700_000_000
    report = audited([(user, item, day + place) for user in "uv" for place, item in enumerate(("1", "2", "3"))])
    assert not report.times_are_positions
    assert (report.first_time, report.last_time) == ("2023-11-14 22:13:20 UTC", "2023-11-14 22:13:22 UTC")


def test_the_rows_order_is_no_time_wherever_it_begins(shop):
    rows = [("u", "1", 1), ("u", "2", 2), ("u", "10", 3), ("v", "1", 0), ("v", "2", 2), ("v", "10", 3)]
    report = audit(build_domain(shop(rows, ordered=True), FilterSettings(), Path("shop")))
    assert report.times_are_positions
    assert (report.first_time, report.last_time) == ("0", "3")
    assert not audit(build_domain(shop(rows), FilterSettings(), Path("shop"))).times_are_positions


def test_kept_duplicates_are_warned_of(audited):
    report = audited([("u", "1", 0), ("u", "1", 1), ("u", "2", 2)], drop_consecutive=False)
    assert report.consecutive_repeats == 1
    assert "copying the last item is rewarded" in report.warnings[0]


def test_what_breaks_a_measurement(shop):
    """Such a domain cannot be prepared; it can be written by hand."""
    domain = build_domain(shop([("u", "1", 0), ("u", "2", 1), ("u", "10", 2)]), FilterSettings(), Path("shop"))
    for column, value, fault in (
        ("timestamps", [[2.0, 1.0, 0.0]], "1 users' times go back"),
        ("item_ids", [["1", "2", "99"]], "1 interactions have items that the catalogue lacks"),
    ):
        spoilt = type(domain)(
            domain.path, domain.items, domain.sequences.with_columns(pl.Series(column, value)), domain.manifest
        )
        assert fault in audit(spoilt).faults[0]
