"""The words of a catalogue's texts, by text and by word: all that BM25 needs, whatever its constants."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calrec.retrieval.bm25.ragged import Ragged
from calrec.retrieval.bm25.vocabulary import Vocabulary, words

_FLAT = ("most", "kinds", "hits", "highest", "shortest")


@dataclass(frozen=True)
class Postings:
    """I texts of V distinct words. Nothing here depends on other texts, so a change of the catalogue touches little.

    Attributes:
        vocabulary: the words, each in some text.
        texts: one row of word numbers (int32) for each text, in its order.
        most: how often each text has the word that it has most often, (I,).
        columns: one row for each word: the ascending columns (int32) of the texts that have it.
        kinds: beside ``columns.values`` what kind of a hit it is, as a row of ``hits``.
        hits: (H, 2) int32, the distinct pairs of how often a text has a word, and how many words the text has.
        highest: the most that any text has each word, (V,) int32.
        shortest: words of the shortest text that has the word, (V,) int32.
    """

    vocabulary: Vocabulary
    texts: Ragged
    most: NDArray[np.unsignedinteger[Any]]
    columns: Ragged
    kinds: NDArray[np.unsignedinteger[Any]]
    hits: NDArray[np.int32]
    highest: NDArray[np.int32]
    shortest: NDArray[np.int32]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Postings:
        return cls._inverted(*_numbered(texts))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Postings:
        """From what ``arrays`` gave.

        Raises:
            KeyError: one is missing.
        """
        rows = {name: Ragged(arrays[name], arrays[f"{name}_starts"]) for name in ("letters", "texts", "columns")}
        flat = {name: arrays[name] for name in _FLAT}
        return cls(vocabulary=Vocabulary(rows["letters"]), texts=rows["texts"], columns=rows["columns"], **flat)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All there is, by name."""
        rows = {"letters": self.vocabulary.letters, "texts": self.texts, "columns": self.columns}
        return {
            **{name: of_name.values for name, of_name in rows.items()},
            **{f"{name}_starts": of_name.starts for name, of_name in rows.items()},
            **{name: getattr(self, name) for name in _FLAT},
        }

    def changed(self, origin: NDArray[np.int64], added: Sequence[str]) -> Postings:
        """Those of another catalogue: array by array what ``Postings.of`` makes of its texts.

        Args:
            origin: (new I,) the old column of every text, in ascending order, or -1 for the next one of ``added``.
            added: the new texts.
        """
        vocabulary, texts = _numbered(added)
        stays = np.zeros(len(self.texts), dtype=bool)
        stays[origin[origin >= 0]] = True
        used = np.zeros(len(self.vocabulary), dtype=bool)
        used[self.texts.values[np.repeat(stays, self.texts.lengths)]] = True
        merged, mine, theirs = self.vocabulary.changed(used, vocabulary)
        old = Ragged(mine[self.texts.values], self.texts.starts)
        new = Ragged(theirs[texts.values], texts.starts)
        return self._inverted(merged, old.changed(origin, new))

    @classmethod
    def _inverted(cls, vocabulary: Vocabulary, texts: Ragged) -> Postings:
        ones = np.ones(len(texts.values), dtype=np.int32)
        starts = texts.starts.astype(sparse.get_index_dtype(maxval=len(ones)))
        by_word = sparse.csr_array((ones, texts.values, starts), shape=(len(texts), len(vocabulary))).tocsc()
        by_word.sum_duplicates()
        columns = Ragged(by_word.indices.astype(np.int32, copy=False), by_word.indptr.astype(np.int64))
        counts, lengths = by_word.data, texts.lengths.astype(np.int32)
        most = np.zeros(len(texts), dtype=counts.dtype)
        np.maximum.at(most, columns.values, counts)
        # Pairs as one number each, found without a sort: short texts have few lengths and few counts.
        longest = int(lengths.max(initial=0)) + 1
        pairs = counts * longest + lengths[columns.values]
        present = np.zeros((int(most.max(initial=0)) + 1) * longest, dtype=bool)
        present[pairs] = True
        hits = np.stack(np.divmod(np.flatnonzero(present).astype(np.int32), longest), axis=1)
        kinds = (np.cumsum(present) - 1).astype(np.min_scalar_type(len(hits)))[pairs]
        return cls(
            vocabulary=vocabulary,
            texts=texts,
            most=most.astype(np.min_scalar_type(most.max(initial=0))),
            columns=columns,
            kinds=kinds,
            hits=hits,
            highest=_of_rows(np.maximum, hits[:, 0][kinds], columns),
            shortest=_of_rows(np.minimum, hits[:, 1][kinds], columns),
        )


def _of_rows(combine: np.ufunc, values: NDArray[np.int32], rows: Ragged) -> NDArray[np.int32]:
    """Values (N,) that stand beside those of ``rows``, none of which is empty, combined into one for each row."""
    return combine.reduceat(values, rows.starts[:-1]) if len(rows) else values


def _numbered(texts: Sequence[str]) -> tuple[Vocabulary, Ragged]:
    """The distinct words of texts, and the texts as rows of their numbers."""
    seen: defaultdict[str, int] = defaultdict()
    seen.default_factory = seen.__len__
    numbers, lengths = array("i"), []
    for text in texts:
        of_text = words(text)
        numbers.extend(map(seen.__getitem__, of_text))
        lengths.append(len(of_text))
    ordered = sorted(seen)
    final = np.empty(len(seen), dtype=np.int32)
    final[[seen[word] for word in ordered]] = np.arange(len(seen))
    return Vocabulary.of(ordered), Ragged.of_lengths(final[np.asarray(numbers, dtype=np.int32)], lengths)
