"""Tables of one's own: CSV, Parquet or JSONL, one of interactions and one of items, with named columns."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from calrec.data.sources.files import bare_name, file_hash, reading, require_columns
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
    bought, described = read_table(interactions), read_table(items)
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
    )


def read_table(path: Path) -> pl.DataFrame:
    """A CSV, Parquet or JSONL file, the first and the last plain or gzipped."""
    name = path.name.removesuffix(".gz")
    with reading(path):
        if name.endswith(".parquet"):
            return pl.read_parquet(path)
        if name.endswith(".csv"):
            # Ids stay as they are written ("007"); numbers and times are read where they are wanted.
            return pl.read_csv(path, infer_schema=False)
        if name.endswith((".json", ".jsonl")):
            return pl.read_ndjson(path, infer_schema_length=None)
    raise DataError(f"{path}: unknown kind of table: give .csv, .parquet or .jsonl, or these with .gz")
