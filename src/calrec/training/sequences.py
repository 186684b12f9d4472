"""What the stages train on: sequences of several domains, cut into windows that fit the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calrec.records import Example, History
from calrec.text.encode import EncodedSequence, SequenceEncoder


@dataclass(frozen=True)
class Window:
    """One sequence for the model.

    Attributes:
        user_id: whose it is, to name in an error.
        domain: number of its domain in the mixture.
        sequence: its tokens.
        first_target: the spans from this one on are targets.
        keys: for each span the number of its text, the same for the same text in all domains.
    """

    user_id: str
    domain: int
    sequence: EncodedSequence
    first_target: int
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.sequence.token_ids)


class Texts:
    """Numbers the item texts of all domains: the items that the target tower can be asked for."""

    def __init__(self) -> None:
        self.items: list[EncodedSequence] = []
        self._numbers: dict[bytes, int] = {}

    def keys(self, encoder: SequenceEncoder) -> np.ndarray:
        """(I,) the number of every item of a catalogue."""
        return np.asarray([self._number(encoder, column) for column in range(len(encoder.items))], dtype=np.int64)

    def _number(self, encoder: SequenceEncoder, column: int) -> int:
        tokens = encoder.items[column].tobytes()
        if tokens not in self._numbers:
            self._numbers[tokens] = len(self.items)
            self.items.append(encoder.item(column))
        return self._numbers[tokens]


@dataclass(frozen=True)
class DomainTexts:
    """One domain as a stage sees it: its place in the mixture, its encoder, and the numbers of its items' texts."""

    number: int
    encoder: SequenceEncoder
    positions: dict[str, int]
    keys: np.ndarray

    def window(self, user_id: str, history: Sequence[str], target: str, targets: int | None = 1) -> Window:
        """A sequence whose last ``targets`` items are to be predicted; None: all but the first."""
        columns = [self.positions[item_id] for item_id in history]
        sequence = self.encoder.sequence(columns, self.positions[target])
        count = len(sequence.spans) - 1 if targets is None else targets
        return Window(user_id, self.number, sequence, len(sequence.spans) - count, self.keys[sequence.items])


def example_windows(domain: DomainTexts, examples: Sequence[Example]) -> list[Window]:
    """One window an example, its target the last span: the paper's way."""
    return [domain.window(e.user_id, e.history, e.target) for e in examples]


def all_target_windows(domain: DomainTexts, histories: Sequence[History]) -> list[Window]:
    """Windows in which every item of a user but the first is a target exactly once."""
    return [window for history in histories for window in _windows_of(domain, history)]


def _windows_of(domain: DomainTexts, history: History) -> Iterator[Window]:
    # From the newest backwards; the oldest item of a window is the last target of the window before it.
    end = len(history.item_ids)
    while end >= 2:
        window = domain.window(history.user_id, history.item_ids[: end - 1], history.item_ids[end - 1], None)
        yield window
        end -= len(window.sequence.spans) - 1


def training_windows(
    domain: DomainTexts,
    targets: Literal["last", "all"],
    examples: Sequence[Example],
    histories: Sequence[History],
) -> list[Window]:
    """A domain's training sequences."""
    return example_windows(domain, examples) if targets == "last" else all_target_windows(domain, histories)
