"""A handful of a stage's real passes, timed on this device, so that the rest can be told by arithmetic."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import torch
from accelerate.utils import send_to_device
from numpy.typing import NDArray
from torch import Tensor

from calrec.losses import objective
from calrec.model.attention_kernels import without_cudnn
from calrec.training.alignment import Alignment, PassOutput
from calrec.training.batches import Collator
from calrec.training.contrast import contrast
from calrec.training.sequences import Window

_SAMPLED_EVERY_S = 0.005
_WRITTEN_BYTES = 64 << 20


@dataclass
class Measured:
    """What the probe saw on this device.

    Attributes:
        passes: seconds of forward and back, by the number of the batch.
        forward: (operations, seconds) of one pass without gradients.
        trunk: (tokens, seconds) of the frozen trunk, where it is cached; padding counts.
        update_s: of clipping gradients and one step of the optimizer.
        write_s: a byte, to disk.
        peak_bytes: of the process on a CPU, of the allocator on an accelerator.
        seconds: that the probe itself took.
    """

    passes: dict[int, float] = field(default_factory=dict)
    forward: tuple[float, float] = (1.0, 0.0)
    trunk: tuple[int, float] = (0, 0.0)
    update_s: float = 0.0
    write_s: float = 0.0
    peak_bytes: int = 0
    seconds: float = 0.0


def chosen(operations: NDArray[np.float64], sizes: NDArray[np.int64]) -> list[int]:
    """The passes to time, the most telling first: the largest (its memory is the peak), the median, the smallest."""
    order = np.argsort(operations, kind="stable")
    return list(dict.fromkeys([int(np.argmax(sizes)), int(order[len(order) // 2]), int(order[0])]))


def spread(measured: dict[int, float], operations: NDArray[np.float64]) -> float:
    """Seconds of all passes from those of some, by interpolating along their operations."""
    points = sorted((operations[index], seconds) for index, seconds in measured.items())
    known, seconds = (np.asarray([0.0, *column]) for column in zip(*points, strict=True))
    # Beyond the costliest pass that was timed: in proportion.
    beyond = np.maximum(operations / known[-1], 1.0)
    return float((np.interp(operations, known, seconds) * beyond).sum())


@without_cudnn()
def probe(
    alignment: Alignment,
    batches: Sequence[Sequence[int]],
    rows: Sequence[Window | int],
    collator: Collator,
    operations: NDArray[np.float64],
    sizes: NDArray[np.int64],
    forward_operations: NDArray[np.float64],
    device: torch.device,
    autocast: bool,
    cached: bool,
    max_grad_norm: float,
    budget_s: float,
) -> Measured:
    """Time some passes, an update and a write to disk. The weights stay what they are.

    Args:
        alignment: as training makes it, on the device.
        batches, rows, collator: the stage's; no trunk's states in the collator.
        operations: (K,) of every pass forward and back. sizes: (K,) its tokens. forward_operations: without gradients.
        autocast: matrix products in bfloat16.
        cached: whether the trunk's states will be known; the probe computes and times them beforehand.
        max_grad_norm: as training clips.
        budget_s: a further pass is left out where it would end later.
    """
    measured = Measured()
    started = time.perf_counter()
    weights = [p for p in alignment.parameters() if p.requires_grad]
    # A learning rate of 0 leaves the weights alone, and costs what any other does.
    optimizer = torch.optim.AdamW(weights, lr=0.0)
    alignment.train()
    timer = _Passes(alignment, collator, device, autocast, cached)
    picked = chosen(operations, sizes)
    with peak_memory(device, measured):
        # The first pass pays for what later ones find made. Two rows will do where nothing is compiled or allocated
        # by size; the first step makes the optimizer's states, which are part of the peak.
        first = [rows[index] for index in batches[picked[0]]]
        timer.backward(timer.batch(first if device.type != "cpu" else first[:2]))
        _update(optimizer, weights, max_grad_norm)
        measured.passes[picked[0]] = timer.seconds(first)
        measured.update_s = _timed(device, lambda: _update(optimizer, weights, max_grad_norm))
        measured.forward = float(forward_operations[picked[0]]), timer.forward_seconds(first)
        whole = measured.passes[picked[0]] + (timer.trunk[1] / 2 if cached else 0.0)
        for index in picked[1:]:
            expected = whole * operations[index] / operations[picked[0]]
            if time.perf_counter() - started + expected <= budget_s:
                measured.passes[index] = timer.seconds([rows[number] for number in batches[index]])
    measured.trunk = timer.trunk
    measured.write_s = _write_seconds()
    measured.seconds = time.perf_counter() - started
    optimizer.zero_grad()
    return measured


class _Passes:
    """Runs passes as training does, and times them."""

    def __init__(
        self, alignment: Alignment, collator: Collator, device: torch.device, autocast: bool, cached: bool
    ) -> None:
        self._alignment = alignment
        self._collator = collator
        self._device = device
        self._autocast = autocast
        self._cached = cached
        self.trunk = (0, 0.0)

    def batch(self, rows: Sequence[Window | int]) -> dict[str, Any]:
        """A batch on the device, with the trunk's states where these will be known."""
        laid_out = self._collator(rows)
        laid_out.pop("users")
        batch: dict[str, Any] = send_to_device(laid_out, self._device)
        if self._cached:
            batch["trunk_states"] = self._trunk(batch["input_ids"])
            if "item_ids" in batch:
                batch["item_trunk_states"] = self._trunk(batch["item_ids"], batch["item_positions"])
        return batch

    def _trunk(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        begun = time.perf_counter()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            states = self._alignment.towers.trunk(ids, positions).to("cpu", torch.float16)
        tokens, seconds = self.trunk
        self.trunk = tokens + ids.numel(), seconds + time.perf_counter() - begun
        return states.to(self._device)

    def seconds(self, rows: Sequence[Window | int]) -> float:
        """Of forward and back, laying the batch out included, the trunk's states not where these will be known."""
        trunk_before = self.trunk[1]
        begun = time.perf_counter()
        self.backward(self.batch(rows))
        return time.perf_counter() - begun - (self.trunk[1] - trunk_before)

    def backward(self, batch: dict[str, Any]) -> None:
        """One pass's part of the objective, and its gradients."""
        settings, keys = self._alignment.settings, batch.pop("target_key")
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            output: PassOutput = self._alignment(**batch)
        terms = {"nig": output.next_item, "item": output.item, "catalogue": output.catalogue}
        parts = [objective(settings, {name: term}) for name, term in terms.items() if term is not None]
        if output.vectors is not None:
            parts.append(contrast(settings, [output.vectors], [keys])[0].through(output.vectors))
        (sum(parts[1:], start=parts[0]) / len(keys)).backward()  # type: ignore[no-untyped-call]
        _finish(self._device)

    @torch.no_grad()
    def forward_seconds(self, rows: Sequence[Window | int]) -> float:
        """Of one pass without gradients."""
        batch = self.batch(rows)
        del batch["target_key"]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            return _timed(self._device, lambda: self._alignment(**batch))


def _update(optimizer: torch.optim.Optimizer, weights: list[torch.nn.Parameter], max_grad_norm: float) -> None:
    torch.nn.utils.clip_grad_norm_(weights, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


def _timed(device: torch.device, work: Any) -> float:
    begun = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - begun


def _finish(device: torch.device) -> None:
    """Wait for an accelerator, which works behind Python's back."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _write_seconds() -> float:
    """A byte, written into the temporary folder and brought to its disk."""
    block = np.random.default_rng(0).bytes(_WRITTEN_BYTES)
    with tempfile.TemporaryFile() as file:
        begun = time.perf_counter()
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return (time.perf_counter() - begun) / _WRITTEN_BYTES


@contextmanager
def peak_memory(device: torch.device, measured: Measured) -> Iterator[None]:
    """Note the most memory that was held within the block: the process's resident set, or the allocator's on CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield
        measured.peak_bytes = torch.cuda.max_memory_allocated(device)
        return
    done = Event()
    process = psutil.Process()

    def watch() -> None:
        # The kernel's own high-water mark would count what came before.
        while not done.wait(_SAMPLED_EVERY_S):
            measured.peak_bytes = max(measured.peak_bytes, process.memory_info().rss)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        measured.peak_bytes = max(measured.peak_bytes, process.memory_info().rss)
