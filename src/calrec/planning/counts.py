"""What a stage will go through, counted exactly: its batches are made as training makes them, and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calrec.training.batches import Collator, TokenBudgetBatches, length_grouped
from calrec.training.config import StageSettings
from calrec.training.sequences import Window

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class PassCounts:
    """The size of every forward pass, (K,) each; padding counts, since it is computed too.

    Attributes:
        tokens: B·L of the sequences plus R·T of the rows that item texts share. cells: B·L² plus R·T², which attention
            compares.
        item_tokens: R·T alone.
        unpadded: tokens of both towers without padding.
        labels: target tokens that meet the vocabulary. item_labels: the same of the items' own texts.
        targets: rows of the contrastive terms.
    """

    tokens: Counts
    cells: Counts
    item_tokens: Counts
    unpadded: Counts
    labels: Counts
    item_labels: Counts
    targets: Counts

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def predicted(self) -> Counts:
        """(K,) all positions that meet the vocabulary."""
        return self.labels + self.item_labels


@dataclass(frozen=True)
class StageCounts:
    """Totals of a stage; tokens as the columns of a tokenizer, padding left out unless said.

    Attributes:
        sequences, item_texts: that it has.
        tokens_per_epoch: of sequences, in one pass over the data.
        tokens: of sequences, in all: what training reports.
        target_tokens: that meet the vocabulary. item_label_tokens: of items' own texts that do so.
        item_tokens: that the target tower reads, padding included.
        computed_tokens: that both towers go through, padding included. padding: its share of these, 0 to 1.
        batches: forward and backward passes of all processes. updates: of the weights. accumulation: passes an update.
        validations: of so many tokens each, padding included. checkpoints: that are written.
    """

    sequences: int
    item_texts: int
    tokens_per_epoch: int
    tokens: int
    target_tokens: int
    item_label_tokens: int
    item_tokens: int
    computed_tokens: int
    padding: float
    batches: int
    updates: int
    accumulation: int
    validations: int
    validation_tokens: int
    checkpoints: int


def count_passes(batches: Sequence[Sequence[int]], rows: Sequence[Window | int], collator: Collator) -> PassCounts:
    """Lay every batch out as training does, and count.

    Args:
        batches: numbers of rows. rows: what ``Collator`` takes. collator: without the trunk's states.
    """
    counted = [_counts([rows[index] for index in batch], collator) for batch in batches]
    return PassCounts(*np.asarray(counted, dtype=np.int64).reshape(-1, 7).T)


def _counts(rows: Sequence[Window | int], collator: Collator) -> tuple[int, ...]:
    batch = collator(rows)
    layouts = [batch[name].shape for name in ("input_ids", "item_ids") if name in batch]
    own = 0
    if "item_ids" in batch:
        own = int((batch["item_positions"][batch["item_row"], batch["item_end"] - 1] + 1).sum())
    return (
        sum(rows * length for rows, length in layouts),
        sum(rows * length**2 for rows, length in layouts),
        batch["item_ids"].numel() if "item_ids" in batch else 0,
        sum(len(row) for row in rows if isinstance(row, Window)) + own,
        batch["labels"].numel(),
        batch["item_labels"].numel() if "item_labels" in batch else 0,
        len(batch["target_item"]),
    )


def validation_batches(windows: Sequence[Window], tokens_per_batch: int) -> list[list[int]]:
    """As ``CalrecTrainer`` cuts validation up."""
    lengths = np.asarray([len(window) for window in windows])
    return length_grouped(lengths.argsort(kind="stable"), lengths, tokens_per_batch) if len(windows) else []


def total_counts(
    stage: StageSettings,
    batches: TokenBudgetBatches,
    training: PassCounts,
    validation: PassCounts,
    sequences: int,
    item_texts: int,
    tokens_per_epoch: int,
    every: int,
) -> StageCounts:
    """Sum a stage up.

    Args:
        every: updates between two validations, each of which writes a checkpoint; the last update has both too.
    """
    validations = -(-batches.updates // every)
    return StageCounts(
        sequences=sequences,
        item_texts=item_texts,
        tokens_per_epoch=tokens_per_epoch,
        tokens=batches.tokens,
        target_tokens=int(training.labels.sum()),
        item_label_tokens=int(training.item_labels.sum()),
        item_tokens=int(training.item_tokens.sum()),
        computed_tokens=int(training.tokens.sum()),
        padding=float(1 - training.unpadded.sum() / training.tokens.sum()),
        batches=len(batches),
        updates=batches.updates,
        accumulation=stage.accumulation,
        validations=validations,
        validation_tokens=int(validation.tokens.sum()),
        checkpoints=validations,
    )
