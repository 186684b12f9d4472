"""Whether a processor is any quicker with narrow numbers: most CPUs take their products in software."""

from __future__ import annotations

import logging
import time

import torch

logger = logging.getLogger(__name__)

#: So many times as long as in float32 is no longer a matter of taste.
SLOW = 2.0
# Half a second where products are slow, and of the form that training's way back has.
_TOKENS, _INNER, _WIDTH = 128, 1536, 576


def slowdown(dtype: str, device: torch.device | str) -> float:
    """How many times as long matrix products take in ``dtype`` as in float32; below 1 they are quicker.

    It is measured, since which CPUs have such products depends on the processor and on torch's libraries.

    Args:
        dtype: of both factors, such as ``bfloat16``.
        device: an accelerator is not measured, and counts as quick.
    """
    if torch.device(device).type != "cpu" or dtype == "float32":
        return 1.0
    return _seconds(getattr(torch, dtype)) / _seconds(torch.float32)


def warn_if_slow(dtype: str, device: torch.device | str, instead: str) -> None:
    """Warn of a dtype that the device is slow in; ``instead`` says what to set."""
    times = slowdown(dtype, device)
    if times > SLOW:
        logger.warning("matrix products in %s take %.0f times as long as in float32 here: %s", dtype, times, instead)


def _seconds(dtype: torch.dtype) -> float:
    left, right = torch.ones(_TOKENS, _INNER, dtype=dtype), torch.ones(_INNER, _WIDTH, dtype=dtype)
    taken = []
    for _ in range(3):  # the first pays for what libraries make ready
        begun = time.perf_counter()
        left @ right
        taken.append(time.perf_counter() - begun)
    return min(taken)
