"""Items as the tokens of a sequence model, and histories as rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calrec.data.store import Domain

PADDING = 0


@dataclass(frozen=True)
class Vocabulary:
    """Tokens from 1 on: first the items of the training sequences, then the others where the model knows them at all.

    Attributes:
        columns: (V,) the item's column of each token, that of token 1 first.
        trained: how many of them stand in training sequences: tokens 1 to ``trained``.
        tokens: (I,) the token of each column, ``PADDING`` for an item that the model does not know.
        max_length: items of a history that the model sees, the newest.
    """

    columns: NDArray[np.int64]
    trained: int
    tokens: NDArray[np.int64]
    max_length: int

    @classmethod
    def of(cls, domain: Domain, max_length: int, unseen: bool) -> Vocabulary:
        """The domain's, with or without the items that no training sequence holds."""
        size = len(domain.catalogue)
        bought = (domain.catalogue.columns(history.item_ids) for history in domain.training_sequences())
        seen = np.zeros(size, dtype=bool)
        seen[[column for columns in bought for column in columns]] = True
        columns = np.concatenate([np.flatnonzero(seen), np.flatnonzero(~seen)[: size if unseen else 0]])
        tokens = np.zeros(size, dtype=np.int64)
        tokens[columns] = np.arange(1, len(columns) + 1)
        return cls(columns, int(seen.sum()), tokens, max_length)

    def encode(self, columns: Sequence[int], targets: int = 0) -> NDArray[np.int64]:
        """A sequence's newest tokens, oldest first; items that the model does not know are left out.

        Args:
            columns: of the items.
            targets: how many of the last ones are to be predicted, and so may stand beyond ``max_length``.
        """
        known = [token for token in self.tokens[list(columns)].tolist() if token != PADDING]
        return np.array(known[-self.max_length - targets :], dtype=np.int64)


def padded(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Rows of tokens as one array (B, longest), padded behind."""
    tokens = np.full((len(rows), max(map(len, rows))), PADDING)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = row
    return tokens
