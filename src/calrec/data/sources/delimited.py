"""Text files with columns between separators: CSV, TSV, RecBole's atomic files, and whatever is like them."""

from __future__ import annotations

import csv
import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from calrec.data.sources.files import byte_lines, content
from calrec.errors import DataError

logger = logging.getLogger(__name__)

_INNER = "\x1f"
"""Stands for a separator of two letters, which polars does not take."""


@dataclass(frozen=True)
class Layout:
    """How a file of columns is written.

    Attributes:
        separator: between the columns.
        quotes: as ``SourceOptions.quotes``.
        encoding: where the file is not UTF-8.
        columns: their names, where the file has no header.
        columns_option: the option that gives them; separator_option: the one for the separator.
    """

    separator: str = ","
    quotes: Literal["fields", "letters", "backslash"] | None = None
    encoding: str = "utf-8"
    columns: tuple[str, ...] | None = None
    columns_option: str = "--columns"
    separator_option: str = "--separator"


def read_delimited(path: Path, layout: Layout) -> pl.DataFrame:
    """All columns as str.

    Raises:
        DataError: the columns cannot be told apart, or a line of the file does not fit; the line is named.
    """
    source, mark = _utf8(path, layout)
    try:
        lines = pl.read_lines(source).to_series()
        if len(lines) == 1 and "\r" in lines[0].rstrip("\r"):
            # Old spreadsheets end lines with a carriage return alone.
            source = io.BytesIO(b"".join(byte_lines(path)).replace(b"\r", b"\n"))
            lines = pl.read_lines(source).to_series()
    except pl.exceptions.ComputeError as error:
        if "utf-8" in str(error) or "utf8" in str(error):
            raise DataError(_no_utf8(path)) from None
        raise
    first = next((line for line in lines.head(1000) if line.strip()), "").removeprefix("\ufeff")
    first = first.replace("\r", " ")
    if not first:
        raise DataError(f"{path} is empty: give a file that has rows")
    _require_separated(path, first, mark, layout)
    quoted = _quotes_matter(lines, mark) if layout.quotes is None else layout.quotes != "letters"
    fields = next(csv.reader([first], delimiter=mark, skipinitialspace=True)) if quoted else first.split(mark)
    header = [field.strip() for field in fields]
    names = _names(path, header, layout)
    if quoted and (layout.quotes == "backslash" or not _conforms(lines, mark)):
        return _read_by_record(path, lines, mark, names, layout)
    _warn_of_short_lines(path, lines, mark, len(names))
    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        frame = pl.read_csv(
            source, has_header=layout.columns is None, infer_schema=False, separator=mark,
            quote_char='"' if quoted else None, skip_lines=int((lines.str.strip_chars() != "").arg_true()[0]),
        )  # fmt: skip
    except pl.exceptions.ComputeError as error:
        if "more fields" in str(error):
            raise DataError(_first_long_line(path, lines, mark, len(names), quoted, layout)) from None
        raise
    frame.columns = names
    return _without_blank_lines(frame, lines, layout.columns is None)


def _without_blank_lines(frame: pl.DataFrame, lines: pl.Series, has_header: bool) -> pl.DataFrame:
    """Leave out the rows that polars makes of lines with nothing in them; here each line is a row."""
    blank = lines.str.strip_chars() == ""
    start = int((~blank).arg_true()[0]) + has_header
    rows = blank.slice(start)
    return frame.filter(~rows) if len(rows) == frame.height and rows.any() else frame


def _utf8(path: Path, layout: Layout) -> tuple[Path | io.BytesIO, str]:
    """Give contents that polars can read, and the separator of their columns."""
    recoded = layout.encoding not in ("utf-8", "ascii")
    if len(layout.separator) == 1 and not recoded:
        return content(path), layout.separator
    data = b"".join(byte_lines(path))
    try:
        # A file of another encoding is hardly ever UTF-8 by chance; of two files, one may be.
        text = data.decode(layout.encoding if recoded and b"\0" in data else "utf-8")
    except UnicodeDecodeError:
        if not recoded:
            raise DataError(_no_utf8(path)) from None
        try:
            text = data.decode(layout.encoding)
        except UnicodeDecodeError:
            raise DataError(f"{path} is not in {layout.encoding}: name its encoding with --encoding") from None
    text, mark = text.removeprefix("\ufeff"), layout.separator
    if len(mark) > 1:
        text, mark = text.replace(_INNER, " ").replace(mark, _INNER), _INNER
    return io.BytesIO(text.encode()), mark


def _no_utf8(path: Path) -> str:
    return f"{path} is not in UTF-8: name its encoding with --encoding, such as latin-1, cp1252 or utf-16"


def _require_separated(path: Path, first: str, mark: str, layout: Layout) -> None:
    """Refuse what would be read as one column, or as letters that nobody wrote."""
    if "\0" in first:
        raise DataError(_no_utf8(path))
    others = [other for other in ("::", "||", ";", "\t", "|", ",", " ") if other in first.replace(mark, "")]
    if "||" in others and first.count("|") != 2 * first.count("||"):
        # Two in a row may be an empty field between.
        others.remove("||")
    single = mark not in re.sub('"[^"]*"', "", first) or (mark == "," and "::" in others)
    if single and others:
        other = "\\t" if others[0] == "\t" else others[0]
        raise DataError(f"{path}: its columns stand between {others[0]!r}: add {layout.separator_option} '{other}'")


