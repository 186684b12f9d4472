"""Tables of one's own: CSV, Parquet or JSONL, one of interactions and one of items, with named columns."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import polars as pl

from calrec.data.sources.files import bare_name, file_hash, is_gzip, reading, require_columns
from calrec.data.sources.lines import read_whole_lines
from calrec.data.sources.source import (
    Source,
    SourceOptions,
    clean_interactions,
    clean_items,
    paper_attributes,
)
from calrec.errors import DataError


def read_tables(interactions: Path, items: Path, options: SourceOptions) -> Source:
    """Read two tables; further columns of the items are further attributes.

    Raises:
        DataError: a file cannot be read, or a column is missing.
    """
    bought, bad_interactions = read_table(interactions, options)
    described, bad_items = read_table(items, options)
    columns = [options.user_column, options.item_column, options.time_column]
    require_columns(bought, columns, interactions, "name it with --user-column, --item-column, --time-column")
    require_columns(
        described, [options.item_column, options.title_column], items, "name it with --item-column, --title-column"
    )
    own = dict(zip(("user_id", "item_id", "timestamp"), columns, strict=True))
    bought = bought.select(**{name: pl.col(column) for name, column in own.items()})
    named = {options.item_column: "item_id", options.title_column: "title"}
    for column, name in named.items():
        if column != name and name in described.columns:
            raise DataError(
                f"{items} has a column {name!r} beside {column!r}, which is to be it: rename one of the two"
            )
    described = described.rename(named)
    described = clean_items(described, items)
    name = bare_name(interactions)
    return Source(
        name=interactions.resolve().parent.name if name == "interactions" else name,
        form="tables",
        items=described,
        interactions=clean_interactions(bought, interactions, own),
        files={path.name: file_hash(path) for path in (interactions, items)},
        text_attributes=paper_attributes(described),
        skipped_lines=bad_interactions + bad_items,
    )


def read_table(path: Path, options: SourceOptions) -> tuple[pl.DataFrame, int]:
    """A CSV, Parquet or JSONL file, the first and the last plain or gzipped, and how many lines were skipped."""
    name = path.name.removesuffix(".gz")
    if name.endswith((".json", ".jsonl")):
        return read_whole_lines(path, options.skip_bad_lines)
    with reading(path):
        if name.endswith(".parquet"):
            return pl.read_parquet(path), 0
        if name.endswith(".csv"):
            return _read_csv(path, options.separator), 0
    raise DataError(f"{path}: unknown kind of table: give .csv, .parquet or .jsonl, or a .csv.gz or .jsonl.gz")


def _read_csv(path: Path, separator: str) -> pl.DataFrame:
    _require_readable_head(path, separator)
    try:
        # Ids stay as they are written ("007"); times are read where they are wanted.
        return pl.read_csv(path, infer_schema=False, separator=separator)
    except pl.exceptions.ComputeError as error:
        # polars names neither the line nor what to do.
        if "utf-8" in str(error):
            raise DataError(_no_utf8(path)) from None
        if "more fields" in str(error):
            raise DataError(_first_long_line(path, separator)) from None
        raise


def _require_readable_head(path: Path, separator: str) -> None:
    """Refuse what polars would read as one column, or as letters that nobody wrote."""
    with gzip.open(path) if is_gzip(path) else path.open("rb") as stream:
        head = next((line for line in stream if line.strip()), b"")
    try:
        names = head.decode("utf-8-sig")
    except UnicodeDecodeError:
        names = "\0"
    if "\0" in names:
        raise DataError(_no_utf8(path))
    others = [mark for mark in ";\t|," if mark in names.replace(separator, "")]
    if len(next(csv.reader([names], delimiter=separator))) == 1 and others:
        raise DataError(f"{path}: its columns stand between {others[0]!r}: add --separator {others[0]!r}")


def _no_utf8(path: Path) -> str:
    return f"{path} is not in UTF-8: save it as that, in a spreadsheet as 'CSV UTF-8'"


def _first_long_line(path: Path, separator: str) -> str:
    mend = f"put a field that holds {separator!r} in double quotes, or mend the line"
    with gzip.open(path, "rt", encoding="utf-8") if is_gzip(path) else path.open(encoding="utf-8") as stream:
        rows = csv.reader(stream, delimiter=separator)
        try:
            columns = len(next(row for row in rows if row))
            found = next(len(row) for row in rows if len(row) > columns)
        except (StopIteration, csv.Error):
            return f"{path}: a line has more fields than the first line names: {mend}"
        return f"{path}: line {rows.line_num} has {found} fields, and the first line names {columns}: {mend}"
