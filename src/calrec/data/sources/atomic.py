"""RecBole's atomic files: tab-separated, a header of ``name:type``, plain or gzipped."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from calrec.data.sources.files import bare_name, file_hash, reading, require_columns
from calrec.data.sources.source import Source, clean_interactions, clean_items, paper_attributes

NAMES = {"movie_title": "title", "categories": "category", "class": "category", "release_year": "year"}
"""What published atomic files call the attributes."""


def read_atomic(interactions: Path, items: Path) -> Source:
    """Read ``X.inter`` and ``X.item``.

    Raises:
        DataError: a file cannot be read, or a column is missing.
    """
    bought, described = read_table(interactions), read_table(items)
    require_columns(
        bought, ["user_id", "item_id", "timestamp"], interactions, "an atomic file names them in its header"
    )
    new_names = {old: new for old, new in NAMES.items() if old in described.columns and new not in described.columns}
    described = described.rename(new_names)
    require_columns(described, ["item_id", "title"], items, "items are recommended by their titles")
    described = clean_items(described, items)
    return Source(
        name=bare_name(interactions),
        form="atomic",
        items=described,
        interactions=clean_interactions(bought, interactions),
        files={path.name: file_hash(path) for path in (interactions, items)},
        text_attributes=paper_attributes(described),
    )


def read_table(path: Path) -> pl.DataFrame:
    """An atomic file as str columns without the types in their names."""
    with reading(path):
        table = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)
    return table.rename(lambda name: name.split(":", maxsplit=1)[0])
