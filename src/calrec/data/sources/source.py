"""What every source yields, and the cleaning that all of them share."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from calrec.data.sources.column import Column, column_of
from calrec.data.sources.ids import MISSING, plain_column, read_ids
from calrec.data.sources.options import SourceOptions
from calrec.data.sources.times import read_times
from calrec.errors import DataError

logger = logging.getLogger(__name__)

PAPER_ATTRIBUTES = ("title", "category", "brand", "price")
"""The attributes of the paper's item text."""

_ENTITY = re.compile(r"&(#\d+|#[xX][\da-fA-F]+|[A-Za-z][A-Za-z\d]*);")
_ADD = "add it, or leave such rows out with --drop-missing"


@dataclass(frozen=True)
class Source:
    """Raw data in the common form.

    Attributes:
        name: of the domain.
        form: of the source, e.g. ``amazon-2018``.
        items: ``item_id`` and attribute columns, all str, empty where unknown; ``title`` is always there.
        interactions: ``user_id``, ``item_id`` (str), ``timestamp`` (whole or float) and, where there are ratings,
            ``rating`` (float), in the source's order.
        files: name -> SHA-256 of every file that was read.
        text_attributes: the columns that make an item's text.
        defaults: filter settings in which this source differs from the general defaults.
        skipped_lines: how many bad lines were skipped.
        missing_rows: how many rows without a user, an item or a time were left out.
        ordered: whether the times only number each user's rows.
    """

    name: str
    form: str
    items: pl.DataFrame
    interactions: pl.DataFrame
    files: Mapping[str, str]
    text_attributes: Sequence[str]
    defaults: Mapping[str, object] = field(default_factory=dict)
    skipped_lines: int = 0
    missing_rows: int = 0
    ordered: bool = False


def paper_attributes(items: pl.DataFrame) -> tuple[str, ...]:
    """Those of the paper's attributes that the items have."""
    return tuple(name for name in PAPER_ATTRIBUTES if name in items.columns)


def clean_items(items: pl.DataFrame, path: Path, own_name: str = "item_id", drop_missing: bool = False) -> pl.DataFrame:
    """``item_id`` and attributes as clean str, each id once, in the order of the ids.

    Of several rows with one id one counts, the one whose attributes come last in the alphabet, the first that differs
    deciding: so it does not depend on the order of the rows. A warning says how many there were.

    Args:
        items: as they were read. path: from there.
        own_name: what the file calls the ids.
        drop_missing: leave out rows without an id.

    Raises:
        DataError: an item without an id, or ids or titles of a type that cannot be one.
    """
    ids = read_ids(column_of(items, "item_id", path, own_name))
    if ids.null_count() and not drop_missing:
        row = int(ids.is_null().arg_true()[0]) + 1
        raise DataError(f"{path}: {ids.null_count()} items have no id, the first in row {row} ({own_name}): {_ADD}")
    texts, others = {}, []
    for name in items.columns:
        if name == "item_id":
            continue
        text = _as_text(items[name])
        if text is None:
            others.append(f"{name} ({items[name].dtype})")
        else:
            texts[name] = text
    if "title" not in texts:
        raise DataError(f"{path}: the titles are no texts but {', '.join(others)}: write them as text")
    if others:
        logger.warning("%s: left out, for they are no texts: %s", path, ", ".join(others))
    attributes = list(texts)
    items = pl.DataFrame({"item_id": ids, **texts}).filter(pl.col("item_id").is_not_null())
    items = items.with_columns(clean_text(pl.col(name)) for name in attributes)
    in_order = items.sort(["item_id", *attributes], descending=[False, *(True for _ in attributes)])
    single = in_order.unique("item_id", keep="first", maintain_order=True)
    if len(single) < len(items):
        logger.warning("%s: %d rows repeat an id; one row of each id counts", path, len(items) - len(single))
    return single


def _as_text(column: pl.Series) -> pl.Series | None:
    """A column as str, lists of texts joined; None where its values are no text."""
    column = plain_column(column)
    kind = column.dtype
    if isinstance(kind, pl.List | pl.Array):
        if kind.inner not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return None
        column = column.cast(pl.List(pl.String)).list.drop_nulls().list.join(", ")
    elif kind.is_nested() or kind in (pl.Binary, pl.Duration, pl.Time, pl.Object):
        return None
    text: pl.Series = (column.fill_nan(None) if kind.is_float() else column).cast(pl.String)
    return text


def clean_text(column: pl.Expr) -> pl.Expr:
    """One line of text: HTML entities unescaped, runs of white space and control characters made one blank."""
    unescaped = column.cast(pl.String).fill_null("").map_elements(unescape, return_dtype=pl.String)
    return unescaped.str.replace_all(r"[\s\p{Cc}]+", " ").str.strip_chars()


def unescape(text: str) -> str:
    """Without HTML's entities, also where they were escaped twice: ``&amp;amp;`` -> ``&``."""
    once = html.unescape(text)
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), once)


def clean_interactions(
    interactions: pl.DataFrame,
    path: Path,
    options: SourceOptions | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, int]:
    """``user_id``, ``item_id``, ``timestamp`` and ``rating`` (where there is one) in their types.

    Args:
        interactions: as they were read. path: from there.
        options: how to read them.
        columns: the file's own names of the columns, where they are others.

    Returns:
        The rows in their order, and how many were left out because a value is missing.

    Raises:
        DataError: a value is missing, or is not what it should be; the row is named, counted from 1 without the header.
    """
    options = options or SourceOptions()
    found = {name: column_of(interactions, name, path, (columns or {}).get(name)) for name in interactions.columns}
    values = {name: read_ids(found[name]) for name in ("user_id", "item_id")}
    if not options.ordered:
        values["timestamp"] = _given(found["timestamp"].values)
    complete = pl.DataFrame(values).select(pl.all_horizontal(pl.all().is_not_null())).to_series()
    if not options.drop_missing:
        for name in values:
            found[name].require(values[name].is_not_null(), f"no {_WHAT[name]}: {_ADD}")
    frame = pl.DataFrame(values).filter(complete)
    if options.ordered:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len()).over("user_id"))
    else:
        times = replace(found["timestamp"], values=values["timestamp"]).where(complete)
        frame = frame.with_columns(timestamp=read_times(times, options.time_format))
    if "rating" in found:
        frame = frame.with_columns(rating=_ratings(found["rating"].where(complete), options.min_rating))
    return frame, int((~complete).sum())


_WHAT = {"user_id": "user is named", "item_id": "item is named", "timestamp": "time is given"}


def _given(times: pl.Series) -> pl.Series:
    """Times as they are written, null where there is none."""
    times = plain_column(times)
    if times.dtype == pl.String:
        return times.set(times.str.strip_chars().is_in(MISSING), None)
    return times.fill_nan(None) if times.dtype.is_float() else times


def _ratings(column: Column, needed: float | None) -> pl.Series:
    """Ratings as numbers; where they decide, each must be one."""
    values = plain_column(column.values)
    if values.dtype.is_nested() or values.dtype.is_temporal():
        values = pl.Series([None] * len(values), dtype=pl.Float64)
    numbers: pl.Series = values.cast(pl.Float64, strict=False)
    if needed is not None:
        column.require(numbers.is_finite(), "--min-rating needs a number in every row")
    return numbers
