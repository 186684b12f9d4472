"""Tables of one's own: CSV, Parquet or JSONL, one of interactions and one of items, with named columns."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from calrec.data.sources.files import bare_name, file_hash, reading, require_columns
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
    bought, bad_interactions = read_table(interactions, options.skip_bad_lines)
    described, bad_items = read_table(items, options.skip_bad_lines)
    columns = [options.user_column, options.item_column, options.time_column]
    require_columns(bought, columns, interactions, "name it with --user-column, --item-column, --time-column")
    require_columns(
        described, [options.item_column, options.title_column], items, "name it with --item-column, --title-column"
    )
    bought = bought.select(columns).rename(dict(zip(columns, ("user_id", "item_id", "timestamp"), strict=True)))
    described = described.rename({options.item_column: "item_id", options.title_column: "title"})
    described = clean_items(described, items)
    name = bare_name(interactions)
    return Source(
        name=interactions.resolve().parent.name if name == "interactions" else name,
        form="tables",
        items=described,
        interactions=clean_interactions(bought, interactions),
        files={path.name: file_hash(path) for path in (interactions, items)},
        text_attributes=paper_attributes(described),
        skipped_lines=bad_interactions + bad_items,
    )


def read_table(path: Path, skip_bad_lines: bool) -> tuple[pl.DataFrame, int]:
    """A CSV, Parquet or JSONL file, the first and the last plain or gzipped, and how many lines were skipped."""
    name = path.name.removesuffix(".gz")
    if name.endswith((".json", ".jsonl")):
        return read_whole_lines(path, skip_bad_lines)
    with reading(path):
        if name.endswith(".parquet"):
            return pl.read_parquet(path), 0
        if name.endswith(".csv"):
            # Ids stay as they are written ("007"); times are read where they are wanted.
            return pl.read_csv(path, infer_schema=False), 0
    raise DataError(f"{path}: unknown kind of table: give .csv, .parquet or .jsonl, or a .csv.gz or .jsonl.gz")
