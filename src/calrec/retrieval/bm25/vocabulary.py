"""The words of texts, and the distinct ones of a catalogue as arrays that need no parsing."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calrec.retrieval.bm25.ragged import Ragged

# Titles live on sizes and model numbers, so words of one character count, and no word is a stop word.
_WORD = re.compile(r"\w+")
# Letters by which words are looked up all at once; few have more of them in common.
_HEAD = 8


def words(text: str) -> list[str]:
    """The lower-cased words of a text, in its order: runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """V distinct words in the order of their letters; a word's place is its number.

    Attributes:
        letters: one row of UTF-8 bytes for each word; their order is that of the words.
    """

    letters: Ragged

    @classmethod
    def of(cls, ordered: Iterable[str]) -> Vocabulary:
        encoded = [word.encode() for word in ordered]
        return cls(Ragged.of_lengths(np.frombuffer(b"".join(encoded), dtype=np.uint8), list(map(len, encoded))))

    def __len__(self) -> int:
        return len(self.letters)

    def __getstate__(self) -> dict[str, Ragged]:
        return {"letters": self.letters}  # views cannot be copied, and are made again

    def __setstate__(self, state: dict[str, Ragged]) -> None:
        vars(self).update(state)

    def __getitem__(self, number: int) -> str:
        return self._encoded(number).decode()

    def find(self, asked: Sequence[str]) -> list[int | None]:
        """The number of each word, None where it is not here."""
        encoded = [word.encode() for word in asked]
        places = self._places(encoded)
        return [place if self._has(word, place) else None for word, place in zip(encoded, places, strict=True)]

    def changed(
        self, used: NDArray[np.bool_], added: Vocabulary
    ) -> tuple[Vocabulary, NDArray[np.int32], NDArray[np.int32]]:
        """The words that are still used and those that are added.

        Args:
            used: which of these words stay, (V,); all that are also in ``added`` do.
            added: words, some of which may be here.

        Returns:
            The new vocabulary; in it the numbers of the words of this one, (V,), -1 where a word is gone; and the
            numbers of the words of ``added``.
        """
        newer = [added._encoded(number) for number in range(len(added))]
        places = np.array(self._places(newer), dtype=np.int64)
        known = np.array(
            [self._has(word, place) for word, place in zip(newer, places.tolist(), strict=True)], dtype=bool
        )
        used = used.copy()
        used[places[known]] = True
        origin = np.insert(np.arange(len(self)), places[~known], -1)
        origin = origin[np.append(used, True)[origin]]  # -1, a new word, finds the True
        mine = np.full(len(self), -1, dtype=np.int32)
        mine[origin[origin >= 0]] = np.flatnonzero(origin >= 0)
        theirs = np.empty(len(added), dtype=np.int32)
        theirs[known] = mine[places[known]]
        theirs[~known] = np.flatnonzero(origin < 0)
        fresh = Vocabulary.of(added[number] for number in np.flatnonzero(~known).tolist())
        return Vocabulary(self.letters.changed(origin, fresh.letters)), mine, theirs

    def _places(self, encoded: Sequence[bytes]) -> list[int]:
        """The number of the first word that does not stand before each of these."""
        heads = np.array([word[:_HEAD] for word in encoded], dtype=self._heads.dtype)
        firsts, lasts = (self._heads.searchsorted(heads, side).tolist() for side in ("left", "right"))
        return [
            bisect_left(range(len(self)), word, first, last, key=self._encoded)
            for word, first, last in zip(encoded, firsts, lasts, strict=True)
        ]

    def _has(self, word: bytes, place: int) -> bool:
        return place < len(self) and self._encoded(place) == word

    def _encoded(self, number: int) -> bytes:
        letters, starts = self._memory
        return letters[starts[number] : starts[number + 1]].tobytes()

    @cached_property
    def _heads(self) -> NDArray[np.bytes_]:
        """The first bytes of each word, (V,)."""
        letters, starts = self.letters.values, self.letters.starts
        cells = np.zeros((len(self), _HEAD), dtype=np.uint8)
        there = np.arange(_HEAD) < self.letters.lengths[:, None]
        cells[there] = letters[(starts[:-1, None] + np.arange(_HEAD))[there]]
        return cells.view(f"S{_HEAD}")[:, 0]

    @cached_property
    def _memory(self) -> tuple[memoryview, memoryview]:
        """``letters`` without numpy's overhead, which is most of what finding a word would take."""
        return self.letters.values.data, self.letters.starts.data
