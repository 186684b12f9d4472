"""What every source yields, and the cleaning that all of them share."""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from pydantic import Field, field_validator

from calrec.errors import DataError
from calrec.settings import Settings

logger = logging.getLogger(__name__)

PAPER_ATTRIBUTES = ("title", "category", "brand", "price")
"""The attributes of the paper's item text."""

_DATES = (
    *("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z"),
    *("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M%#z", "%Y-%m-%d"),
)

_SEPARATORS = (",", ";", "\t", "|", ":", " ", "^", "~")
_FORMS = "a number, 2024-05-01 or 2024-05-01 12:30:00, with or without +02:00"


class SourceOptions(Settings):
    """How to read, where the source leaves a choice.

    Attributes:
        items: the file of the items, where the source's own name does not tell.
        user_column: name of the users' column of a table.
        item_column: name of the items' column of a table, in both files.
        time_column: name of the times' column of a table.
        title_column: name of the titles' column of a table.
        separator: between the columns of a CSV, one character.
        name: of the domain, where the source's own name will not do.
        skip_bad_lines: skip and count the JSON lines that cannot be read.
    """

    items: Path | None = None
    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    title_column: str = "title"
    separator: str = ","
    name: str | None = Field(default=None, min_length=1)
    skip_bad_lines: bool = False

    @field_validator("separator")
    @classmethod
    def _separates(cls, separator: str) -> str:
        if separator not in _SEPARATORS:
            raise ValueError(f"columns can stand between {', '.join(map(repr, _SEPARATORS))}")
        return separator


@dataclass(frozen=True)
class Source:
    """Raw data in the common form.

    Attributes:
        name: of the domain.
        form: of the source, e.g. ``amazon-2018``.
        items: ``item_id`` and attribute columns, all str, empty where unknown; ``title`` is always there.
        interactions: ``user_id``, ``item_id`` (str) and ``timestamp`` (float), in the source's order.
        files: name -> SHA-256 of every file that was read.
        text_attributes: the columns that make an item's text.
        defaults: filter settings in which this source differs from the general defaults.
        skipped_lines: how many bad lines were skipped.
    """

    name: str
    form: str
    items: pl.DataFrame
    interactions: pl.DataFrame
    files: Mapping[str, str]
    text_attributes: Sequence[str]
    defaults: Mapping[str, object] = field(default_factory=dict)
    skipped_lines: int = 0


def paper_attributes(items: pl.DataFrame) -> tuple[str, ...]:
    """Those of the paper's attributes that the items have."""
    return tuple(name for name in PAPER_ATTRIBUTES if name in items.columns)


def clean_items(items: pl.DataFrame, path: Path) -> pl.DataFrame:
    """``item_id`` and attributes as clean str, each id once, in the order of the ids.

    Of several rows with one id one counts, the one whose attributes come last in the alphabet, the first that differs
    deciding: so it does not depend on the order of the rows. A warning says how many there were.

    Raises:
        DataError: an item without an id.
    """
    missing = items["item_id"].null_count()
    if missing:
        raise DataError(f"{path}: {missing} items have no id: give each an id, or leave it out")
    attributes = [name for name in items.columns if name != "item_id"]
    items = items.select(pl.col("item_id").cast(pl.String), *(clean_text(pl.col(name)) for name in attributes))
    in_order = items.sort(["item_id", *attributes], descending=[False, *(True for _ in attributes)])
    single = in_order.unique("item_id", keep="first", maintain_order=True)
    if len(single) < len(items):
        logger.warning("%s: %d rows repeat an id; one row of each id counts", path, len(items) - len(single))
    return single


def clean_text(column: pl.Expr) -> pl.Expr:
    """One line of text: HTML entities unescaped, runs of white space and control characters made one blank."""
    unescaped = column.cast(pl.String).fill_null("").map_elements(html.unescape, return_dtype=pl.String)
    return unescaped.str.replace_all(r"[\s\p{Cc}]+", " ").str.strip_chars()


def clean_interactions(
    interactions: pl.DataFrame, path: Path, columns: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """``user_id``, ``item_id`` and ``timestamp`` in their types; datetimes become seconds since 1970.

    Args:
        interactions: as they were read. path: from there.
        columns: the file's own names of the three, where they are others.

    Raises:
        DataError: a value is missing or is no time; the row is named, counted from 1 without the header.
    """
    frame = interactions.select(
        pl.col("user_id").cast(pl.String),
        pl.col("item_id").cast(pl.String),
        _seconds(interactions["timestamp"]).alias("timestamp"),
    )
    for name in frame.columns:
        bad = frame[name].is_null()
        if bad.any():
            row = bad.arg_max() or 0
            value, column = interactions[name][row], (columns or {}).get(name, name)
            said = "empty" if value is None else repr(value)
            forms = f"write it as {_FORMS}" if name == "timestamp" and value is not None else "mend or remove it"
            raise DataError(f"{path}: row {row + 1}: {column} is {said}: {forms} ({bad.sum()} such rows)")
    return frame


def _seconds(times: pl.Series) -> pl.Series:
    """Numbers as they are, dates and their texts (ISO 8601) as seconds since 1970; null where a value is neither."""
    if times.dtype.is_temporal():
        return _epoch(times.cast(pl.Datetime("us")))
    numbers: pl.Series = times.cast(pl.Float64, strict=False).fill_nan(None)
    if times.dtype != pl.String:
        return numbers
    iso = times.str.replace("T", " ", literal=True).str.strip_suffix("Z")
    forms = [_epoch(iso.str.to_datetime(form, time_unit="us", strict=False)) for form in _DATES]
    dates: pl.Series = pl.select(pl.coalesce(*forms)).to_series()
    # Numbers or dates, what makes sense of more values, so that what it cannot read is what is wrong.
    return numbers if numbers.null_count() <= dates.null_count() else dates


def _epoch(times: pl.Series) -> pl.Series:
    seconds: pl.Series = times.dt.epoch("us").cast(pl.Float64) / 1e6
    return seconds
