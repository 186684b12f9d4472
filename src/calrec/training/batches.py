"""Which sequences make a batch, and how a batch is laid out as tensors."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from calrec.errors import ConfigError
from calrec.text.encode import EncodedSequence
from calrec.training.choices import DomainDecisions, decisions_of
from calrec.training.config import SamplingRule
from calrec.training.sequences import Texts, Window

# Sequences are grouped by length within so many batches: nearly no padding, and still nearly random batches.
_BATCHES_GROUPED = 32
# The target tower's rows are at least so wide: short texts share them, and little is padded.
_ROW = 128


def drawn_per_epoch(sizes: Sequence[int], rule: SamplingRule) -> list[int]:
    """How many sequences an epoch draws from each domain; an epoch is as long as all domains together."""
    exponent = {"size": 1.0, "uniform": 0.0, "temperature": 1 / rule.temperature}[rule.rule]
    weights = np.asarray(sizes, dtype=np.float64) ** exponent
    shares = weights / weights.sum() * sum(sizes)
    return [max(1, round(share)) for share in shares]


class TokenBudgetBatches(Sampler[list[int]]):
    """All batches of a stage in order: a pure function of the windows and the settings.

    The whole stage is one pass of this sampler, so that going on in the middle of an epoch is skipping batches.

    Args:
        lengths: tokens of each window.
        domains: the domain's number of each window.
        rule: how often each domain is drawn.
        tokens_per_batch: the most tokens of a batch, padding included.
        epochs: may end within an epoch.
        token_budget: the most tokens of the whole stage, if any.
        seed: of the order.
        accumulation: batches an update; what is left of the last one, if that is not whole, is left out.
        texts: how many texts the catalogue has; with ``texts_each``, so many of them are added to every batch, all of
            them in turn: text t is number ``len(lengths) + t``.

    Raises:
        ConfigError: not even one update is whole.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        domains: Sequence[int],
        rule: SamplingRule,
        tokens_per_batch: int,
        epochs: float,
        token_budget: int | None,
        seed: int,
        accumulation: int = 1,
        texts: int = 0,
        texts_each: int = 0,
    ) -> None:
        self._lengths = np.asarray(lengths)
        self._by_domain = [np.flatnonzero(np.asarray(domains) == d) for d in range(max(domains) + 1)]
        self._drawn = drawn_per_epoch([len(members) for members in self._by_domain], rule)
        self._tokens_per_batch = tokens_per_batch
        self._seed = seed
        batches, self._epoch_sizes = self._all(epochs, token_budget)
        self.updates = len(batches) // accumulation
        if not self.updates:
            raise ConfigError(f"the stage has {len(batches)} batches, and accumulation = {accumulation}: lower it")
        self._batches = batches[: self.updates * accumulation]
        self._texts = _in_turn(np.random.default_rng((seed, 2)), texts, len(self._batches), min(texts, texts_each))

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def tokens(self) -> int:
        """Tokens of the whole stage, padding not counted."""
        return int(sum(self._lengths[batch].sum() for batch in self._batches))

    def share(self, process: int, processes: int) -> list[list[int]]:
        """What one of several processes computes: of every update the same number of batches, texts included."""
        first = len(self._lengths)
        batches = [[*b, *(first + t).tolist()] for b, t in zip(self._batches, self._texts, strict=True)]
        return batches[process::processes]

    def epochs_after(self, batches: int) -> float:
        """Passes over the data, in parts of one, when so many batches are done."""
        epochs = 0.0
        for size in self._epoch_sizes:
            epochs += min(1.0, batches / size)
            batches = max(0, batches - size)
        return round(epochs, 3)

    def _all(self, epochs: float, token_budget: int | None) -> tuple[list[list[int]], list[int]]:
        batches: list[list[int]] = []
        sizes: list[int] = []
        spent = 0
        for epoch in range(int(np.ceil(epochs))):
            of_epoch = self._epoch(epoch)
            sizes.append(len(of_epoch))
            share = min(1.0, epochs - epoch)
            for batch in of_epoch[: max(1, round(share * len(of_epoch)))]:
                spent += int(self._lengths[batch].sum())
                if token_budget is not None and spent > token_budget and batches:
                    return batches, sizes
                batches.append(batch)
        return batches, sizes

    def _epoch(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((self._seed, epoch))
        order = np.concatenate(
            [_draw(rng, members, count) for members, count in zip(self._by_domain, self._drawn, strict=True)]
        )
        rng.shuffle(order)
        batches = length_grouped(order, self._lengths, self._tokens_per_batch)
        return [batches[i] for i in rng.permutation(len(batches))]


def _draw(rng: np.random.Generator, members: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """``count`` of the members; each as often as the others, to within one."""
    whole, rest = divmod(count, len(members))
    return np.concatenate([np.tile(members, whole), rng.permutation(members)[:rest]])


def _in_turn(rng: np.random.Generator, texts: int, batches: int, each: int) -> NDArray[np.int64]:
    """(batches, each): permutations of the texts one after the other, cut into batches."""
    rounds = -(-batches * each // max(1, texts))
    order = [rng.permutation(texts) for _ in range(rounds)] or [np.empty(0, dtype=np.int64)]
    return np.concatenate(order)[: batches * each].reshape(batches, each)


def length_grouped(order: NDArray[np.intp], lengths: NDArray[np.int64], tokens_per_batch: int) -> list[list[int]]:
    """Batches of windows of similar length, none above the budget unless a single window is."""
    typical = max(1, int(tokens_per_batch / max(1.0, float(np.mean(lengths[order])))))
    batches: list[list[int]] = []
    for start in range(0, len(order), typical * _BATCHES_GROUPED):
        group = order[start : start + typical * _BATCHES_GROUPED]
        batch: list[int] = []
        for index in group[np.argsort(lengths[group], kind="stable")]:
            # Sorted, so this window is the longest: padding the batch to it must stay within the budget.
            if batch and (len(batch) + 1) * lengths[index] > tokens_per_batch:
                batches.append(batch)
                batch = []
            batch.append(int(index))
        batches.append(batch)
    return batches


class KnownStates(Protocol):
    """What can bring the trunk's states along; ``calrec.training.trunk_cache`` does."""

    def laid_out(self, rows: Sequence[Sequence[EncodedSequence]]) -> Tensor: ...


class Collator:
    """Lays windows out as the tensors of ``Towers.forward``, with the labels beside them.

    ``target_key`` (N,) numbers the targets' texts the same way in all batches; ``users`` says whose windows these are.

    Args:
        texts: the items of all domains.
        pad_id: any token; nothing looks at it.
        target_tower: whether the batch brings the targets' own texts.
        item_labels: whether these texts are also predicted (beyond the paper).
        trunk: known states of the frozen layers, brought along with the tokens.
        decisions: of every domain, where the next item's loss is normalised over its catalogue.
        free: whether all tokens of the targets are predicted; otherwise decisions alone are, as nothing else is asked.
        shared_rows: whether several items' texts may stand in one row of the target tower, as
            ``calrec.model.layers.keeps_texts_apart`` says.
    """

    def __init__(
        self,
        texts: Texts,
        pad_id: int,
        target_tower: bool = True,
        item_labels: bool = False,
        trunk: KnownStates | None = None,
        shared_rows: bool = True,
        decisions: Sequence[DomainDecisions] | None = None,
        free: bool = True,
    ) -> None:
        self.texts = texts
        self.pad_id = pad_id
        self.target_tower = target_tower or item_labels
        self.item_labels = item_labels
        self.trunk = trunk
        self.shared_rows = shared_rows
        self.decisions = decisions
        self.free = free or decisions is None

    def __call__(self, rows: Sequence[Window | int]) -> dict[str, Any]:
        """One batch.

        Args:
            rows: windows, and the numbers of more texts for the target tower to learn.
        """
        windows = [row for row in rows if isinstance(row, Window)]
        sequences = [window.sequence for window in windows]
        targets = [slice(window.first_target, None) for window in windows]
        row = np.repeat(np.arange(len(windows)), [len(w.keys[of]) for w, of in zip(windows, targets, strict=True)])
        span = np.concatenate([w.sequence.spans[of] for w, of in zip(windows, targets, strict=True)])
        key = np.concatenate([w.keys[of] for w, of in zip(windows, targets, strict=True)])
        history_end = np.concatenate([w.sequence.spans[w.first_target - 1 : -1, 1] for w in windows])
        distinct, target_item = np.unique(key, return_inverse=True)
        batch = {
            "input_ids": laid_out([[sequence] for sequence in sequences], self.pad_id),
            "row": _long(row),
            "history_end": _long(history_end),
            "target_start": _long(span[:, 0]),
            "target_end": _long(span[:, 1]),
            "target_item": _long(target_item),
            "target_key": _long(key),
            "users": [window.user_id for window in windows],
        }
        if self.free:
            predictions = _predictions(sequences, row, span)
        if self.decisions is not None:
            found = decisions_of(self.decisions, np.asarray([windows[r].domain for r in row]), key)
            borders = np.cumsum(span[:, 1] - span[:, 0])
            place = found.offset + np.append(0, borders)[found.target]
            if not self.free:
                position = span[found.target, 0] + found.offset - 1
                predictions = _long(row[found.target]), _long(position), _long(found.token)
                place = np.arange(len(found.target))
            # A plain mapping, since Trainer cannot carry a named tuple to its device.
            batch["choices"] = found.choices(place)._asdict()
        batch |= dict(zip(("label_row", "label_position", "labels"), predictions, strict=True))
        if self.trunk is not None:
            batch["trunk_states"] = self.trunk.laid_out([[sequence] for sequence in sequences])
        if self.target_tower:
            more = np.setdiff1d([row for row in rows if not isinstance(row, Window)], distinct).astype(np.int64)
            batch |= self._items([self.texts.items[k] for k in (*distinct, *more)])
        return batch

    def _items(self, items: list[EncodedSequence]) -> dict[str, Tensor]:
        packed = pack([len(item.token_ids) for item in items], self.shared_rows)
        rows = [[items[place] for place in row] for row in packed.rows]
        spans = np.concatenate([item.spans for item in items])
        batch = {
            "item_ids": laid_out(rows, self.pad_id),
            "item_positions": _positions(rows),
            "item_row": _long(packed.row),
            "item_start": _long(packed.start + spans[:, 0]),
            "item_end": _long(packed.start + spans[:, 1]),
        }
        if self.trunk is not None:
            batch["item_trunk_states"] = self.trunk.laid_out(rows)
        if self.item_labels:
            # Where a text begins with no token of its own, nothing predicts its first one.
            predicted = np.column_stack([np.maximum(spans[:, 0], 1), spans[:, 1]])
            item, position, labels = _predictions(items, np.arange(len(items)), predicted)
            batch |= {
                "item_label_row": batch["item_row"][item],
                "item_label_position": position + _long(packed.start)[item],
                "item_labels": labels,
            }
        return batch


@dataclass(frozen=True)
class Packed:
    """Texts that share rows.

    Attributes:
        rows: of each row its texts, in their order.
        row, start: (M,) of each text its row, and where it begins there.
    """

    rows: list[list[int]]
    row: NDArray[np.int64]
    start: NDArray[np.int64]


def pack(lengths: Sequence[int], shared: bool = True) -> Packed:
    """Put texts one after the other into rows as wide as the longest, or ``_ROW``: each where least room is left.

    Where rows are not ``shared``, each has its own.
    """
    if not shared:
        each = np.arange(len(lengths))
        return Packed([[text] for text in each.tolist()], each, np.zeros_like(each))
    width = max(_ROW, *lengths)
    rows: list[list[int]] = []
    row, start = np.zeros((2, len(lengths)), dtype=np.int64)
    room: list[tuple[int, int]] = []  # what is left, of which row; ascending
    for text in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        place = bisect_left(room, (lengths[text], -1))
        left, at = room.pop(place) if place < len(room) else (width, len(rows))
        if at == len(rows):
            rows.append([])
        rows[at].append(text)
        row[text], start[text] = at, width - left
        insort(room, (left - lengths[text], at))
    return Packed(rows, row, start)


def laid_out(rows: Sequence[Sequence[EncodedSequence]], pad_id: int) -> Tensor:
    """(R, T) tokens of rows, each of one sequence after the other, padded on the right."""
    ids = np.full((len(rows), row_width(rows)), pad_id, dtype=np.int64)
    for of_row, row in zip(ids, rows, strict=True):
        tokens = np.concatenate([sequence.token_ids for sequence in row])
        of_row[: len(tokens)] = tokens
    return torch.from_numpy(ids)


def _positions(rows: Sequence[Sequence[EncodedSequence]]) -> Tensor:
    """(R, T) each token's place in its own sequence; what pads goes on from the last."""
    positions = np.tile(np.arange(row_width(rows)), (len(rows), 1))
    for of_row, row in zip(positions, rows, strict=True):
        starts = np.cumsum([0, *(len(sequence.token_ids) for sequence in row[:-1])])
        for start in starts[1:].tolist():
            of_row[start:] -= of_row[start]
    return torch.from_numpy(positions)


def row_width(rows: Sequence[Sequence[EncodedSequence]]) -> int:
    """Tokens of the longest row."""
    return max(sum(len(sequence.token_ids) for sequence in row) for row in rows)


def _predictions(
    sequences: Sequence[EncodedSequence], row: NDArray[np.intp], span: NDArray[np.int32]
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the tokens of the spans are predicted, one position before each, and which they are: three of (P,)."""
    counts = span[:, 1] - span[:, 0]
    label_row = np.repeat(row, counts)
    positions = np.concatenate([np.arange(start, end) for start, end in span])
    labels = np.concatenate([sequences[r].token_ids[a:b] for r, (a, b) in zip(row, span, strict=True)])
    return _long(label_row), _long(positions - 1), _long(labels)


def _long(values: NDArray[np.integer]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
