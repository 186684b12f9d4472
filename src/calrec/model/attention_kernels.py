"""Which of torch's attention kernels are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def attention_kernels() -> Iterator[None]:
    """Within the context attention goes without cuDNN's kernels, which are made ready anew for every shape.

    Every batch of text has a shape of its own: on an H100 this took the host 40 milliseconds a shape, forward and again
    back, and two fifths of the time of training.
    """
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        yield
