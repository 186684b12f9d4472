"""How to read a source, where it leaves a choice."""

from __future__ import annotations

import codecs
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from calrec.errors import DataError
from calrec.settings import Settings

SEPARATORS = (",", ";", "\t", "|", "::", "||", ":", " ", "^", "~")


class SourceOptions(Settings):
    """How to read, where the source leaves a choice.

    Attributes:
        items: the file of the items, a folder or a pattern of its parts; the purchases' own file if it has the titles.
        user_column: name of the users' column of a table.
        item_column: name of the items' column of a table, in both files.
        items_item_column: its name in the file of the items, where it has another.
        time_column: name of the times' column of a table.
        title_column: name of the titles' column of a table.
        rating_column: name of the ratings' column of a table.
        min_rating: leave out interactions that are rated lower.
        columns: names of the columns of the interactions' file, which then has no header.
        items_columns: names of the columns of the items' file, which then has no header.
        separator: between the columns of a text file; None: by the file's name.
        items_separator: between the columns of the items' file, where it is another.
        quotes: what double quotes are: signs around ``fields``, by the rules of CSV; ``letters`` of the text; signs
            around fields within which a ``backslash`` stands before a quote. None: letters in an atomic file, and
            otherwise signs around fields, but a field that looks as if it swallowed lines is refused.
        encoding: of text files that are not UTF-8, such as ``latin-1``.
        time_format: of dates, in the letters of ``strftime``, such as ``%d/%m/%Y %H:%M``.
        ordered: each user's rows stand in the order of the purchases, and times are not read.
        drop_missing: leave out rows without a user, an item or a time.
        name: of the domain, where the source's own name will not do.
        skip_bad_lines: skip and count the JSON lines that cannot be read.
    """

    items: Path | None = None
    user_column: str = "user_id"
    item_column: str = "item_id"
    items_item_column: str | None = None
    time_column: str = "timestamp"
    title_column: str = "title"
    rating_column: str = "rating"
    min_rating: float | None = None
    columns: tuple[str, ...] | None = None
    items_columns: tuple[str, ...] | None = None
    separator: str | None = None
    items_separator: str | None = None
    quotes: Literal["fields", "letters", "backslash"] | None = None
    encoding: str = "utf-8"
    time_format: str | None = Field(default=None, min_length=2)
    ordered: bool = False
    drop_missing: bool = False
    name: str | None = Field(default=None, min_length=1)
    skip_bad_lines: bool = False

    @field_validator("separator", "items_separator")
    @classmethod
    def _separates(cls, separator: str | None) -> str | None:
        if separator is not None and separator not in SEPARATORS:
            raise ValueError(f"columns can stand between {', '.join(map(repr, SEPARATORS))}")
        return separator

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError("no such encoding; known are utf-8, latin-1, cp1252, utf-16, and others") from None

    @field_validator("columns", "items_columns", mode="before")
    @classmethod
    def _names(cls, columns: object) -> object:
        return [name.strip() for name in columns.split(",")] if isinstance(columns, str) else columns

    def require_only(self, allowed: Collection[str], what: str) -> None:
        """Refuse options that would have no effect.

        Raises:
            DataError: names the options and why they have none.
        """
        fields = type(self).model_fields
        given = [name for name in fields if name not in allowed and getattr(self, name) != fields[name].default]
        if given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise DataError(f"{names}: without effect on {what}: leave it out")
