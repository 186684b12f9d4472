"""Ids as they are written: never rounded, without blanks around them, and none where nobody is meant."""

from __future__ import annotations

import logging
from contextlib import suppress

import polars as pl

from calrec.data.sources.column import Column
from calrec.errors import DataError

logger = logging.getLogger(__name__)

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "NaT", "\\N")
"""Marks of R, pandas, MySQL, Hive and spreadsheets for a missing value."""

_EXACT = 2**53


def read_ids(column: Column) -> pl.Series:
    """Str ids, null where one is missing.

    Raises:
        DataError: the column is of a type that is no id, or has numbers that are not kept exactly.
    """
    values = plain_column(column.values)
    kind = values.dtype
    if kind.is_float() or kind.is_decimal():
        numbers = values.cast(pl.Float64).fill_nan(None)
        whole = numbers.is_null() | ((numbers % 1 == 0) & (numbers.abs() < _EXACT))
        column.require(whole, "as a fraction it may be rounded: write ids as whole numbers or as text")
        if kind.is_float() and not numbers.is_null().all():
            logger.warning("%s: %s has the type %s: read as whole numbers", column.path, column.name, kind)
        text: pl.Series = numbers.cast(pl.Int64).cast(pl.String)
        return text
    if not (kind == pl.String or kind.is_integer() or kind == pl.Null):
        raise DataError(f"{column.path}: {column.name} has the type {kind}, which is no id: write ids as text")
    text = values.cast(pl.String).str.strip_chars()
    if kind == pl.String:
        _warn_of_two_spellings(text, column)
    return text.set(text.is_in(MISSING), None)


def _warn_of_two_spellings(ids: pl.Series, column: Column) -> None:
    """Name an id that is written both ``12`` and ``12.0``, as numbers are that went through a float."""
    floats = ids.filter(ids.str.contains(r"^\d+\.0$"))
    both = floats.filter(floats.str.strip_suffix(".0").is_in(ids.implode())) if len(floats) else floats
    if len(both):
        one = both[0].removesuffix(".0")
        logger.warning(
            "%s: %s is written both %r and %r: two ids; write it alike if they are one (%d such ids)",
            *(column.path, column.name, one, both[0], both.n_unique()),
        )


def plain_column(column: pl.Series) -> pl.Series:
    """Categories, and bytes that are text, as text; of records with one field, such as ``$oid``, that field."""
    while isinstance(column.dtype, pl.Struct) and len(column.dtype.fields) == 1:
        inner = column.dtype.fields[0].name
        if not inner.startswith("$"):
            break
        column = column.struct.field(inner)
    if column.dtype in (pl.Categorical, pl.Enum, pl.Binary):
        with suppress(pl.exceptions.PolarsError):
            column = column.cast(pl.String)
    return column
