"""Times: numbers as they are, dates as seconds since 1970; a value that is neither is named."""

from __future__ import annotations

import datetime
import logging
import re
import time
from typing import Literal

import polars as pl

from calrec.data.sources.column import Column
from calrec.errors import DataError

logger = logging.getLogger(__name__)

_NUMBER = r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$"
_ISO = r"^\d{4}-\d{1,2}-\d{1,2}( \d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?([+-]\d{2}(:?\d{2})?)?)?$"
_ISO_FORMATS = (
    *("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z"),
    *("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M%#z", "%Y-%m-%d"),
)
# Fri Nov 01 00:00:00 +0000 2019, as C, Java and Twitter write it; Fri, 01 Nov 2019 00:00:00 +0000, as mail does.
_NAMED = (
    r"^[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} [\d:]{8}( [+-]\d{4})? \d{4}$"
    r"|^[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} [\d:]{8}( [+-]\d{4})?$"
)
_NAMED_FORMATS = (
    *("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y"),
    *("%a, %d %b %Y %H:%M:%S", "%a, %d %b %Y %H:%M:%S %z"),
)
_WRITE = "write it as a number, 2024-05-01 or 2024-05-01 12:30:00, with or without +02:00"
_WRITE_OR_SAY = f"{_WRITE}, or say how dates are written with --time-format"
_ROUNDED = "it is too large to be kept exactly beside fractions: write all times as whole numbers"
_DAY_OR_MONTH_FIRST = re.compile(
    r"\d{1,2}(?P<mark>[-/.])\d{1,2}(?P=mark)(?P<year>\d{4}|\d{2})"
    r"(?P<clock>[ T]\d{1,2}:\d{2}(?P<seconds>:\d{2})?(?P<half> ?[AaPp][Mm])?)?"
)
FIRST_DATE = 10**8
"""Smaller numbers (in seconds: March 1973) are taken for positions and not for dates."""
_UNITS = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
_EXACT = 2**53


def read_times(column: Column, form: str | None = None) -> pl.Series:
    """Whole numbers as Int64, others as Float64, dates as seconds since 1970 (nanoseconds where they are that fine).

    Args:
        column: no value is missing.
        form: of the dates in ``strftime``'s letters, where the values do not say it themselves.

    Raises:
        DataError: a value is no time, or not in the form or unit of the others; the row is named.
    """
    kind, values = column.values.dtype, column.values
    if kind == pl.Date or kind == pl.Datetime:
        return _epoch(values.cast(pl.Datetime(getattr(kind, "time_unit", "us"))), column)
    if kind.is_numeric() and form is None:
        times = values.cast(pl.Int64 if kind.is_integer() else pl.Float64, strict=False)
        column.require(times.is_finite(), _WRITE)
        column.require(times.cast(pl.Float64).abs() < _EXACT if kind.is_float() else times.is_not_null(), _ROUNDED)
        return _numbers(times, column)
    if kind != pl.String and not kind.is_numeric():
        raise DataError(f"{column.path}: {column.name} has the type {kind}, which is no time: {_WRITE}")
    text = values.cast(pl.String).str.strip_chars()
    return _epoch(_formatted(text, column, form), column) if form else _texts(text, column)


def _formatted(text: pl.Series, column: Column, form: str) -> pl.Series:
    try:
        dates = text.str.to_datetime(form, strict=False, time_unit="us").dt.replace_time_zone(None)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"--time-format {form!r}: {str(error).splitlines()[0]}: name year, month and day") from None
    # polars takes 24 for the year of %Y.
    good = dates.is_not_null() & (dates.dt.year() >= 1000)
    column.require(good, f"--time-format {form!r} is another form (%Y: a year of four digits, %y: of two)")
    return dates


def _texts(text: pl.Series, column: Column) -> pl.Series:
    """Times that are all numbers, or all dates."""
    numbers = text.str.contains(_NUMBER) & text.cast(pl.Float64, strict=False).is_finite().fill_null(value=False)
    dates = _dates(text)
    good = numbers | dates.is_not_null()
    if not good.all():
        column.require(good, _form_needed(text.filter(~good)) or _WRITE_OR_SAY)
    count, others = int(numbers.sum()), int((~numbers).sum())
    if count and others:
        fix = f"{count} of {len(text)} are numbers, {others} are dates: write all of them in one form"
        column.require(numbers if count > others else ~numbers, fix)
    if others:
        return _epoch(dates, column)
    integers = text.cast(pl.Int64, strict=False)
    if not integers.null_count():
        return _numbers(integers, column)
    floats = text.cast(pl.Float64)
    column.require(floats.abs() < _EXACT, _ROUNDED)
    return _numbers(floats, column)


