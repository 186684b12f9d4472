"""Text as tokens. Each item is tokenised once; a sequence is a concatenation, so every span is known, not searched."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calrec.errors import ConfigError, DataError
from calrec.records import Catalogue, Item
from calrec.settings import Settings
from calrec.text.item_text import TextSettings
from calrec.text.prompt import END_OF_LINE, before_next, opening

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = NDArray[np.int32]


class LengthSettings(Settings):
    """How much of a history the model sees. What is too long loses whole oldest items, never a part of one.

    Attributes:
        max_history: items before the target.
        max_tokens: tokens of a whole sequence: prefixes, history and target.
    """

    max_history: int = Field(default=20, ge=1)
    max_tokens: int = Field(default=1024, ge=16)


@dataclass(frozen=True)
class EncodedSequence:
    """Tokens of a run of items.

    Attributes:
        token_ids: (L,).
        spans: (n, 2); item i is ``token_ids[start:end]``, its end of line included, its prefix not.
        items: (n,) columns of the items.
    """

    token_ids: Tokens
    spans: NDArray[np.int32]
    items: NDArray[np.int32]


class SequenceEncoder:
    """Encodes sequences of one catalogue's items.

    Args:
        tokenizer: any tokenizer of transformers.
        settings: the template.
        catalogue: its texts are the items' lines, as ``ItemText`` makes them.
        lengths: what a sequence may hold.

    Raises:
        DataError: a text is empty, or is longer than a whole sequence may be.
        ConfigError: the tokenizer has no single token to end an item with.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: TextSettings,
        catalogue: Catalogue,
        lengths: LengthSettings,
    ) -> None:
        self.settings = settings
        self.lengths = lengths
        self._tokenizer = tokenizer
        self.end_id = end_of_item(tokenizer)
        # A tokenizer that begins every text with a token of its own (Gemma's <bos>) expects it in both towers.
        self.bos = np.asarray([i for i in tokenizer("")["input_ids"] if i == tokenizer.bos_token_id], dtype=np.int32)
        self._opening = np.concatenate([self.bos, self._tokens(opening(settings))])
        self._before_next = self._tokens(before_next(settings))
        self._take(self._encoded(catalogue.items, catalogue.texts))

    def changed(self, origin: NDArray[np.int64], added: Catalogue) -> SequenceEncoder:
        """The encoder of a changed catalogue: what stays is not tokenised again.

        Args:
            origin: (I,) the column that each item of the new catalogue had, -1 for one that is new.
            added: the new ones, in the order of their columns.

        Raises:
            DataError: a new text is empty, or is longer than a whole sequence may be.
        """
        new = iter(self._encoded(added.items, added.texts))
        other = copy(self)
        other._take(tuple(next(new) if column < 0 else self.items[column] for column in origin.tolist()))
        return other

    def _take(self, items: tuple[Tokens, ...]) -> None:
        self.items = items
        self._longest = max(map(len, items), default=0)

    def _tokens(self, text: str) -> Tokens:
        ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] if text else []
        return np.asarray(ids, dtype=np.int32)

    def _encoded(self, items: Sequence[Item], texts: Sequence[str]) -> tuple[Tokens, ...]:
        if not items:
            return ()
        # Without split_special_tokens a title that holds "<|im_end|>" would become that token.
        encoded = self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        room = (self.lengths.max_tokens - len(self._opening) - len(self._before_next)) // 2 - 1
        tokens = []
        for item, text, ids in zip(items, texts, encoded, strict=True):
            if not ids or self.end_id in ids:
                names = ", ".join(attribute.name for attribute in self.settings.attributes)
                raise DataError(
                    f"item {item.item_id}: its text {text[:60]!r} (of {names}) is empty or holds the end of an item; "
                    "add an attribute to the recipe's text.attributes, or leave the item out"
                )
            if len(ids) > room:
                raise DataError(
                    f"item {item.item_id}: {len(ids)} tokens, and max_tokens = {self.lengths.max_tokens} leaves "
                    f"room for {room}; lower the attributes' max_words or raise max_tokens"
                )
            tokens.append(np.asarray([*ids, self.end_id], dtype=np.int32))
        return tuple(tokens)

    def prompt(self, history: Sequence[int]) -> EncodedSequence:
        """The prompt at inference: the history's newest items that fit, then the prefix of the item to come.

        What fits does not depend on the target: room is kept for the catalogue's longest item.

        Args:
            history: columns, oldest first; where there is none, the prompt is the first item's prefix.
        """
        kept = self._fitting(history)
        pieces, spans, place = [self._opening], [], len(self._opening)
        for column in kept:
            item = self.items[column]
            pieces += [item, self._before_next]
            spans.append((place, place + len(item)))
            place += len(item) + len(self._before_next)
        return EncodedSequence(
            np.concatenate(pieces), np.asarray(spans, dtype=np.int32).reshape(-1, 2), np.asarray(kept, dtype=np.int32)
        )

    def sequence(self, history: Sequence[int], target: int) -> EncodedSequence:
        """The prompt of the history and then the target: the last of the spans."""
        prompt = self.prompt(history)
        start = len(prompt.token_ids)
        tokens = np.concatenate([prompt.token_ids, self.items[target]])
        span = np.asarray([(start, len(tokens))], dtype=np.int32)
        return EncodedSequence(tokens, np.concatenate([prompt.spans, span]), np.append(prompt.items, np.int32(target)))

    def item(self, column: int) -> EncodedSequence:
        """The item's text alone: what the target tower reads."""
        tokens = np.concatenate([self.bos, self.items[column]])
        span = np.asarray([(len(self.bos), len(tokens))], dtype=np.int32)
        return EncodedSequence(tokens, span, np.asarray([column], dtype=np.int32))

    def _fitting(self, history: Sequence[int]) -> list[int]:
        room = self.lengths.max_tokens - len(self._opening) - self._longest
        kept: list[int] = []
        for column in reversed(history[-self.lengths.max_history :]):
            room -= len(self.items[column]) + len(self._before_next)
            if room < 0:
                break
            kept.append(column)
        return kept[::-1]


def end_of_item(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an item: the line break, or the end of text where a line break is several tokens.

    Raises:
        ConfigError: the tokenizer has neither.
    """
    ids = tokenizer(END_OF_LINE, add_special_tokens=False)["input_ids"]
    if len(ids) == 1:
        return int(ids[0])
    if tokenizer.eos_token_id is None:
        raise ConfigError("the tokenizer has no single token for a line break and no end of text to end an item with")
    return int(tokenizer.eos_token_id)
