"""Whether a processor is any quicker with narrow numbers: most CPUs take their products in software."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

logger = logging.getLogger(__name__)

#: So many times as long as in float32 is no longer a matter of taste.
SLOW = 2.0
# Half a second where products are slow, and of the form that training's way back has.
_TOKENS, _INNER, _WIDTH = 128, 1536, 576
# In turns, and the best of each counts: other work on the machine slows either down, and the first pays for what
# libraries make ready.
_ROUNDS = 5


def slowdown(dtype: str, device: torch.device | str) -> float:
    """How many times as long matrix products take in ``dtype`` as in float32; below 1 they are quicker.

    It is measured, since which CPUs have such products depends on the processor and on torch's libraries.

    Args:
        dtype: of both factors, such as ``bfloat16``.
        device: an accelerator is not measured, and counts as quick.
    """
    if torch.device(device).type != "cpu" or dtype == "float32":
        return 1.0
    narrow, wide = _product(getattr(torch, dtype)), _product(torch.float32)
    taken = [(narrow(), wide()) for _ in range(_ROUNDS)]
    return min(seconds for seconds, _ in taken) / min(seconds for _, seconds in taken)


def told(dtype: str, times: float) -> str:
    """A slowdown in words; it is measured roughly."""
    return f"matrix products in {dtype} take about {times:.{0 if times >= 10 else 1}f} times as long as in float32 here"


def warn_if_slow(dtype: str, device: torch.device | str, instead: str) -> None:
    """Warn of a dtype that the device is slow in; ``instead`` says what to set."""
    times = slowdown(dtype, device)
    if times > SLOW:
        logger.warning("%s: %s", told(dtype, times), instead)


def _product(dtype: torch.dtype) -> Callable[[], float]:
    """Takes a product, and gives its seconds."""
    left, right = torch.ones(_TOKENS, _INNER, dtype=dtype), torch.ones(_INNER, _WIDTH, dtype=dtype)

    def seconds() -> float:
        begun = time.perf_counter()
        left @ right
        return time.perf_counter() - begun

    return seconds
