"""A model that is used and not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def inference(lm: nn.Module) -> Iterator[None]:
    """Within the context the model neither drops out nor keeps gradients; its training mode comes back after."""
    training = lm.training
    lm.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        lm.train(training)
