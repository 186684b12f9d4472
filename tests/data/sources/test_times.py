"""Times are read in exact forms, or named; where a message names an option, the option reads the file."""

import datetime
import re
from pathlib import Path

import polars as pl
import pytest

from calrec.data.sources.column import Column
from calrec.data.sources.times import read_times, shown
from calrec.errors import DataError

NOON = int(datetime.datetime(2024, 3, 9, 12, tzinfo=datetime.timezone.utc).timestamp())


def read(values, form=None, dtype=None):
    series = pl.Series(values, dtype=dtype)
    return read_times(Column(series, Path("shop.csv"), "when", pl.int_range(1, len(series) + 1, eager=True)), form)


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-09 12:00:00 UTC",
        "2024-03-09 12:00:00 GMT",
        "2024-03-09 12:00:00,000",
        "2024-03-09T12:00:00.000Z",
        "2024-03-09T14:00:00+02:00",
        "2024-03-09 14:00:00 +0200",
        "2024-03-09 12:00:00 +0000 UTC",
        "2024-03-09 12:00",
        "2024/03/09 12:00:00",
        "2024-3-9 12:00",
        "Sat Mar 09 12:00:00 +0000 2024",
        "Sat Mar 09 12:00:00 UTC 2024",
        "Sat Mar  9 12:00:00 2024",
        "Sat, 09 Mar 2024 14:00:00 +0200",
        f"{NOON}",
    ],
)
def test_what_can_be_read_in_one_way_only_is_read(text):
    times = read([text, text])
    assert times.to_list() == [NOON, NOON]
    assert times.dtype == pl.Int64


@pytest.mark.parametrize(
    "text",
    ["09-03-24", "24-03-09 12:00", "024-03-09", "2024-13-09", "2024-03-09 25:00", "2024-03-09 12:00 CET", "inf", "nan",
     "1e999", "0x10", "Sat Mar 09 12:00:00 2", "2024-03-09 12:00:00 UTC UTC"],
)  # fmt: skip
def test_what_is_in_no_exact_form_is_named(text):
    with pytest.raises(DataError, match=rf"shop.csv: row 2: when is '{text}': .*\(2 such rows\)"):
        read(["2024-03-09", text, "2024-03-10", text])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("09/03/2024 12:00", "day"),
        ("03/09/2024 12:00:00", "month"),
        ("9.3.2024 12:00", "day"),
        ("09-03-24 12:00", "day"),
        ("24-03-09 12:00", "year"),
        ("3/9/2024 12:00 PM", "month"),
        ("03/09/24 12:00:00PM", "month"),
    ],
)
def test_a_date_that_can_be_read_in_two_ways_is_read_by_the_form_in_the_message(text, part):
    with pytest.raises(DataError, match="add --time-format") as error:
        read([text])
    form = re.search(rf"'([^']+)' if the {part} comes first", str(error.value))[1]
    assert read([text], form).to_list() == [NOON]


def test_only_forms_that_read_all_dates_are_named():
    with pytest.raises(DataError) as error:
        read(["03/09/2024", "03/13/2024"])
    assert str(error.value) == (
        "shop.csv: row 1: when is '03/09/2024': add --time-format '%m/%d/%Y' if the month comes first (2 such rows)"
    )
    assert read(["03/09/2024", "03/13/2024"], "%m/%d/%Y").to_list() == [NOON - 12 * 3600, NOON + 7 * 43_200]


def test_a_form_is_exact_too():
    assert read(["09 March 2024"], "%d %B %Y").to_list() == [NOON - 12 * 3600]
    assert read([20240309], "%Y%m%d").to_list() == [NOON - 12 * 3600]
    assert read(["09/03/2024 14:00 +0200"], "%d/%m/%Y %H:%M %z").to_list() == [NOON]
    for text, form in (("09/03/24", "%d/%m/%Y"), ("2024-03-09", "%d/%m/%Y"), ("13/13/2024", "%d/%m/%Y")):
        with pytest.raises(DataError, match=rf"row 1: when is '{text}': --time-format '{form}' is another form"):
            read([text], form)
    with pytest.raises(DataError, match="--time-format"):
        read(["09/03"], "%d/%m")


