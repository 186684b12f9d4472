from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from calrec.data.sources.column import Column
from calrec.data.sources.ids import MISSING, plain_column, read_ids
from calrec.errors import DataError

BIG = 76561197960265729


def read(values, dtype=None):
    series = pl.Series(values, dtype=dtype)
    return read_ids(Column(series, Path("shop.csv"), "who", pl.int_range(1, len(series) + 1, eager=True))).to_list()


def test_ids_stay_as_they_are_written():
    assert read(["007", "7", "-1", "1.0", "1e5", "Na"]) == ["007", "7", "-1", "1.0", "1e5", "Na"]
    assert read([BIG, BIG + 1]) == [str(BIG), str(BIG + 1)]
    assert read([2**64 - 1, 2**64 - 2], pl.UInt64) == ["18446744073709551615", "18446744073709551614"]


def test_two_spellings_of_a_number_stay_two_ids_and_are_named(caplog):
    assert read(["12", "12.0", "7.0", "12.0"]) == ["12", "12.0", "7.0", "12.0"]
    assert "who is written both '12' and '12.0': two ids; write it alike if they are one (1 such ids)" in caplog.text


def test_blanks_around_ids_are_no_part_of_them():
    assert read([" u1", "u1\t", "u1\u00a0", "u 1"]) == ["u1", "u1", "u1", "u 1"]


@pytest.mark.parametrize("written", [*MISSING, "  ", " NA "])
def test_what_stands_for_a_missing_value_is_no_id(written):
    assert read(["u", written]) == ["u", None]


def test_missing_numbers_are_no_ids():
    assert read([1.0, None, float("nan")]) == ["1", None, None]
    assert read([None], pl.Null) == [None]


def test_floats_are_whole_numbers_or_refused(caplog):
    assert read([12.0, 7.0]) == ["12", "7"]
    assert "who has the type Float64: read as whole numbers" in caplog.text
    assert read([Decimal("12.00")]) == ["12"]
    for value in (0.5, float(BIG), float("inf")):
        with pytest.raises(DataError, match=r"shop.csv: row 2: who is .*: as a fraction it may be rounded"):
            read([1.0, value])


def test_categories_and_bytes_of_text_are_text():
    assert read(["a", "b"], pl.Categorical) == ["a", "b"]
    assert read(["a", "b"], pl.Enum(["a", "b"])) == ["a", "b"]
    assert read([b"a", b"b"]) == ["a", "b"]


def test_records_of_one_field_are_that_field():
    assert read([{"$oid": "abc"}, {"$oid": "NA"}]) == ["abc", None]
    nested = plain_column(pl.Series([{"$date": {"$numberLong": "5"}}]))
    assert nested.to_list() == ["5"]


@pytest.mark.parametrize("values", [[True], [["a"]], [{"a": 1}], [b"\xff"]])
def test_a_type_that_is_no_id_is_named(values):
    with pytest.raises(DataError, match=r"shop.csv: who has the type .*, which is no id: write ids as text"):
        read(values)
