"""BM25 of short texts over a catalogue, exact at a million items."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from calrec.data.writing import beside, take_place
from calrec.errors import DataError
from calrec.retrieval.bm25.postings import Postings
from calrec.retrieval.bm25.pruned import CommonWords, Query, Room, Scorer, best
from calrec.retrieval.bm25.vocabulary import words
from calrec.settings import Settings

logger = logging.getLogger(__name__)

# Queries that are looked up together.
_TOGETHER = 64


class Bm25Settings(Settings):
    """The two constants of BM25; the paper names none, these are the usual ones (our choice).

    Attributes:
        k1: how soon repeating a word stops to help, >= 0.
        b: how much a long text is held back, in [0, 1].
    """

    k1: float = Field(default=1.5, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)


class Bm25Index:
    """BM25 of the catalogue's texts, in the variant of Lucene.

    The score of item i for a query is, over the query's words w (a word given twice counts twice),

        sum of ln(1 + (I - n_w + 0.5) / (n_w + 0.5)) * f_iw / (f_iw + k1 * (1 - b + b * l_i / mean l))

    with n_w the number of items that have w, f_iw how often item i has it and l_i the words of item i. Its inverse
    document frequency is positive, so a word that most items share (a brand, "pack") never counts against them.
    The sum is made in float64 and then rounded, so that only what is equal is a tie.

    Args:
        texts: the catalogue's texts; the place of a text is the item's column.
        settings: the constants.

    Raises:
        DataError: there is no text at all.
    """

    def __init__(self, texts: Sequence[str], settings: Bm25Settings | None = None) -> None:
        self._use(Postings.of(texts), settings or Bm25Settings())

    @classmethod
    def stored(cls, folder: Path, texts: Sequence[str], settings: Bm25Settings | None = None) -> Bm25Index:
        """The index that a folder keeps, mapped into memory; made and written there where there is none.

        Args:
            folder: of an index of these very texts, such as one named by their hash; or to be made.
            texts: the catalogue's.
            settings: the constants.
        """
        try:
            return cls.load(folder, settings)
        except DataError as reason:
            logger.info("%s; making it", reason)
        index = cls(texts, settings)
        try:
            index.save(folder)
        except DataError as reason:
            logger.warning("the BM25 index is made at every start, for %s", reason)
            return index
        return cls.load(folder, settings)

    @classmethod
    def load(cls, folder: Path, settings: Bm25Settings | None = None) -> Bm25Index:
        """Open what ``save`` wrote, mapped into memory: only what queries need is ever read.

        Args:
            folder: that was written.
            settings: the constants; those of the index that was saved do not matter.

        Raises:
            DataError: there is no such index.
        """
        try:
            arrays = {file.stem: np.asarray(np.load(file, mmap_mode="r")) for file in folder.glob("*.npy")}
            return cls._of(Postings.of_arrays(arrays), settings or Bm25Settings())
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"{folder} is no whole BM25 index ({error!r}): remove it and build it anew") from None

    @classmethod
    def _of(cls, postings: Postings, settings: Bm25Settings) -> Bm25Index:
        index = cls.__new__(cls)
        index._use(postings, settings)
        return index

    def _use(self, postings: Postings, settings: Bm25Settings) -> None:
        if not len(postings.texts):
            raise DataError("BM25 needs a catalogue of at least one text, got none: prepare a domain that has items")
        self.settings = settings
        # A catalogue without a single word has no mean length; nothing matches it.
        self._mean_length = float(postings.texts.starts[-1]) / len(postings.texts) or 1.0
        self._postings = postings
        self._common = CommonWords(len(postings.texts))

    def __len__(self) -> int:
        return len(self._postings.texts)

    def save(self, folder: Path) -> None:
        """Write the index, whole or not at all, as plain ``.npy`` files.

        Raises:
            DataError: the folder cannot be written.
        """
        with beside(folder) as fresh:
            for name, array in self._postings.arrays.items():
                np.save(fresh / f"{name}.npy", array, allow_pickle=False)
            take_place(fresh, folder)

    def changed(self, origin: NDArray[np.int64], added: Sequence[str]) -> Bm25Index:
        """The index of another catalogue, equal to one made from all its texts; this one stays as it is.

        Args:
            origin: for every new column its old column, or -1 where the item is new: (I of the new one,). Items that
                stay keep their order.
            added: the texts of the new items, in the order of their columns.

        Raises:
            DataError: no item would be left.
            ValueError: ``origin`` and ``added`` do not fit together, or not this index.
        """
        kept = origin[origin >= 0]
        if len(kept) + len(added) != len(origin):
            raise ValueError(f"origin has {len(origin) - len(kept)} new items, but {len(added)} texts are added")
        if np.any(np.diff(kept) <= 0) or np.any(kept >= len(self)):
            raise ValueError(f"origin must name old columns below {len(self)} in ascending order")
        return self._of(self._postings.changed(origin, added), self.settings)

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """BM25 of every item for every query: shape (len(queries), len(self)), each >= 0; 0 where no word is shared."""
        result = np.empty((len(queries), len(self)), dtype=np.float32)
        scorer = Scorer(self._postings, self._norm, self._common)
        for row, query in zip(result, self._queries(queries), strict=True):
            row[:] = scorer.totals(query)
        return result

    def top(self, queries: Sequence[str], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best items of every query in the total order: score first, then column.

        The same as sorting ``scores``, but common words are only looked up at items that rarer ones have brought.

        Args:
            queries: Q texts.
            k: places, at least 1.

        Returns:
            Columns (Q, k) and scores (Q, k). Only items that share a word with the query have a place; where fewer
            than k do, the columns end with -1 and the scores with 0.

        Raises:
            ValueError: k is less than 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        columns = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.zeros((len(queries), k), dtype=np.float32)
        scorer, room = Scorer(self._postings, self._norm, self._common), Room(len(self))
        for first in range(0, len(queries), _TOGETHER):
            asked = self._queries(queries[first : first + _TOGETHER])
            for row, (found, reached) in enumerate(best(scorer, asked, k, room), start=first):
                columns[row, : len(found)] = found
                scores[row, : len(found)] = reached
        return columns, scores

    def matched_words(self, query: str, column: int) -> tuple[str, ...]:
        """The distinct words that the query shares with the item at ``column``, in the item's order."""
        asked = set(words(query))
        vocabulary = self._postings.vocabulary
        of_item = [vocabulary[number] for number in self._postings.texts[column]]
        return tuple(word for word in dict.fromkeys(of_item) if word in asked)

    def _queries(self, texts: Sequence[str]) -> list[Query]:
        counted = [Counter(words(text)) for text in texts]
        vocabulary, postings = self._postings.vocabulary, self._postings
        asked = list(set().union(*counted))
        found = dict(zip(asked, vocabulary.find(asked), strict=True))
        known = [
            [(found[word], count) for word, count in of_text.items() if found[word] is not None] for of_text in counted
        ]
        numbers, counts = np.array(list(chain(*known)), dtype=np.int64).reshape(-1, 2).T
        holders = postings.columns.starts[numbers + 1] - postings.columns.starts[numbers]
        weights = counts * np.log(1 + (len(self) - holders + 0.5) / (holders + 0.5))
        highest = postings.highest[numbers]
        bounds = weights * (highest / (highest + self._norm(postings.shortest[numbers])))
        lengths = [len(of_text) for of_text in known]
        order = np.lexsort((-bounds, np.repeat(np.arange(len(texts)), lengths)))
        rows = np.split(order, np.cumsum(lengths))[:-1]
        return [Query(numbers[row], weights[row], bounds[row], holders[row]) for row in rows]

    def _norm(self, lengths: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """What stands beside f_iw in the denominator, for texts of some lengths."""
        k1, b = self.settings.k1, self.settings.b
        return k1 * (1 - b + b * lengths.astype(np.float64) / self._mean_length)