def _names(path: Path, header: list[str], layout: Layout) -> list[str]:
    """The columns' names: of the first line, or as they are given."""
    if layout.columns is None:
        twice = {name for name in header if header.count(name) > 1 and name}
        if twice:
            raise DataError(f"{path}: two columns are called {min(twice)!r}: rename one of them")
        return [name or f"column {place}" for place, name in enumerate(header, start=1)]
    if len(layout.columns) != len(header):
        raise DataError(
            f"{path}: line 1 has {len(header)} fields, and {layout.columns_option} names {len(layout.columns)}: "
            "give a name to every column, in their order"
        )
    if set(header) & set(layout.columns):
        raise DataError(f"{path}: line 1 is a header ({', '.join(header)}): leave {layout.columns_option} out")
    return list(layout.columns)


def _quotes_matter(lines: pl.Series, mark: str) -> bool:
    """Whether a field begins with a quote; others are letters."""
    return bool(lines.str.contains(rf'(^|{re.escape(mark)})\s*"').any())


def _conforms(lines: pl.Series, mark: str) -> bool:
    """Whether each line is whole by the rules of CSV: no field spans lines, no quote stands within one undoubled."""
    sign = re.escape(mark)
    field = rf'("([^"]|"")*"|[^"{sign}]*)'
    quoted = lines.filter(lines.str.contains('"', literal=True))
    return bool(quoted.str.contains(rf"^\x{{feff}}?{field}({sign}{field})*$").all())


def _warn_of_short_lines(path: Path, lines: pl.Series, mark: str, columns: int) -> None:
    fields = lines.str.count_matches(mark, literal=True) + 1
    short = (fields < columns) & (lines.str.strip_chars() != "") & ~lines.str.contains('"', literal=True)
    if short.any():
        row = int(short.arg_true()[0])
        logger.warning(
            "%s: line %d has %d fields, and the first line %d (%d such lines): the missing ones count as empty",
            *(path, row + 1, fields[row], columns, short.sum()),
        )


def _first_long_line(path: Path, lines: pl.Series, mark: str, columns: int, quoted: bool, layout: Layout) -> str:
    shown = layout.separator
    fix = f"put a field that holds {shown!r} in double quotes, or " if quoted or layout.quotes is None else ""
    fix += f"take {shown!r} out of the field that holds it"
    rows = csv.reader(lines, delimiter=mark, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    try:
        found = next(len(row) for row in rows if len(row) > columns)
    except (StopIteration, csv.Error):
        return f"{path}: a line has more fields than the first line names: {fix}"
    return f"{path}: line {rows.line_num} has {found} fields, and the first line names {columns}: {fix}"


def _read_by_record(path: Path, lines: pl.Series, mark: str, names: list[str], layout: Layout) -> pl.DataFrame:
    """Read where quotes are not simply around fields: polars and CSV's rules then disagree about lines."""
    backslash = layout.quotes == "backslash"
    rows = csv.reader(
        (f"{line}\n".replace("\r", " ") for line in lines), delimiter=mark, strict=True, skipinitialspace=True,
        doublequote=not backslash, escapechar="\\" if backslash else None,
    )  # fmt: skip
    table: list[list[str]] = []
    spanning: list[tuple[int, int]] = []
    start = 1
    try:
        for row in rows:
            if len(row) > len(names):
                raise DataError(
                    f"{path}: line {start} has {len(row)} fields, and the first line names {len(names)}: "
                    f"put a field that holds {layout.separator!r} in double quotes, or take it out"
                )
            if rows.line_num > start:
                spanning.append((start, rows.line_num))
                whole = [lines[line].count(mark) + 1 == len(names) for line in range(start - 1, rows.line_num)]
                if all(whole) and layout.quotes is None:
                    raise DataError(
                        f"{path}: line {start}: a quoted field runs over the line's end to line {rows.line_num}, and "
                        "each of these lines is whole without it: add --quotes letters if quotes are part of the "
                        "text, --quotes fields if they stand around fields"
                    )
            if row:
                table.append(row + [""] * (len(names) - len(row)))
            start = rows.line_num + 1
    except csv.Error:
        line = lines[rows.line_num - 1]
        if rows.line_num > start or rows.line_num == len(lines):
            what = f"the quoted field that begins here ends in line {rows.line_num} before other text, or never"
        else:
            what = "text follows the quote that ends a field"
        fix = 'double the quotes within it (""), or add --quotes letters if quotes are part of the text'
        if '\\"' in line or '\\"' in lines[start - 1]:
            fix = "add --quotes backslash"
        raise DataError(f"{path}: line {start}: {what}: {fix}") from None
    if spanning:
        logger.warning(
            "%s: %d fields span lines, the first from line %d to line %d; if that is wrong, try --quotes letters",
            *(path, len(spanning), *spanning[0]),
        )
    body = table if layout.columns is not None else table[1:]
    return pl.DataFrame(body, schema=dict.fromkeys(names, pl.String), orient="row")
