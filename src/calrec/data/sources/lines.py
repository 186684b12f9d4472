"""Files with one record a line: JSON, which polars reads, or the Python literals of 2014, which it cannot."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import polars as pl

from calrec.data.sources.files import is_gzip, reading
from calrec.errors import DataError

Schema = dict[str, pl.DataType]
Parse = Callable[[str], object]


def read_lines(path: Path, schema: Schema, required: list[str], skip_bad: bool) -> tuple[pl.DataFrame, int]:
    """The columns of ``schema`` from a file of records.

    Args:
        path: JSON or Python literals, one record a line, plain or gzipped.
        schema: the fields to read; a line without one has null there.
        required: fields without which a line is bad.
        skip_bad: skip bad lines instead of refusing the first.

    Returns:
        The records in the file's order, and how many lines were skipped.

    Raises:
        DataError: the file or a line of it cannot be read.
    """
    if is_literal(path):
        return _read_slowly(path, ast.literal_eval, schema, required, skip_bad)
    with reading(path):
        try:
            frame = pl.scan_ndjson(path, schema=schema).collect()
            if not frame.select(pl.any_horizontal(pl.col(required).is_null()).any()).item():
                return frame, 0
        except pl.exceptions.PolarsError:
            # polars does not say which line it was; the slow reader does, or skips it.
            pass
    return _read_slowly(path, json.loads, schema, required, skip_bad)


def first_record(path: Path) -> dict[str, object]:
    """The first record of a file, to tell its form by.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    parse: Parse = ast.literal_eval if is_literal(path) else json.loads
    for number, line in _numbered(path):
        return _record(parse, line, path, number, [])
    raise DataError(f"{path} is empty")


def is_literal(path: Path) -> bool:
    """Whether the records are Python literals: only these quote their keys with an apostrophe."""
    return next((line for _, line in _numbered(path)), "").replace(" ", "").startswith("{'")


def _read_slowly(
    path: Path, parse: Parse, schema: Schema, required: list[str], skip_bad: bool
) -> tuple[pl.DataFrame, int]:
    rows, skipped = [], 0
    for number, line in _numbered(path):
        try:
            record = _record(parse, line, path, number, required)
        except DataError:
            if not skip_bad:
                raise
            skipped += 1
        else:
            rows.append([_plain(record.get(name), kind) for name, kind in schema.items()])
    return pl.DataFrame(rows, schema=schema, orient="row"), skipped


def _record(parse: Parse, line: str, path: Path, number: int, required: list[str]) -> dict[str, object]:
    mend = "mend the line, or skip such lines with --skip-bad-lines"
    try:
        record = parse(line)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise DataError(f"{path}: line {number} is no record ({line.strip()[:40]!r}): {mend}") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: line {number} is no record ({line.strip()[:40]!r}): {mend}")
    missing = [name for name in required if record.get(name) is None]
    if missing:
        raise DataError(f"{path}: line {number} has no {', '.join(map(repr, missing))}: {mend}")
    return record


def _plain(value: object, kind: pl.DataType) -> object:
    """A value in the type of its column, as polars' own reader would give it."""
    if value is None:
        return None
    if kind == pl.List(pl.String):
        return [str(entry) for entry in value] if isinstance(value, list) else [str(value)]
    if kind == pl.String:
        return value if isinstance(value, str) else json.dumps(value)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, counted from 1; bytes that are no UTF-8 spoil their own line alone."""
    with reading(path):
        opened: IO[str]
        with (gzip.open if is_gzip(path) else open)(path, "rt", encoding="utf-8", errors="replace") as opened:
            for number, line in enumerate(opened, start=1):
                if line.strip():
                    yield number, line
