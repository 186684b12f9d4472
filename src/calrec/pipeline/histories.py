"""Histories as people write them: by ids, titles or whole texts."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property

from calrec.errors import DataError
from calrec.records import Catalogue, History
from calrec.text.item_text import one_line


class HistoryReader:
    """Finds items by id, title or text; titles and texts in any case.

    Args:
        catalogue: its texts are the template's. Where several items share a title, the first id is meant.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    @cached_property
    def _by_text(self) -> dict[str, str]:
        """Ids by title and by text; not made for those who name items by id."""
        found: dict[str, str] = {}
        for item, text in zip(self._catalogue.items, self._catalogue.texts, strict=True):
            found.setdefault(one_line(item.title).casefold(), item.item_id)
            found.setdefault(text.casefold(), item.item_id)
        return found

    def read(self, entries: Sequence[str], user_id: str = "") -> History:
        """A history from item ids, titles or item texts, oldest first.

        Raises:
            DataError: no entries, or one that is neither; the nearest title is named.
        """
        if isinstance(entries, str) or not entries:
            raise DataError("the history is empty; name at least one item, by id or by title")
        return History(user_id, tuple(map(self._resolve, entries)))

    def _resolve(self, entry: str) -> str:
        if entry in self._catalogue.positions:
            return entry
        wanted = one_line(entry).casefold()
        if not wanted:
            raise DataError(f"history: {entry!r} is empty; name an item by id or by title")
        if wanted in self._by_text:
            return self._by_text[wanted]
        near = difflib.get_close_matches(wanted, self._by_text, n=1, cutoff=0.5)
        hint = f"did you mean {self._named(near[0])}?" if near else "items.parquet in the run's folder lists them"
        raise DataError(
            f"history: {entry!r} is no id, title or text of the catalogue's {len(self._catalogue)} items; {hint}"
        )

    def _named(self, text: str) -> str:
        item = self._catalogue.items[self._catalogue.positions[self._by_text[text]]]
        return f"{item.title!r} ({item.item_id})"
