"""One stage before it runs: its counts, its costs, and its time here and elsewhere."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from calrec.model.backbones import Backbone
from calrec.model.layers import keeps_texts_apart
from calrec.model.towers import Towers
from calrec.planning.costs import (
    Memory,
    StageOperations,
    forward_operations,
    memory,
    model_cost,
    stage_operations,
)
from calrec.planning.counts import StageCounts, count_passes, total_counts, validation_batches
from calrec.planning.devices import DEVICES, DeviceClass, Estimate, estimate
from calrec.planning.probe import Measured, probe, spread
from calrec.training.adapt import adapt
from calrec.training.alignment import Alignment
from calrec.training.config import StageOne, StageTwo, TrainingPlan
from calrec.training.stages import StageData, stage_batches, stage_collator
from calrec.training.trainer import training_arguments
from calrec.training.trunk_cache import against_cache


@dataclass(frozen=True)
class CachePlan:
    """The frozen trunk's states: whether they are kept, and if not, why.

    Attributes:
        pays: whether it would, were there disk for it. limit_gb: the disk it may take; 0 asks for none.
        tokens: of distinct sequences. size_gb: their states on disk.
    """

    used: bool
    why_not: str | None
    pays: bool
    limit_gb: float
    tokens: int
    size_gb: float


@dataclass(frozen=True)
class Here:
    """A stage on this device, told from a few passes that were run on it.

    Attributes:
        seconds: by what they go to: the trunk's cache, passes forward and back, passes forward alone (validation, and
            for an update's negatives), updates, and checkpoints to disk.
        peak_gb: resident memory of the process on a CPU, the pages of a cache included; on CUDA the allocator's.
        passes_timed: how many. probe_s: how long all of that took.
    """

    seconds: dict[str, float]
    peak_gb: float
    passes_timed: int
    probe_s: float


@dataclass(frozen=True)
class StagePlan:
    """All about one stage.

    Attributes:
        trained, parameters: numbers of weights.
        operations: floating-point operations by part, each of all passes.
        memory: by arithmetic, in bytes.
        checkpoint_gb: one of them. disk_gb: the most that the stage's folder takes.
        here: None where it was not probed.
        elsewhere: estimates for other devices.
    """

    name: str
    domains: tuple[str, ...]
    counts: StageCounts
    trained: int
    parameters: int
    cache: CachePlan
    operations: dict[str, float]
    memory: Memory
    checkpoint_gb: float
    disk_gb: float
    here: Here | None
    elsewhere: tuple[Estimate, ...]


class StagePlanner:
    """Looks at a stage as training would set it up.

    Args:
        plan: of the whole run.
        stage: which of it. name: its name.
        data: as ``stage_data`` makes it.
        backbone: its gradients are switched on and off in place.
        device: where training would run.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        stage: StageOne | StageTwo,
        name: str,
        data: StageData,
        backbone: Backbone,
        device: torch.device,
    ) -> None:
        self._plan, self._stage, self._name, self._data, self._device = plan, stage, name, data, device
        self._autocast = plan.model.autocast(device.type != "cpu")
        adapt(backbone.lm, plan.model, stage.seed, device.type != "cpu")
        self._towers = Towers(backbone.lm)
        self._cost = model_cost(self._towers, plan.model.gradient_checkpointing)
        self._batches = stage_batches(stage, data)
        self._collator = stage_collator(plan, data, keeps_texts_apart(backbone.lm))
        self._rows = [*data.training, *range(len(data.texts.items))]
        groups = validation_batches(data.validation, stage.tokens_per_batch)
        self._training = count_passes(self._batches.share(0, 1), self._rows, self._collator)
        self._validation = count_passes(groups, data.validation, self._collator)

    @cached_property
    def counts(self) -> StageCounts:
        once = self._stage.model_copy(update={"epochs": 1.0, "token_budget": None, "accumulation": 1})
        with tempfile.TemporaryDirectory(prefix="calrec-plan-") as folder:
            arguments = training_arguments(
                self._stage, Path(folder), self._batches.updates, self._autocast, self._device.type == "cpu"
            )
        return total_counts(
            self._stage,
            self._batches,
            self._training,
            self._validation,
            len(self._data.training),
            len(self._data.texts.items),
            stage_batches(once, self._data).tokens,
            int(arguments.eval_steps),
        )

    @cached_property
    def cache(self) -> CachePlan:
        tokens = sum(len(ids) // 4 for ids in {s.token_ids.tobytes() for s in self._data.sequences})
        size = tokens * self._cost.width * 2 / 1e9
        passes = self._batches.tokens / sum(len(window) for window in self._data.training)
        limit = self._stage.cache_gb
        pays = against_cache(self._cost.trunk_layers, passes, size, math.inf) is None
        why_not = against_cache(self._cost.trunk_layers, passes, size, limit) if limit else "cache_gb is 0"
        return CachePlan(why_not is None, why_not, pays, limit, tokens, size)

    @cached_property
    def memory(self) -> Memory:
        """On this device, by arithmetic."""
        return memory(self._cost, self._training, self._autocast, self._stage.accumulation)

    def planned(self, probe_s: float | None) -> StagePlan:
        """The stage's plan.

        Args:
            probe_s: how long passes may be run on the device for; None runs none.
        """
        cost, counts, cached_gb = self._cost, self.counts, self.cache.size_gb if self.cache.used else 0.0
        # A checkpoint holds all weights, or the adapters alone, and AdamW's two states of those that are trained.
        weights = cost.trained_bytes if self._plan.model.lora else cost.parameters * cost.weight_bytes
        checkpoint = (weights + 2 * cost.trained_bytes) / 1e9
        kept = min(counts.checkpoints, max(2, self._stage.save_total_limit) + 1)  # one is being written
        operations = self._operations
        return StagePlan(
            name=self._name,
            domains=self._stage.domains,
            counts=counts,
            trained=cost.trained,
            parameters=cost.parameters,
            cache=self.cache,
            operations={
                "trunk once": operations.trunk_once,
                "passes": float(operations.passes.sum()),
                "first passes": float(operations.first_passes.sum()),
                "contrast": operations.contrast,
                "validation": counts.validations * float(operations.validation.sum()),
            },
            memory=self.memory,
            checkpoint_gb=checkpoint,
            disk_gb=kept * checkpoint + cached_gb,
            here=None if probe_s is None else self._here(self._probed(probe_s), checkpoint, cached_gb),
            elsewhere=tuple(self._estimate(device) for device in DEVICES),
        )

    @property
    def _cached_tokens(self) -> int:
        return self.cache.tokens if self.cache.used else 0

    @cached_property
    def _operations(self) -> StageOperations:
        return stage_operations(
            self._cost,
            self._training,
            self._validation,
            self._stage,
            self._plan.objective,
            self._cached_tokens,
            self._stage.accumulation,
        )

    def _estimate(self, device: DeviceClass) -> Estimate:
        return estimate(
            device,
            self._cost,
            self._training,
            self._validation,
            self._stage,
            self._plan.objective,
            self._plan.model.autocast(accelerator=True),
            self._cached_tokens,
            self.counts.validations,
        )

    def _probed(self, budget_s: float) -> Measured:
        return probe(
            Alignment(self._towers, self._plan.objective).to(self._device),
            self._batches.share(0, 1),
            self._rows,
            self._collator,
            self._operations.passes,
            self._training.tokens,
            forward_operations(self._cost, self._training, self.cache.used),
            self._device,
            self._autocast,
            self.cache.used,
            self._stage.max_grad_norm,
            budget_s,
        )

    def _here(self, measured: Measured, checkpoint_gb: float, cached_gb: float) -> Here:
        operations, counts = self._operations, self.counts
        tokens, trunk_s = measured.trunk
        done, forward_s = measured.forward
        forward = float(operations.first_passes.sum()) + counts.validations * float(operations.validation.sum())
        return Here(
            seconds={
                "trunk": self._cached_tokens * trunk_s / max(1, tokens),
                "passes": spread(measured.passes, operations.passes),
                "forward passes": forward * forward_s / done,
                "updates": counts.updates * measured.update_s,
                "disk": counts.checkpoints * checkpoint_gb * 1e9 * measured.write_s,
            },
            # A process's resident set counts the pages of a file that it has mapped.
            peak_gb=measured.peak_bytes / 1e9 + (cached_gb if self._device.type == "cpu" else 0.0),
            passes_timed=len(measured.passes),
            probe_s=measured.seconds,
        )
