"""The one look of all tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def new_table(*columns: str, title: str | Text | None = None, header: bool = True) -> Table:
    """A table without rows, as plain as can be: it is read on narrow terminals and pasted into texts."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # A title may hold a name that a user gave, in which nothing is markup.
    said = Text(title) if isinstance(title, str) else title
    return Table(*columns, title=said, title_justify="left", box=box.SIMPLE, pad_edge=False, show_header=header)