def _dates(text: pl.Series) -> pl.Series:
    """Dates in the forms that can be read in one way only; null where a text has none of them."""
    plain = text.str.replace(r"\s*(Z|UTC|GMT)$", "").str.replace(r" (UTC|GMT) (\d{4})$", " $2")
    iso = (
        plain.str.replace(r"^(\d{4})/(\d{1,2})/", "$1-$2-")
        .str.replace(r"^([\d-]{8,10})T", "$1 ")
        .str.replace(r"(:\d{2}),(\d+)", "$1.$2")
        .str.replace(r" ([+-]\d{2}(:?\d{2})?)$", "$1")
    )
    unit: Literal["ns", "us"] = "ns" if iso.str.contains(r"\.\d{7}").any() else "us"
    read = [
        *(_parsed(iso, _ISO, form, unit) for form in _ISO_FORMATS),
        *(_parsed(plain, _NAMED, form, unit) for form in _NAMED_FORMATS),
    ]
    dates: pl.Series = pl.select(pl.coalesce(*read)).to_series()
    return dates


def _parsed(text: pl.Series, exact: str, form: str, unit: Literal["ns", "us"]) -> pl.Series:
    # polars takes 24 for a year: what is not exactly in the form is not given to it.
    given = pl.select(pl.when(text.str.contains(exact)).then(text)).to_series()
    return given.str.to_datetime(form, time_unit=unit, strict=False).dt.replace_time_zone(None)


def _form_needed(dates: pl.Series) -> str | None:
    """The option for dates that do not show whether the day or the month comes first: the forms that read them all."""
    found = _DAY_OR_MONTH_FIRST.fullmatch(dates[0])
    if not found:
        return None
    mark, year, clock, half = found["mark"], "%Y" if len(found["year"]) == 4 else "%y", "", found["half"] or ""
    if found["clock"]:
        clock = f"{found['clock'][0]}{'%I' if half else '%H'}:%M" + (":%S" if found["seconds"] else "")
        clock += half[:-2] + ("%p" if half else "")
    first = {"day": f"%d{mark}%m{mark}{year}", "month": f"%m{mark}%d{mark}{year}"}
    if year == "%y":
        first["year"] = f"%y{mark}%m{mark}%d"
    forms = {part: form + clock for part, form in first.items()}
    fitting = {
        part: form
        for part, form in forms.items()
        if not dates.str.to_datetime(form, strict=False, time_unit="us").null_count()
    }
    chosen = (fitting or forms).items()
    return "add --time-format " + ", ".join(f"'{form}' if the {part} comes first" for part, form in chosen)


def _epoch(dates: pl.Series, column: Column) -> pl.Series:
    """Seconds since 1970, whole where all are; nanoseconds where microseconds would not do."""
    if dates.dtype.time_unit == "ns" and (dates.dt.epoch("ns") % 1000 != 0).any():  # type: ignore[attr-defined]
        times: pl.Series = dates.dt.epoch("ns").cast(pl.Int64)
        ticks = 10**9
    else:
        ticks = 1
        microseconds = dates.dt.epoch("us").cast(pl.Int64)
        fractions = (microseconds % 10**6 != 0).any()
        times = microseconds.cast(pl.Float64) / 1e6 if fractions else microseconds // 10**6
    _warn_of_strange(times, column, ticks)
    return times


def _numbers(times: pl.Series, column: Column) -> pl.Series:
    """Refuse seconds beside milliseconds."""
    size = times.cast(pl.Float64).abs()
    of_unit = {
        ticks: (size >= ticks * FIRST_DATE) & (size < ticks * FIRST_DATE * 1000)
        for ticks in _UNITS
    }  # fmt: skip
    counts = {ticks: int(mask.sum()) for ticks, mask in of_unit.items() if mask.any()}
    if len(counts) > 1:
        rare = of_unit[min(counts, key=counts.__getitem__)]
        found = ", ".join(f"{count} in {_UNITS[ticks]}" for ticks, count in counts.items())
        column.require(~rare, f"of {len(times)} times {found}: write all of them in one unit")
    _warn_of_strange(times, column, unit_of(times))
    return times


def unit_of(times: pl.Series) -> int | None:
    """Ticks a second, by the middle one of the numbers; None where they are too small for dates."""
    sizes = times.cast(pl.Float64).abs()
    size = float(sizes.filter(sizes > 0).median() or 0)  # type: ignore[arg-type]
    if size < FIRST_DATE:
        return None
    return next((ticks for ticks in _UNITS if size < ticks * FIRST_DATE * 1000), 10**9)


def _warn_of_strange(times: pl.Series, column: Column, ticks: int | None) -> None:
    """Name times that no purchase has."""
    if ticks is None:
        return
    tomorrow = (time.time() + 86_400) * ticks
    for strange, when in ((times <= 0, "before 1970 or where it begins"), (times > tomorrow, "after tomorrow")):
        if strange.any():
            index = int(strange.arg_true()[0])
            found = f"{column.place(index)} is {shown(times[index], ticks)}"
            logger.warning("%s: %d of %d times lie %s", found, strange.sum(), len(times), when)


def looks_like_time(text: str) -> bool:
    """Whether a text is a number or a date, which the name of a column is not."""
    return bool(re.match(_NUMBER, text)) or _dates(pl.Series([text])).null_count() == 0


def shown(value: float, ticks: int | None) -> str:
    """A time as people read it: a date in UTC, or the number where it is none."""
    if ticks:
        try:
            moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(value // ticks))
            return f"{moment.isoformat(' ')} UTC"
        except OverflowError:
            pass
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
