"""A thin transformers.Trainer: its loop, its schedules and its trackers around CALRec's batches and objective."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import EarlyStoppingCallback, ProgressCallback, TrainerCallback, TrainerControl

from calrec.errors import ModelError
from calrec.model.weights import without_progress_bars
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator, TokenBudgetBatches, length_grouped
from calrec.training.config import StageSettings
from calrec.training.progress import TermsBar
from calrec.training.sequences import Window

WEIGHTS = "model.safetensors"


class CalrecTrainer(Trainer):
    """Trains an ``Alignment`` on windows.

    Args:
        alignment: the model and its objective.
        args: from ``training_arguments``.
        batches: all batches of the stage.
        windows: what ``batches`` numbers.
        validation: windows whose loss chooses the best checkpoint.
        collator: lays windows out.
        tokenizer: saved beside every checkpoint.
        callbacks: more of transformers' callbacks.
    """

    # compute_loss returns what accumulates to the update's loss (tokens are averaged over the whole update).
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        alignment: Alignment,
        args: TrainingArguments,
        batches: TokenBudgetBatches,
        windows: Sequence[Window],
        validation: Sequence[Window],
        collator: Collator,
        tokenizer: Any,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        super().__init__(
            model=alignment,
            args=args,
            data_collator=collator,
            train_dataset=windows,  # type: ignore[arg-type]
            eval_dataset=validation,  # type: ignore[arg-type]
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        self.remove_callback(ProgressCallback)
        self.add_callback(TermsBar())
        self.model_accepts_loss_kwargs = True  # so that Trainer counts the tokens of an update
        self._batches = batches
        self._sums: dict[str, float] = defaultdict(float)
        self._updates_summed = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader = DataLoader(self.train_dataset, batch_sampler=self._batches, collate_fn=self.data_collator)  # type: ignore[arg-type, var-annotated]
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        windows = self.eval_dataset if eval_dataset is None else eval_dataset
        lengths = torch.tensor([len(window) for window in windows]).numpy()
        groups = length_grouped(lengths.argsort(kind="stable"), lengths, self.args.per_device_eval_batch_size)
        loader = DataLoader(windows, batch_sampler=groups, collate_fn=self.data_collator)  # type: ignore[var-annotated]
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one pass; its terms are kept for the log."""
        passes = self.current_gradient_accumulation_steps if model.training else 1
        terms = model(**inputs, tokens_an_update=num_items_in_batch, passes_an_update=passes)
        for name, term in terms.by_name.items():
            self._sums[name] += float(term)
        return (terms.loss, terms) if return_outputs else terms.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds every term's mean since the last log, and the epoch in passes over the data."""
        if "loss" in logs:
            updates = self.state.global_step - self._updates_summed
            logs |= {name: value / max(1, updates) for name, value in self._sums.items()}
            self._sums.clear()
            self._updates_summed = self.state.global_step
        if self.state.epoch is not None:
            # To Trainer the stage is one epoch; to the reader an epoch is a pass over the data.
            done = self.state.global_step * self.args.gradient_accumulation_steps
            self.state.epoch = self._batches.epochs_after(done)
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Validation: every term's mean over all tokens or targets, not over batches, and their weighted sum."""
        model, control = self.model, cast(TrainerControl, self.control)  # type: ignore[has-type]
        model.eval()
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        loader = self.get_eval_dataloader(eval_dataset)
        self.callback_handler.eval_dataloader = loader
        for batch in loader:
            for name, (value, count) in model.sums(**batch).items():
                sums[name] += value
                counts[name] += count
            self.callback_handler.on_prediction_step(self.args, self.state, control)
        model.train()
        means = {name: sums[name] / counts[name] for name in sums}
        weights = model.settings.weights | {"item": model.settings.item_weight}
        metrics = {f"{metric_key_prefix}_{name}": mean for name, mean in means.items()}
        metrics[f"{metric_key_prefix}_loss"] = sum(weights[name] * mean for name, mean in means.items())
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """A checkpoint is a plain Hugging Face folder, not this class's wrapping; and nothing is pickled."""
        folder = Path(output_dir or self.args.output_dir)
        with without_progress_bars():
            self.model.towers.lm.save_pretrained(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model.towers.lm, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        load_weights(self.model.towers.lm, Path(str(self.state.best_model_checkpoint)))


def load_weights(lm: Any, folder: Path) -> None:
    """Put a checkpoint's weights into a model that has its shape.

    Raises:
        ModelError: they do not fit.
    """
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    result = lm.load_state_dict(weights, strict=False)
    tied = set(getattr(lm, "all_tied_weights_keys", None) or ())
    missing = set(result.missing_keys) - tied
    if missing or result.unexpected_keys:
        raise ModelError(f"{folder / WEIGHTS}: does not fit the model: {sorted(missing) + result.unexpected_keys}")


def training_arguments(
    settings: StageSettings, folder: Path, batches: int, autocast: bool, use_cpu: bool = False
) -> TrainingArguments:
    """Transformers' arguments for a stage of so many batches; ``autocast`` takes matrix products in bfloat16."""
    updates = -(-batches // settings.accumulation)
    every = max(1, updates // settings.validations)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=updates,
        gradient_accumulation_steps=settings.accumulation,
        per_device_eval_batch_size=settings.tokens_per_batch,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(1, min(20, updates // 50)),
        report_to=list(settings.trackers) or "none",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=settings.seed,
        bf16=autocast,
        # Said outright where there is nothing else: transformers takes bfloat16 on a CPU only then.
        use_cpu=use_cpu or not torch.accelerator.is_available(),
        disable_tqdm=False,
    )


def stage_callbacks(settings: StageSettings) -> list[TrainerCallback]:
    return [EarlyStoppingCallback(early_stopping_patience=settings.patience)] if settings.patience else []


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, if there is one; Trainer writes its state last."""
    steps = sorted((int(p.name.rpartition("-")[2]), p) for p in folder.glob("checkpoint-*") if p.name[11:].isdigit())
    whole = [path for _, path in steps if (path / "trainer_state.json").is_file() and (path / WEIGHTS).is_file()]
    return str(whole[-1]) if whole else None
