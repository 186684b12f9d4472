"""A model that is used and not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from weakref import WeakKeyDictionary

import torch
from torch import nn

from calrec.model.attention_kernels import without_cudnn

_guard = Lock()
_locks: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()


@contextmanager
def inference(lm: nn.Module) -> Iterator[None]:
    """Within the context the model neither drops out nor keeps gradients; its training mode comes back after.

    One thread at a time has the model: what is set on it for one request, such as its attention, is nobody else's.
    """
    with _lock_of(lm):
        training = lm.training
        lm.eval()
        try:
            with torch.inference_mode(), without_cudnn():
                yield
        finally:
            lm.train(training)


def _lock_of(lm: nn.Module) -> RLock:
    with _guard:
        return _locks.setdefault(lm, RLock())
