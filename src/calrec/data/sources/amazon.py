"""Amazon Reviews of 2014, 2018 and 2023: a file of reviews and a file of metadata."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from calrec.data.sources.files import bare_name, file_hash
from calrec.data.sources.lines import Record, Schema, first_record, read_lines
from calrec.data.sources.options import SourceOptions
from calrec.data.sources.source import Source, clean_interactions, clean_items, paper_attributes
from calrec.errors import DataError

_TEXTS = pl.List(pl.String)
_PRICE = r"^\$\d[\d,]*(\.\d+)?( - \$\d[\d,]*(\.\d+)?)?$"
_LONGEST_LEVEL = 50


def read_amazon(reviews: Path, metadata: Path, options: SourceOptions | None = None) -> Source:
    """Read a category; the names of the fields say of which year each file is.

    Raises:
        DataError: a file or a line of it cannot be read, or a field is missing.
    """
    options = options or SourceOptions()
    skip = options.skip_bad_lines
    year, review = _year(first_record(metadata, skip), metadata), first_record(reviews, skip)
    item = "parent_asin" if year == "2023" else "asin"
    own = _REVIEWS if "user_id" in review or "parent_asin" in review else _OLD_REVIEWS
    if own is _REVIEWS and year != "2023" and "asin" in review:
        # Before 2023 metadata list each variant of a product by itself.
        own = {**own, "item_id": "asin"}
    schema = {name: pl.Float64() if column in ("timestamp", "rating") else pl.String() for column, name in own.items()}
    required = [own[column] for column in ("user_id", "item_id", "timestamp")]
    bought, bad_reviews = read_lines(reviews, schema, required, skip)
    described, bad_items = read_lines(metadata, {item: pl.String(), **_FIELDS[year]}, [item], skip)
    items = clean_items(described.select(pl.col(item).alias("item_id"), *_attributes(year)), metadata)
    interactions, missing = clean_interactions(
        bought.rename({name: column for column, name in own.items()}), reviews, options, own
    )
    return Source(
        name=bare_name(reviews).removesuffix("_5").removeprefix("reviews_"),
        form=f"amazon-{year}",
        items=items,
        interactions=interactions,
        files={path.name: file_hash(path) for path in (reviews, metadata)},
        text_attributes=paper_attributes(items),
        # The metadata list whatever the shop has, most of it never reviewed.
        defaults={"catalogue": "bought"},
        skipped_lines=bad_reviews + bad_items,
        missing_rows=missing,
    )


_OLD_REVIEWS = {"user_id": "reviewerID", "item_id": "asin", "timestamp": "unixReviewTime", "rating": "overall"}
_REVIEWS = {"user_id": "user_id", "item_id": "parent_asin", "timestamp": "timestamp", "rating": "rating"}
"""Names of the reviews' columns until 2018, and in 2023."""

_FIELDS: dict[str, Schema] = {
    "2014": {"title": pl.String(), "categories": pl.List(_TEXTS), "brand": pl.String(), "price": pl.String()},
    "2018": {"title": pl.String(), "category": _TEXTS, "brand": pl.String(), "price": pl.String()},
    "2023": {
        "title": pl.String(), "main_category": pl.String(), "categories": _TEXTS, "store": pl.String(),
        "price": pl.String(),
    },
}  # fmt: skip


def _year(record: Record, metadata: Path) -> str:
    if "parent_asin" in record:
        return "2023"
    if "asin" not in record:
        raise DataError(f"{metadata}: the first record has neither 'asin' nor 'parent_asin': give Amazon's metadata")
    return "2014" if "categories" in record or "category" not in record else "2018"


def _attributes(year: str) -> list[pl.Expr]:
    brand = "store" if year == "2023" else "brand"
    return [_title(), _category(year), _brand(brand), _price()]


def _title() -> pl.Expr:
    """Without the markup; some titles of 2018 are scripts of the page that was crawled."""
    script = pl.col("title").str.contains("getTime|function *\\(")
    return pl.when(script).then(None).otherwise(_without_markup("title")).alias("title")


def _brand(column: str) -> pl.Expr:
    return _without_markup(column).str.replace(r"^\s*by\s+", "").alias("brand")


def _category(year: str) -> pl.Expr:
    """Levels below the first, which is the domain itself; where there is none, the first.

    In 2018 the list may go on with bullet points of the page: it ends at the first entry that looks like one.
    """
    levels = pl.col("category") if year == "2018" else pl.col("categories")
    if year == "2014":
        levels = levels.list.first()
    entry = pl.element()
    prose = entry.str.contains(r"<|[.!]$") | (entry.str.len_chars() > _LONGEST_LEVEL)
    levels = levels.list.eval(entry.filter(~prose.cum_max()))
    below = levels.list.slice(1).list.join(", ")
    name = pl.when(below != "").then(below).otherwise(levels.list.first())
    if year == "2023":
        name = pl.coalesce(name, pl.col("main_category"))
    return name.alias("category")


def _price() -> pl.Expr:
    """``$12.50`` or a range of two; whatever is no price, or nothing, is unknown."""
    text = pl.col("price").str.strip_chars().str.replace(r"^(\d)", "$$$1").str.replace(r"(\.\d)$", "${1}0")
    price = text.str.contains(_PRICE) & text.str.contains("[1-9]")
    return pl.when(price).then(text).otherwise(None).alias("price")


def _without_markup(column: str) -> pl.Expr:
    return pl.col(column).str.replace_all(r"</?[A-Za-z][^>]*>", " ")
