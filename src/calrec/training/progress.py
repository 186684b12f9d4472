"""The bar of a stage, with its terms beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.trainer_callback import ProgressCallback

_SHOWN = ("loss", "nig", "tt", "ut", "item", "eval_loss")


class TermsBar(ProgressCallback):
    """Transformers' bar; the terms go into it instead of line by line to standard output, where results belong."""

    def __init__(self) -> None:
        super().__init__()
        self.training_bar: Any = None
        self._terms: dict[str, str] = {}

    def close(self) -> None:
        """End the bar's line where training was stopped, so that what is said next has its own."""
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and self.training_bar is not None:
            self._terms |= {name: f"{value:.3f}" for name, value in (logs or {}).items() if name in _SHOWN}
            self.training_bar.set_postfix(self._terms)
