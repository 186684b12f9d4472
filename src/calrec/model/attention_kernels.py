"""Which of torch's attention kernels are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch.backends.cuda import cudnn_sdp_enabled, enable_cudnn_sdp

_guard = Lock()
# What was set before the first of those who are inside came, as often as there are.
_before: list[bool] = []


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Within the context attention goes without cuDNN's kernels, which are made ready anew for every shape.

    Every batch of text has a shape of its own: on an H100 this took the host 40 milliseconds a shape, forward and again
    back, and two fifths of an update of training.

    torch knows one setting for all threads, so it is the last of them to leave that sets it back.
    """
    with _guard:
        _before.append(_before[0] if _before else cudnn_sdp_enabled())  # type: ignore[no-untyped-call]
        enable_cudnn_sdp(False)
    try:
        yield
    finally:
        with _guard:
            before = _before.pop()
            if not _before:
                enable_cudnn_sdp(before)