def test_whole_numbers_stay_whole():
    nanoseconds = [NOON * 10**9 + 1, NOON * 10**9 + 2]
    for times in (read(nanoseconds), read([str(time) for time in nanoseconds])):
        assert (times.to_list(), times.dtype) == (nanoseconds, pl.Int64)
    assert read(["1.5", "2"]).to_list() == [1.5, 2.0]
    with pytest.raises(DataError, match="row 1: when is '9007199254740993': it is too large to be kept exactly"):
        read(["9007199254740993", "1.5"])
    with pytest.raises(DataError, match=r"row 2: when is .*: it is too large to be kept exactly beside fractions"):
        read([1.5, float(NOON * 10**9)])


def test_datetimes_keep_their_order():
    at = datetime.datetime(2024, 3, 9, 12)
    assert read([at]).to_list() == [NOON]
    assert read([at.date()]).to_list() == [NOON - 12 * 3600]
    assert read([at.replace(microsecond=250_000)]).to_list() == [NOON + 0.25]
    for unit, fine in (("ns", [NOON * 10**9 + 1, NOON * 10**9 + 2]), ("us", [NOON * 10**6 + 1, NOON * 10**6 + 2])):
        times = read(fine, dtype=pl.Datetime(unit)).to_list()
        assert times[0] < times[1]
    assert read(["2024-03-09 12:00:00.000000001", "2024-03-09 12:00:00"]).to_list() == [NOON * 10**9 + 1, NOON * 10**9]


def test_numbers_beside_dates_are_counted():
    with pytest.raises(DataError, match=r"row 3: when is '17': 1 of 3 are numbers, 2 are dates: write all"):
        read(["2024-03-09", "2024-03-10", "17"])


@pytest.mark.parametrize("others", [NOON * 1000, NOON * 10**6, NOON * 10**9])
def test_seconds_beside_other_units_are_named(others):
    for values in ([others, NOON, others], [str(others), str(NOON), str(others)]):
        with pytest.raises(DataError, match=r"row 2: when is '?\d+'?: of 3 times 1 in seconds, 2 in .*seconds: write"):
            read(values)
    assert read([NOON, 0, NOON]).to_list() == [NOON, 0, NOON]
    assert read([others, 0, others]).to_list() == [others, 0, others]


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ([NOON, -5], "row 2: when is 1969-12-31 23:59:55 UTC: 1 of 2 times lie before 1970"),
        ([NOON, 0], "row 2: when is 1970-01-01 00:00:00 UTC: 1 of 2 times lie before 1970 or where it begins"),
        (["2024-03-09", "0024-03-09"], "row 2: when is 0024-03-09 00:00:00 UTC: 1 of 2 times lie before 1970"),
        (["9999-12-31", "2024-03-09"], "row 1: when is 9999-12-31 00:00:00 UTC: 1 of 2 times lie after tomorrow"),
        ([NOON * 2, NOON], "lie after tomorrow"),
        ([NOON * 2000, NOON * 1000], "lie after tomorrow"),
    ],
)
def test_times_of_no_purchase_are_warned_of(caplog, values, warning):
    read(values)
    assert warning in caplog.text


def test_positions_are_not_warned_of(caplog):
    read([0, 1, 2])
    read([NOON, NOON + 1])
    assert not caplog.text


@pytest.mark.parametrize(
    ("values", "kind"),
    [([True], "Boolean"), ([datetime.time(12)], "Time"), ([datetime.timedelta(1)], "Duration"), ([[1]], "List"),
     ([b"\xff"], "Binary"), ([{"a": 1}], "Struct")],
)  # fmt: skip
def test_a_type_that_is_no_time_is_named(values, kind):
    with pytest.raises(DataError, match=rf"shop.csv: when has the type {kind}.*, which is no time"):
        read(values)


def test_infinite_times_are_named():
    with pytest.raises(DataError, match="row 2: when is inf: write it as"):
        read([1.0, float("inf")])


def test_times_are_shown_as_dates_or_as_they_are():
    assert shown(NOON * 1000, 1000) == "2024-03-09 12:00:00 UTC"
    assert (shown(1234, None), shown(10**40, 10**9)) == ("1,234", f"{10**40:,}")


def test_the_forms_in_the_docs_are_read():
    """All but the first line of each are the same moment as the others, but for fractions and the midnight."""
    text = Path(__file__).parents[3].joinpath("docs", "data.md").read_text(encoding="utf-8")
    block = re.search(r"four digits for the year:\n\n```text\n(.*?)```", text, re.DOTALL)[1]
    forms = re.split(r"\s{4,}|\n", block.strip())
    assert len(forms) == 10
    noon = 1714566600
    assert {int(read([form])[0]) for form in forms} == {noon, 1714521600}
