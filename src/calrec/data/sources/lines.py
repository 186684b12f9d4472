"""Files of records: JSON, one a line or one list, or the Python literals of 2014."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from calrec.data.sources.files import byte_lines, content, reading
from calrec.errors import DataError

Schema = dict[str, pl.DataType]
Record = dict[str, Any]

_FIX = "correct the line, or skip such lines with --skip-bad-lines"


def read_lines(
    path: Path, schema: Mapping[str, pl.DataType], required: Sequence[str], skip_bad: bool
) -> tuple[pl.DataFrame, int]:
    """The fields of ``schema`` from a file of records.

    Args:
        path: JSON or Python literals, one record a line, plain or gzipped.
        schema: the fields to read; a record without one has null there.
        required: fields without which, or with a value of another type, a line is bad.
        skip_bad: skip bad lines instead of refusing the first.

    Returns:
        The records in the file's order, and how many lines were skipped.

    Raises:
        DataError: the file or a line of it cannot be read.
    """
    if not (is_literal(path) or is_list(path)):
        with reading(path):
            try:
                frame = pl.scan_ndjson(content(path), schema=schema).collect()
            except pl.exceptions.PolarsError:
                # polars does not say which line it was; reading line by line does, or skips it.
                frame = None
        if frame is not None and not any(frame[name].null_count() for name in required):
            return frame, 0

    def row(record: Record) -> list[object]:
        values = {name: _plain(record.get(name), kind) for name, kind in schema.items()}
        for name in required:
            if values[name] is None:
                raise ValueError(f"has {name!r} {record[name]!r}" if name in record else f"has no {name!r}")
        return list(values.values())

    rows, skipped = _read_slowly(path, row, skip_bad)
    return pl.DataFrame(rows, schema=schema, orient="row"), skipped


def read_whole_lines(path: Path, skip_bad: bool) -> tuple[pl.DataFrame, int]:
    """All fields of a JSON file, in the types that they have; otherwise as ``read_lines``."""
    if not is_list(path):
        with reading(path):
            try:
                return pl.read_ndjson(content(path), infer_schema_length=None), 0
            except pl.exceptions.NoDataError:
                raise DataError(f"{path} is empty: give a file that has records") from None
            except pl.exceptions.PolarsError:
                pass
    rows, skipped = _read_slowly(path, dict, skip_bad)
    try:
        return pl.DataFrame(rows, infer_schema_length=None, strict=False), skipped
    except pl.exceptions.PolarsError:
        # A field is a text here and a list there: JSON, as polars' own reader writes it.
        texts = [{name: _as_text(value) for name, value in record.items()} for record in rows]
        return pl.DataFrame(texts, infer_schema_length=None), skipped


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def first_fraction(path: Path, field: str) -> tuple[int, str] | None:
    """The line of the first number with a point or an exponent in a field, and the number as it is written."""
    if is_literal(path) or is_list(path):
        return None
    for number, line in _numbered(path):
        try:
            value = json.loads(line, parse_float=_Written).get(field)
        except (ValueError, AttributeError):
            continue
        if isinstance(value, _Written):
            return number, value
    return None


class _Written(str):
    """A number as it is written, apart from texts."""


def first_record(path: Path, skip_bad: bool = False) -> Record:
    """The first record of a file, whose fields show its form; empty if all lines are bad and are to be skipped.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    parse = _parser(path)
    for number, line in _entries(path):
        try:
            return _record(parse, line)
        except ValueError as error:
            if not skip_bad:
                raise DataError(f"{path}: line {number} {error}: {_FIX}") from None
    if skip_bad:
        return {}
    raise DataError(f"{path} is empty")


def is_literal(path: Path) -> bool:
    """Whether the records are Python literals: only these quote their keys with an apostrophe."""
    return _first_line(path).startswith((b"{'", b"{u'", b'{u"'))


def is_list(path: Path) -> bool:
    """Whether the file is one JSON list of records."""
    return _first_line(path).startswith((b"[{", b"[\n", b"[\r", b"[]")) or _first_line(path) == b"["


def _first_line(path: Path) -> bytes:
    return next((line for _, line in _numbered(path)), b"").removeprefix(b"\xef\xbb\xbf").replace(b" ", b"")


def _parser(path: Path) -> Callable[[str], object]:
    return ast.literal_eval if is_literal(path) else json.loads


def _read_slowly(path: Path, row: Callable[[Record], Any], skip_bad: bool) -> tuple[list[Any], int]:
    """``row`` of every record; it raises ValueError, with what the record has, where it will not do."""
    parse, rows, skipped = _parser(path), [], 0
    what = "record" if is_list(path) else "line"
    for number, entry in _entries(path):
        try:
            rows.append(row(_record(parse, entry)))
        except ValueError as error:
            if not skip_bad:
                raise DataError(f"{path}: {what} {number} {error}: {_FIX}") from None
            skipped += 1
    return rows, skipped


def _entries(path: Path) -> Iterator[tuple[int, bytes | object]]:
    """Possible records, counted from 1: lines, or the entries of a list."""
    if not is_list(path):
        yield from _numbered(path)
        return
    with reading(path):
        text = b"".join(byte_lines(path))
    try:
        entries = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} begins like a JSON list, but is none: {error}: correct it there") from None
    yield from enumerate(entries, start=1)


def _record(parse: Callable[[str], object], entry: bytes | object) -> Record:
    record = entry
    if isinstance(entry, bytes):
        try:
            record = parse(entry.decode())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            record = None
    if not isinstance(record, dict):
        shown = entry.decode(errors="replace").strip() if isinstance(entry, bytes) else json.dumps(entry)
        raise ValueError(f"is no record ({shown[:40]!r})")
    return record


def _plain(value: Any, kind: pl.DataType) -> object:
    """A value in the type of its column, as polars' own reader would give it; None where it has none."""
    if value is None:
        return None
    if isinstance(kind, pl.List):
        entries = value if isinstance(value, list) else [value]
        return [_plain(entry, kind.inner) for entry in entries]  # type: ignore[arg-type]
    if kind == pl.String:
        return value if isinstance(value, str) else json.dumps(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, counted from 1."""
    with reading(path):
        for number, line in enumerate(byte_lines(path), start=1):
            if line.strip():
                yield number, line
