"""Devices that are not at hand: whether a stage fits, and how long it takes at a stated rate. Estimates, all of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calrec.losses import ObjectiveSettings
from calrec.planning.costs import ModelCost, Operations, StageOperations, memory, stage_operations
from calrec.planning.counts import PassCounts
from calrec.training.config import StageSettings

#: Of the nominal rate: what large matrix products in a training loop without special kernels come to.
SUSTAINED = 0.4
#: Seconds that Python and kernel launches need for one layer forward and back, however small the pass is. Measured on
#: an H100 behind a virtual machine's Xeon: .27 an update of 30 layers and two towers, beside other work.
LAUNCH_S = 0.0045
#: Of a device's memory, the share that weights and states can have: the rest is the driver's and fragments.
USABLE = 0.9


@dataclass(frozen=True)
class DeviceClass:
    """A kind of machine, by its makers' numbers.

    Attributes:
        name: for people. card: whose numbers these are. cards: how many.
        memory_gb: of one card.
        bfloat16, float32: nominal rate of dense matrix products of one card, in 10¹² operations a second.
    """

    name: str
    card: str
    cards: int
    memory_gb: float
    bfloat16: float
    float32: float


DEVICES = (
    DeviceClass("one 24 GB GPU", "RTX 4090", 1, 24, 165, 82),
    DeviceClass("one 80 GB GPU", "A100 80GB", 1, 80, 312, 19.5),
    DeviceClass("8 x 80 GB GPUs", "A100 80GB", 8, 80, 312, 19.5),
)


@dataclass(frozen=True)
class Estimate:
    """One stage on one kind of device; computed, not measured.

    Attributes:
        device: its name. memory_gb: peak of one card. fits: whether that is less than a card can give.
        seconds: of the passes, at ``SUSTAINED`` of the nominal rate; None where it cannot run like this.
        rate: what was assumed, for people. why_not: it does not fit or run.
    """

    device: str
    memory_gb: float | None
    fits: bool
    seconds: float | None
    rate: str
    why_not: str | None = None


def estimate(
    device: DeviceClass,
    cost: ModelCost,
    training: PassCounts,
    validation: PassCounts,
    stage: StageSettings,
    objective: ObjectiveSettings,
    autocast: bool,
    cached_tokens: int,
    validations: int,
) -> Estimate:
    """One stage on a device; the disk is not counted.

    Args:
        autocast: matrix products in bfloat16 over float32 weights.
        cached_tokens: of the trunk's cache; 0 where there is none.
        validations: how often the validation passes run, on every card.
    """
    narrow = autocast or cost.weight_bytes == 2
    nominal = device.bfloat16 if narrow else device.float32
    rate = f"{SUSTAINED:.0%} of {device.cards} x {nominal:g} TFLOP/s ({device.card}, {'bf16' if narrow else 'fp32'})"
    per_card = stage.accumulation // device.cards
    if stage.accumulation % device.cards:
        why = f"accumulation = {stage.accumulation} is no multiple of {device.cards}"
        return Estimate(device.name, None, False, None, rate, why)
    need = memory(cost, training, autocast, per_card, device.cards).peak / 1e9
    fits = need <= USABLE * device.memory_gb
    why_not = None if fits else f"more than {USABLE:.0%} of {device.memory_gb:g} GB"
    seconds = _seconds(
        stage_operations(cost, training, validation, stage, objective, cached_tokens, per_card),
        SUSTAINED * nominal * 1e12,
        LAUNCH_S
        * (2 if training.item_tokens.any() else 1)
        * (cost.top_layers + cost.trunk_layers * (not cached_tokens)),
        device.cards,
        validations,
    )
    return Estimate(device.name, need, fits, seconds, rate, why_not)


def _seconds(operations: StageOperations, speed: float, launch: float, cards: int, validations: int) -> float:
    """At so many operations a second; a pass takes ``launch`` at least, a third of it without the way back."""

    def of(passes: Operations, least: float) -> float:
        return float(np.maximum(passes / speed, least * (passes > 0)).sum())

    shared = of(operations.passes, launch) + of(operations.first_passes, launch / 3)
    alone = validations * of(operations.validation, launch / 3) + (operations.contrast + operations.trunk_once) / speed
    return shared / cards + alone
