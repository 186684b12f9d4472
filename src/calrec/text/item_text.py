"""An item's attributes as one line of text that can forge nothing of the template around it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import Field, ValidationError, field_validator

from calrec.errors import DataError
from calrec.records import Item
from calrec.settings import Settings

# Stands where a value said a line of the template. A visible character, so that the words on its two sides cannot
# close up into that line again.
_REMOVED = "…"


class Attribute(Settings):
    """One attribute of the flattened text.

    Attributes:
        name: the column of the domain's items, e.g. ``title``.
        key: what stands before the colon; the capitalised name where empty.
        max_words: a longer value is cut after this many words.
    """

    name: str = Field(min_length=1)
    key: str = Field(default="", pattern=r"^[^:\n]*$")
    max_words: int = Field(default=32, ge=1)

    @property
    def label(self) -> str:
        return self.key or self.name.replace("_", " ").capitalize()


class TextSettings(Settings):
    """The template. Attributes [B], their order [C] and both prefixes [B] are the paper's (docs/paper_map.md)."""

    attributes: tuple[Attribute, ...] = Field(
        default=tuple(Attribute(name=name) for name in ("title", "category", "brand", "price")), min_length=1
    )
    user_prefix: str = "This is the summary of a user's purchase history."
    first_item_prefix: str = "The first item bought is as follows."
    next_item_prefix: str = "The next item bought is as follows."

    @field_validator("attributes", mode="before")
    @classmethod
    def _names_alone_are_attributes(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        return tuple({"name": entry} if isinstance(entry, str) else entry for entry in value)

    @field_validator("attributes")
    @classmethod
    def _keys_are_distinct(cls, value: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
        labels = [attribute.label for attribute in value]
        if len(set(labels)) < len(labels):
            raise ValueError(f"two attributes share a key: {', '.join(labels)}")
        return value

    @field_validator("user_prefix", "first_item_prefix", "next_item_prefix")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if len(value.splitlines()) > 1:
            raise ValueError("a prefix is one line")
        return value

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes in use; an empty one is switched off."""
        return tuple(filter(None, (self.user_prefix, self.first_item_prefix, self.next_item_prefix)))


def one_line(value: str) -> str:
    """The value with every run of white space, line breaks of all kinds included, as one space.

    Control characters and lone surrogates go: they print as nothing, and tokenizers choke on the latter.
    """
    visible = (" " if c.isspace() else c for c in value if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    return " ".join("".join(visible).split())


class ItemText:
    """Turns items into text: ``Title: … Category: … Brand: … Price: …``, one line, unknown attributes left out."""

    def __init__(self, settings: TextSettings) -> None:
        self.settings = settings

    def __call__(self, item: Item) -> str:
        """The item's line of text; empty where none of the attributes has a value."""
        parts = []
        for attribute in self.settings.attributes:
            value = self.clean(item.attributes.get(attribute.name, ""), attribute.max_words)
            if value:
                parts.append(f"{attribute.label}: {value}")
        return " ".join(parts)

    def clean(self, value: str, max_words: int | None = None) -> str:
        """A value that is one line and holds neither a prefix nor a key of the template."""
        value = one_line(value)
        if self._prefixes is not None:
            value = self._prefixes.sub(_REMOVED, value)
        value = self._keys.sub(r"\1 -", value)
        return " ".join(value.split()[:max_words])

    @cached_property
    def _prefixes(self) -> re.Pattern[str] | None:
        lines = [r"\s+".join(map(re.escape, prefix.split())) for prefix in self.settings.prefixes]
        return re.compile("|".join(lines), re.IGNORECASE) if lines else None

    @cached_property
    def _keys(self) -> re.Pattern[str]:
        labels = "|".join(re.escape(attribute.label) for attribute in self.settings.attributes)
        return re.compile(rf"({labels})\s*:", re.IGNORECASE)


def template_of(settings: Mapping[str, Any]) -> TextSettings | None:
    """The template of the run that the settings of a result describe; None where they describe none.

    Raises:
        DataError: it is no template.
    """
    try:
        return TextSettings.model_validate(settings["training"]["plan"]["text"])
    except (KeyError, TypeError):
        return None
    except ValidationError as error:
        raise DataError(f"the settings of the result hold no template: {error.errors()[0]['msg']}") from None
