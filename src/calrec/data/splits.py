"""Leave-one-out: the last item of a user tests, the one before it validates, the one before that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SHORTEST = 3
"""Items a user needs, so that testing and validation both have a history."""

_FROM_THE_END: dict[Split, int] = {"test": 1, "valid": 2, "train": 3}


def leave_one_out(sequence: Sequence[str], split: Split) -> tuple[tuple[str, ...], str] | None:
    """History and target of one user's chronological sequence; None where no history would be left."""
    place = _FROM_THE_END[split]
    if len(sequence) <= place:
        return None
    return tuple(sequence[:-place]), sequence[-place]


def training_part(sequence: Sequence[str]) -> tuple[str, ...]:
    """What may be learnt from: all but the targets of validation and test."""
    return tuple(sequence[:-2])
