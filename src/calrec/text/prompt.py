"""A history as the paper's template. Everything is a line, and an item is never more than one."""

from __future__ import annotations

from collections.abc import Sequence

from calrec.text.item_text import TextSettings

#: Ends every line; after an item it is what the model writes when the item is complete.
END_OF_LINE = "\n"


def opening(settings: TextSettings) -> str:
    """What stands before the first item: the user prefix and the first item's prefix, a line each."""
    return _lines(settings.user_prefix, settings.first_item_prefix)


def before_next(settings: TextSettings) -> str:
    """What stands before every later item, the target included."""
    return _lines(settings.next_item_prefix)


def render(settings: TextSettings, history: Sequence[str], target: str | None = None) -> str:
    """The whole text for a history of item texts, oldest first.

    Without a target it is the prompt at inference, which ends with the prefix of the item to come.
    """
    items = list(history) + ([] if target is None else [target])
    text = opening(settings) + before_next(settings).join(item + END_OF_LINE for item in items)
    return text if target is not None else text + before_next(settings)


def _lines(*lines: str) -> str:
    return "".join(line + END_OF_LINE for line in lines if line)
