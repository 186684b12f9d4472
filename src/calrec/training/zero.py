"""What training asks of DeepSpeed beside accelerate: whole weights, and checkpoints that run no code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from calrec.errors import ConfigError

_TENSORS_ALONE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def require_whole_weights(plugin: Any) -> None:
    """Refuse what cuts up the weights themselves.

    Args:
        plugin: accelerate's ``DeepSpeedPlugin``; None without DeepSpeed.

    Raises:
        ConfigError: it asks for ZeRO-3.
    """
    if plugin is not None and plugin.zero_stage == 3:
        raise ConfigError(
            "ZeRO-3 cuts up the weights themselves, which training under DeepSpeed does not support: set zero_stage: 2 "
            "in accelerate's configuration, or let FSDP2 do it (docs/accelerate/fsdp2.yaml)"
        )


@contextmanager
def tensors_alone() -> Iterator[None]:
    """Within, DeepSpeed reads tensors, numbers and three records of its own from a checkpoint, and nothing else.

    It asks torch for an unpickler that runs whatever a file says; torch's own switch overrules that, and what is
    refused raises ``pickle.UnpicklingError``.
    """
    from deepspeed.runtime.fp16.loss_scaler import LossScaler  # type: ignore[import-not-found]
    from deepspeed.runtime.zero.config import ZeroStageEnum  # type: ignore[import-not-found]
    from deepspeed.utils.tensor_fragment import fragment_address  # type: ignore[import-not-found]

    before = os.environ.get(_TENSORS_ALONE)
    os.environ[_TENSORS_ALONE] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        del os.environ[_TENSORS_ALONE]
        if before is not None:
            os.environ[_TENSORS_ALONE] = before
