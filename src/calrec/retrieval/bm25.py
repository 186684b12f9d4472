"""BM25 of short texts over a catalogue; bm25s does the arithmetic."""

from __future__ import annotations

import re
from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calrec.errors import DataError
from calrec.settings import Settings

# Titles live on sizes and model numbers, so words of one character count, and no word is a stop word.
_WORD = re.compile(r"\w+")


class Bm25Settings(Settings):
    """The two constants of BM25; the paper names none, these are the usual ones (our choice).

    Attributes:
        k1: how soon repeating a word stops to help, >= 0.
        b: how much a long text is held back, in [0, 1].
    """

    k1: float = Field(default=1.5, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)


def words(text: str) -> list[str]:
    """The lower-cased words of a text, in its order: runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


class Bm25Index:
    """BM25 of the catalogue's texts, in the variant of Lucene.

    The score of item i for a query is, over the query's words w (a word given twice counts twice),

        sum of ln(1 + (I - n_w + 0.5) / (n_w + 0.5)) * f_iw / (f_iw + k1 * (1 - b + b * l_i / mean l))

    with n_w the number of items that have w, f_iw how often item i has it and l_i the words of item i. Its inverse
    document frequency is positive, so a word that most items share (a brand, "pack") never counts against them.

    Args:
        texts: the catalogue's texts; the place of a text is the item's column.
        settings: the constants.

    Raises:
        DataError: there is no text at all.
    """

    def __init__(self, texts: Sequence[str], settings: Bm25Settings | None = None) -> None:
        if not texts:
            raise DataError("BM25 needs a catalogue of at least one text, got none: prepare a domain that has items")
        self.settings = settings or Bm25Settings()
        self._documents = [words(text) for text in texts]
        self._index = bm25s.BM25(method="lucene", k1=self.settings.k1, b=self.settings.b)
        self._vocabulary: dict[str, int] = {}
        # A catalogue without a single word has no mean length; nothing matches it.
        if any(self._documents):
            self._index.index(self._documents, show_progress=False, create_empty_token=False)
            self._vocabulary = self._index.vocab_dict

    def __len__(self) -> int:
        return len(self._documents)

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """BM25 of every item for every query: shape (len(queries), len(self)), each >= 0; 0 where no word is shared."""
        result = np.zeros((len(queries), len(self)), dtype=np.float32)
        for row, query in zip(result, queries, strict=True):
            known = [self._vocabulary[word] for word in words(query) if word in self._vocabulary]
            if known:
                row[:] = self._index.get_scores_from_ids(known)
        return result

    def matched_words(self, query: str, column: int) -> tuple[str, ...]:
        """The distinct words that the query shares with the item at ``column``, in the item's order."""
        asked = set(words(query))
        return tuple(word for word in dict.fromkeys(self._documents[column]) if word in asked)
