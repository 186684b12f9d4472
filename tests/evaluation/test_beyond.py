"""What results say beyond ranks, by hand on small rankings."""

import polars as pl
import pytest

from calrec.evaluation.beyond import beyond_accuracy, generations_column
from calrec.records import Generation


@pytest.fixture
def rankings(tiny_domain):
    ids = tiny_domain.catalogue.ids
    tops = [[ids[0], ids[1]], [ids[0]], []]
    targets = [example.target for example in tiny_domain.split("test")[:3]]
    return pl.DataFrame({"user_id": ["a", "b", "c"], "target": targets, "top_items": tops})


def test_coverage_and_popularity_are_those_of_the_ten_best(tiny_domain, rankings):
    bought = [item for history in tiny_domain.training_sequences() for item in history.item_ids]
    first, second = (bought.count(item) for item in tiny_domain.catalogue.ids[:2])
    of_targets = sum(map(bought.count, rankings["target"])) / 3
    numbers = beyond_accuracy(rankings, tiny_domain)
    assert numbers["coverage"] == 2 / len(tiny_domain.catalogue)
    assert numbers["popularity"] == pytest.approx((2 * first + second) / 3 / of_targets)
    assert set(numbers) == {"coverage", "popularity"}


def test_items_beyond_the_tenth_do_not_count(tiny_domain, rankings):
    ids = list(tiny_domain.catalogue.ids)
    longer = rankings.with_columns(top_items=pl.Series([[ids[0]] * 10 + [ids[1]], [ids[2]], []]))
    assert beyond_accuracy(longer, tiny_domain)["coverage"] == 2 / len(ids)


def test_texts_are_counted_by_their_samples(tiny_domain, rankings):
    written = [
        [Generation("Title: figs", (1,), -1.0, count=6, first=1), Generation("Title: dates", (2,), -2.0, count=2)],
        [Generation("Title: fi", (3,), -3.0, count=5, ended=False), Generation("", (4,), -9.0, count=3, first=2)],
        [Generation("Title: figs", (1,), -1.0, count=8)],
    ]
    column = generations_column(written, frozenset({"Title: figs"}), ["Title: dates", "Title: figs", "Title: figs"])
    ranks = pl.Series("rank_by_text", [11, 0, 2])
    numbers = beyond_accuracy(rankings.with_columns(column, ranks), tiny_domain)
    assert numbers["distinct"] == pytest.approx(5 / 3)
    assert numbers["exact"] == pytest.approx(14 / 24)
    assert numbers["invalid"] == pytest.approx(8 / 24)
    assert column[0].to_list()[0] == {
        "text": "Title: figs",
        "log_prob": -1.0,
        "count": 6,
        "first": 1,
        "ended": True,
        "exact": True,
        "target": False,
    }
    assert numbers["target written"] == pytest.approx(2 / 3)
    assert numbers["target lost"] == pytest.approx(1 / 3)
