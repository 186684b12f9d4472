"""Rows of different lengths in two flat arrays, which can lie in files and be changed without a loop over the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """R rows.

    Attributes:
        values: those of the first row, then those of the second, ...: (N,).
        starts: where each row begins in ``values``, and N at the end: (R + 1,) int64.
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of_lengths(cls, values: NDArray[Any], lengths: Sequence[int] | NDArray[np.integer[Any]]) -> Ragged:
        starts = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=starts[1:])
        return cls(values, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Of the rows: (R,)."""
        return np.diff(self.starts)

    def changed(self, origin: NDArray[np.int64], added: Ragged) -> Ragged:
        """Other rows, most of which are old ones.

        Args:
            origin: for every row that is to be, the old row, or -1 for the next one of ``added``; old rows keep their
                order.
            added: as many rows as there are -1.
        """
        kept = origin >= 0
        lengths = np.empty(len(origin), dtype=np.int64)
        lengths[kept] = self.lengths[origin[kept]]
        lengths[~kept] = added.lengths
        stays = np.zeros(len(self), dtype=bool)
        stays[origin[kept]] = True
        is_old = np.repeat(kept, lengths)
        values = np.empty(len(is_old), dtype=self.values.dtype)
        values[is_old] = self.values[np.repeat(stays, self.lengths)]
        values[~is_old] = added.values
        return Ragged.of_lengths(values, lengths)
