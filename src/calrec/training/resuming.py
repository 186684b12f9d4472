"""Training that can be killed at any moment and goes on from its last whole checkpoint."""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from transformers import Trainer, TrainerCallback, TrainerState

from calrec.atomic import room_for
from calrec.errors import ModelError
from calrec.training.checkpoints import (
    STATE,
    UNFINISHED,
    last_whole_checkpoint,
    publish,
    rotate,
)
from calrec.training.progress import TermsBar
from calrec.training.zero import tensors_alone


class CheckpointedTrainer(Trainer):
    """A Trainer that can be killed at any moment: called again, it ends with the weights of an unbroken run.

    A checkpoint is written into ``.unfinished`` and gets its name when all of it is on the disk; one that is not kept
    is moved there before it is deleted. So what is called ``checkpoint-N`` is whole.
    """

    # Chance goes on as it stood in this checkpoint; None once that is done.
    _chance_of: str | None = None

    def train_on(self) -> None:
        """Train to the end, from the last whole checkpoint where there is one; the best weights are in the model then.

        Raises:
            ModelError: the checkpoint does not fit, or would run code.
            StorageError: no room for a checkpoint; those before it are whole.
        """
        folder = Path(self.args.output_dir)
        self._clear_unfinished()
        checkpoint = last_whole_checkpoint(folder)
        try:
            if checkpoint is None:
                self.train()
            else:
                self._train_from(checkpoint)
        finally:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, TermsBar):
                    callback.close()
        self._clear_unfinished()

    def _clear_unfinished(self) -> None:
        self.accelerator.wait_for_everyone()  # transformers lists that folder at the end of training, on every process
        if self.is_world_process_zero():
            shutil.rmtree(Path(self._get_output_dir(None)), ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _train_from(self, checkpoint: Path) -> None:
        state = TrainerState.load_from_json(str(checkpoint / STATE))
        if self._is_over(state):
            self.state = state
            self._load_best_model()
            return
        self._chance_of = str(checkpoint)
        try:
            self.train(resume_from_checkpoint=str(checkpoint))
        except pickle.UnpicklingError as error:
            raise ModelError(
                f"{checkpoint}: holds more than tensors and numbers, and none of it was run; delete it"
            ) from error

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        # DeepSpeed reads its part of a checkpoint here; everything else transformers reads without running code.
        with tensors_alone() if self.is_deepspeed_enabled else nullcontext():
            return super()._prepare_for_training(*args, **kwargs)

    def _is_over(self, state: TrainerState) -> bool:
        """Whether an interrupted run had only its last steps after training to do."""
        patience = [c for c in self.callback_handler.callbacks if isinstance(c, Patience)]
        return state.global_step >= self.args.max_steps or any(c.is_over(state.log_history) for c in patience)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """An update's batches; the first after a start from a checkpoint finds chance as it stood there."""
        batches, tokens = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._load_rng_state(self._chance_of)
        return batches, tokens

    def _load_rng_state(self, checkpoint: str | None) -> None:
        # Once: transformers does it after the update's batches are there, when a subclass may have drawn for them.
        if self._chance_of is not None:
            super()._load_rng_state(self._chance_of)
            self._chance_of = None

    def _get_output_dir(self, trial: Any) -> str:
        # Trainer writes checkpoints there and rotates what it finds there: only the one that is being written.
        return str(Path(self.args.output_dir) / UNFINISHED)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """On all processes; the first one gives the checkpoint its name when all have written their part."""
        folder = Path(self.args.output_dir)
        part = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        try:
            with room_for(part.name, folder):
                super()._save_checkpoint(model, trial)
                if self.state.best_global_step:
                    self.state.best_model_checkpoint = str(folder / f"checkpoint-{self.state.best_global_step}")
                self.accelerator.wait_for_everyone()
                if self.is_world_process_zero():
                    self.state.save_to_json(str(part / STATE))  # again, with the best one's place
                    publish(part, folder)
                    rotate(folder, self.state.global_step, self.args.save_total_limit)
        finally:
            if self.is_world_process_zero():
                shutil.rmtree(part, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _load_best_model(self) -> None:
        # By its step: the folder may have been moved since its place was noted.
        best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step or self.state.global_step}"
        self._load_from_checkpoint(str(best))


class Patience(TrainerCallback):
    """Stops after so many validations without a better one.

    It counts them in the log, which comes back with a checkpoint; transformers' own counter does not.
    """

    def __init__(self, validations: int) -> None:
        self.validations = validations

    def is_over(self, log_history: Sequence[Mapping[str, float]]) -> bool:
        losses = [entry["eval_loss"] for entry in log_history if "eval_loss" in entry]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.validations

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_over(state.log_history):
            control.should_training_stop = True


class SaveEvery(TrainerCallback):
    """A checkpoint whenever so many minutes have gone by since the last one, beside those of the validations."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = minutes * 60
        self._clock = clock
        self._saved = clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        late = self._clock() - self._saved >= self._seconds
        if args.world_size > 1:  # clocks differ, and all must save at the same update
            late = bool(broadcast(torch.tensor(late, dtype=torch.uint8, device=args.device)).item())
        if late:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = self._clock()
