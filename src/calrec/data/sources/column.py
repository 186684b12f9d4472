"""A column and where it comes from, so that a value that will not do can be named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from calrec.errors import DataError


@dataclass(frozen=True)
class Column:
    """Values of one column of a file.

    Attributes:
        values: in the file's order.
        path: of the file. name: of the column there.
        rows: the values' rows, counted from 1 without the header.
    """

    values: pl.Series
    path: Path
    name: str
    rows: pl.Series

    def where(self, mask: pl.Series) -> Column:
        """The values, and their rows, for which ``mask`` holds."""
        return replace(self, values=self.values.filter(mask), rows=self.rows.filter(mask))

    def place(self, index: int) -> str:
        """Name the place of a value: ``shop.csv: row 3: user_id``."""
        return f"{self.path}: row {self.rows[index]}: {self.name}"

    def require(self, good: pl.Series, fix: str) -> None:
        """Refuse values that are not good.

        Raises:
            DataError: names the first, and how many there are.
        """
        bad = ~good.fill_null(value=False)
        if bad.any():
            index = int(bad.arg_true()[0])
            value = "empty" if self.values[index] is None else repr(self.values[index])
            raise DataError(f"{self.place(index)} is {value}: {fix} ({bad.sum()} such rows)")


def column_of(frame: pl.DataFrame, name: str, path: Path, own_name: str | None = None) -> Column:
    """A whole column of what was read from ``path``, where it may have another name."""
    rows = pl.int_range(1, frame.height + 1, eager=True)
    return Column(frame[name], path, own_name or name, rows)
