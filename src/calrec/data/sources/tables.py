"""Tables of one's own, and RecBole's: text with separators, Parquet or JSON, with named columns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from calrec.data.sources.delimited import Layout, read_delimited
from calrec.data.sources.files import bare_name, content, file_hash, plain_name, reading
from calrec.data.sources.lines import first_fraction, read_whole_lines
from calrec.data.sources.options import SourceOptions
from calrec.data.sources.source import Source, clean_interactions, clean_items, paper_attributes
from calrec.data.sources.times import looks_like_time, unit_of
from calrec.errors import DataError

logger = logging.getLogger(__name__)

NAMES = {"movie_title": "title", "categories": "category", "class": "category", "release_year": "year"}
"""Names of attributes in published atomic files."""

JSON = (".json", ".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
ATOMIC = (".inter", ".item")
TABS = (".tsv", ".tab", *ATOMIC)
TEXT = (".csv", ".txt", ".dat", ".data", *TABS)
ENDINGS = (*JSON, *PARQUET, *TEXT)


def read_tables(interactions: Sequence[Path], items: Sequence[Path], options: SourceOptions) -> Source:
    """Read interactions and items, each from one file or from several with the same columns.

    Further columns of the items are further attributes.

    Raises:
        DataError: a file cannot be read, or a column is missing.
    """
    own = {"user_id": options.user_column, "item_id": options.item_column}
    if not options.ordered:
        own["timestamp"] = options.time_column
    tables = [read_table(path, options) for path in interactions]
    for (frame, _), path in zip(tables, interactions, strict=True):
        _require_same_columns(frame, tables[0][0], path, interactions[0])
    if options.rating_column in tables[0][0].columns:
        own["rating"] = options.rating_column
    parts, skipped, missing = [], 0, 0
    for (frame, bad), path in zip(tables, interactions, strict=True):
        _require_columns(frame, own, path, options, of_items=False)
        chosen = frame.select(**{name: pl.col(column) for name, column in own.items()})
        _require_exact_ids(chosen, own, path)
        cleaned, dropped = clean_interactions(chosen, path, options, own)
        parts.append(cleaned)
        skipped, missing = skipped + bad, missing + dropped
    described, bad_items = _read_items(items, interactions, options)
    name = bare_name(interactions[0])
    if len(interactions) > 1 or name == "interactions":
        name = bare_name(interactions[0].resolve().parent)
    return Source(
        name=name,
        form="atomic" if plain_name(interactions[0]).endswith(".inter") else "tables",
        items=described,
        interactions=_joined(parts, interactions, options.ordered),
        files=_hashes([*interactions, *items]),
        text_attributes=paper_attributes(described),
        skipped_lines=skipped + bad_items,
        missing_rows=missing,
        ordered=options.ordered,
    )


def _read_items(
    paths: Sequence[Path], interactions: Sequence[Path], options: SourceOptions
) -> tuple[pl.DataFrame, int]:
    own = {"item_id": options.items_item_column or options.item_column, "title": options.title_column}
    if own["item_id"] == own["title"]:
        raise DataError(f"{own['title']!r} cannot be both the ids and the titles: name another --title-column")
    frames, skipped = [], 0
    for path in paths:
        shared = path in interactions
        frame, bad = read_table(path, options, of_items=not shared)
        if plain_name(path).endswith(".item"):
            new = {old: name for old, name in NAMES.items() if old in frame.columns and name not in frame.columns}
            frame = frame.rename({old: name for old, name in new.items() if old not in own.values()})
        _require_columns(frame, own, path, options, of_items=True)
        for name, column in own.items():
            if column != name and name in frame.columns:
                raise DataError(
                    f"{path} has a column {name!r} beside {column!r}, which is to be it: rename one of the two"
                )
        frame = frame.rename({column: name for name, column in own.items()})
        _require_exact_ids(frame, own, path)
        if shared:
            frame = _attributes_only(frame, path, options)
        skipped += 0 if shared else bad
        frames.append(clean_items(frame, path, own["item_id"], options.drop_missing))
    for frame, path in zip(frames, paths, strict=True):
        _require_same_columns(frame, frames[0], path, paths[0])
    if len(frames) == 1:
        return frames[0], skipped
    return clean_items(pl.concat([frame.select(frames[0].columns) for frame in frames]), paths[0].parent), skipped


def _attributes_only(frame: pl.DataFrame, path: Path, options: SourceOptions) -> pl.DataFrame:
    """Keep the columns of purchases with titles that are the same in all rows of an item."""
    frame = frame.drop([options.user_column, options.time_column, options.rating_column], strict=False)
    # Lists and records cannot be compared; they stay, or are left out as no texts.
    flat = [name for name in frame.columns if not frame[name].dtype.is_nested()]
    rest = [name for name in flat if name not in ("item_id", "title")]
    varies = frame.group_by("item_id").agg(pl.col(rest).n_unique()) if rest else pl.DataFrame()
    purchases = [name for name in rest if (varies[name] > 1).any()]
    if purchases:
        logger.warning("%s: left out, for they differ between purchases of an item: %s", path, ", ".join(purchases))
    return frame.drop(purchases).unique([name for name in flat if name not in purchases], maintain_order=True)


def read_table(path: Path, options: SourceOptions, of_items: bool = False) -> tuple[pl.DataFrame, int]:
    """A table of the kind that its name says, and how many lines were skipped."""
    with reading(path):
        name = plain_name(path)
    named = options.items_columns if of_items else options.columns
    if named and name.endswith((*JSON, *PARQUET)):
        raise DataError(f"{path} names its columns itself: leave {'--items-columns' if of_items else '--columns'} out")
    if name.endswith(JSON):
        return read_whole_lines(path, options.skip_bad_lines)
    with reading(path):
        if name.endswith(PARQUET):
            return pl.read_parquet(content(path)), 0
        if name.endswith(TEXT):
            frame = read_delimited(path, _layout(name, options, of_items))
            if name.endswith(ATOMIC) and not named:
                frame = frame.rename(lambda column: column.split(":", maxsplit=1)[0])
            return frame, 0
    raise DataError(
        f"{path}: unknown kind of table: give .csv, .tsv, .dat, .parquet or .jsonl, as it is or as .gz, .zst or .zip"
    )


def _layout(name: str, options: SourceOptions, of_items: bool) -> Layout:
    separator = (options.items_separator if of_items else None) or options.separator
    return Layout(
        separator=separator or ("\t" if name.endswith(TABS) else ","),
        quotes=options.quotes or ("letters" if name.endswith(ATOMIC) else None),
        encoding=options.encoding,
        columns=options.items_columns if of_items else options.columns,
        columns_option="--items-columns" if of_items else "--columns",
        separator_option="--items-separator" if of_items else "--separator",
    )


_OPTION = {
    "user_id": "--user-column", "item_id": "--item-column", "timestamp": "--time-column", "title": "--title-column",
}  # fmt: skip


def _require_columns(
    frame: pl.DataFrame, own: Mapping[str, str], path: Path, options: SourceOptions, of_items: bool
) -> None:
    """Refuse a table without the columns wanted, or whose names are its first row."""
    columns = [column for name, column in own.items() if name != "rating"]
    missing = [name for name, column in own.items() if column not in frame.columns and name != "rating"]
    option = "--items-columns" if of_items else "--columns"
    named = options.items_columns if of_items else options.columns
    data = not named and plain_name(path).endswith(TEXT)
    if data and any(map(looks_like_time, frame.columns if missing else columns)):
        example = "item_id,title" if of_items else "user_id,item_id,rating,timestamp"
        raise DataError(
            f"{path}: the first row ({', '.join(frame.columns)}) is no header but data: name the {frame.width} columns "
            f"in their order, as in {option} {example}"
        )
    if not missing:
        return
    options_of = [_OPTION[name] for name in missing]
    if of_items:
        options_of = ["--items-item-column" if name == "--item-column" else name for name in options_of]
    fix = f"name it with {', '.join(options_of)}"
    if data:
        fix += f", or if the first row is no header, all columns with {option}"
    if "timestamp" in missing:
        fix += "; without times, --ordered takes the rows' order"
    wanted = ", ".join(repr(own[name]) for name in missing)
    raise DataError(f"{path} has no column {wanted} (it has {frame.columns}): {fix}")


def _require_exact_ids(frame: pl.DataFrame, own: Mapping[str, str], path: Path) -> None:
    """Name the line of a JSON file where one number with a point made fractions, perhaps rounded ones, of all ids."""
    if not plain_name(path).endswith(JSON):
        return
    for name in ("user_id", "item_id"):
        if name not in frame.columns or not frame[name].dtype.is_float():
            continue
        ids = frame[name].drop_nulls()
        if ((ids % 1 != 0) | (ids.abs() >= 2**53)).any() and (found := first_fraction(path, own[name])):
            raise DataError(
                f"{path}: line {found[0]}: {own[name]} is {found[1]}, a number with a point among ids: "
                "write it as a whole number, or in quotes"
            )


def _require_same_columns(frame: pl.DataFrame, first: pl.DataFrame, path: Path, first_path: Path) -> None:
    if set(frame.columns) != set(first.columns):
        raise DataError(
            f"{path} and {first_path} have other columns ({', '.join(frame.columns)}; {', '.join(first.columns)}): "
            "parts of one table need the same: name the files that are meant, and that of the items with --items"
        )


def _joined(parts: Sequence[pl.DataFrame], paths: Sequence[Path], ordered: bool) -> pl.DataFrame:
    filled = [(part, path) for part, path in zip(parts, paths, strict=True) if part.height] or [(parts[0], paths[0])]
    first, first_path = filled[0]
    for part, path in filled:
        if unit_of(part["timestamp"]) != unit_of(first["timestamp"]):
            raise DataError(f"{path} and {first_path} have times in other units: write all of them in one unit")
    joined = pl.concat([part.select(first.columns) for part, _ in filled], how="vertical_relaxed")
    return joined.with_columns(timestamp=pl.int_range(pl.len()).over("user_id")) if ordered else joined


def _hashes(paths: Sequence[Path]) -> dict[str, str]:
    """SHA-256 by name; of two files of one name, with the folder's."""
    unique = list(dict.fromkeys(paths))
    names = [path.name for path in unique]
    return {
        path.name if names.count(path.name) == 1 else f"{path.resolve().parent.name}/{path.name}": file_hash(path)
        for path in unique
    }
