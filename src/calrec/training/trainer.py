"""A thin transformers.Trainer: its loop, its schedules and its trackers around CALRec's batches and objective."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.data_loader import prepare_data_loader
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from transformers.trainer_callback import ProgressCallback, TrainerCallback, TrainerControl

from calrec.errors import ConfigError, ModelError
from calrec.losses import contrastive_terms, objective
from calrec.training.alignment import Alignment, PassOutput, Vectors
from calrec.training.batches import Collator, TokenBudgetBatches, length_grouped
from calrec.training.config import StageSettings
from calrec.training.contrast import Contrast, RandomState, alone, contrast
from calrec.training.progress import TermsBar
from calrec.training.resuming import CheckpointedTrainer, Patience, SaveEvery
from calrec.training.sequences import Window
from calrec.training.weight_files import load_weights, save_weights
from calrec.training.zero import require_whole_weights

# What a batch brings beside the model's inputs.
_ABOUT = ("target_key", "users")


@dataclass(frozen=True)
class _Repeated:
    """What is known of a pass that has been computed once already, for the contrast with its update's other passes."""

    contrast: Contrast
    random: RandomState


class CalrecTrainer(CheckpointedTrainer):
    """Trains an ``Alignment`` on windows.

    An update's objective is that of all its passes and processes: L_NIG is a mean over all target tokens, and the
    contrastive terms compare all targets (``negatives: update``), so cutting an update into passes changes nothing.

    Args:
        alignment: the model and its objective.
        args: from ``training_arguments``.
        batches: all batches of the stage, those of all processes.
        negatives: ``update`` or ``pass``, as in ``StageSettings``.
        rows: what ``batches`` numbers: windows, then the numbers of texts.
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
        rows: Sequence[Window | int],
        validation: Sequence[Window],
        collator: Collator,
        tokenizer: Any,
        callbacks: Sequence[TrainerCallback] = (),
        negatives: str = "update",
    ) -> None:
        super().__init__(
            model=alignment,
            args=args,
            data_collator=collator,
            train_dataset=rows,  # type: ignore[arg-type]
            eval_dataset=validation,  # type: ignore[arg-type]
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        self.remove_callback(ProgressCallback)
        self.add_callback(TermsBar())
        self.model_accepts_loss_kwargs = True  # so that Trainer counts the tokens of an update
        self._batches = batches
        self._settings = alignment.settings
        self._negatives = negatives
        self._repeated: deque[_Repeated] = deque()
        self._decisions = self._targets = 0
        self._users: list[str] = []
        self._sums: dict[str, float] = defaultdict(float)
        self._updates_summed = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        share = self._batches.share(self.args.process_index, self.args.world_size)
        return self._loader(self.train_dataset, share)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        # Every process measures all of it: these users are few, and the result is one without any exchange.
        windows = self.eval_dataset if eval_dataset is None else eval_dataset
        lengths = torch.tensor([len(window) for window in windows]).numpy()
        groups = length_grouped(lengths.argsort(kind="stable"), lengths, self.args.per_device_eval_batch_size)
        return self._loader(windows, groups)

    def _loader(self, windows: Any, batches: list[list[int]]) -> DataLoader[Any]:
        loader = DataLoader(windows, batch_sampler=batches, collate_fn=self.data_collator)  # type: ignore[arg-type, var-annotated]
        # The batches are shared out already; accelerate only brings them to the device.
        return prepare_data_loader(  # type: ignore[no-any-return]
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=True
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """An update's batches, and its target tokens on all processes."""
        batches, tokens = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._users = [user for batch in batches for user in batch["users"]]
        if "catalogue" in self._settings.weights:
            self._decisions, self._targets = self._counted(batches)
        self._updates_summed += 1
        if len(batches) > 1 and self._negatives == "update" and self._settings.contrasts:
            self._repeated = deque(self._first_passes(batches))
        return batches, tokens

    def _counted(self, batches: Sequence[dict[str, Any]]) -> tuple[int, int]:
        """Decisions and targets of an update, on all processes."""
        own = [[len(batch["choices"]["place"]), len(batch["target_key"])] for batch in batches]
        counts = torch.tensor(own, device=self.args.device).reshape(-1, 2).sum(dim=0, keepdim=True)
        decisions, targets = self.accelerator.gather(counts).sum(dim=0).tolist()
        return max(1, decisions), max(1, targets)

    @torch.no_grad()
    def _first_passes(self, batches: Sequence[dict[str, Any]]) -> list[_Repeated]:
        """The contrast of an update of several passes, from passes without gradients and without the vocabulary."""
        model = self.model_wrapped
        model.train()  # which returns nothing under DeepSpeed
        states, vectors = [], []
        for batch in batches:
            states.append(RandomState(self.args.device))
            vectors.append(model(**_inputs(batch), vectors_only=True).vectors)
        parts = contrast(self._settings, vectors, [batch["target_key"] for batch in batches], self._gather)
        return [_Repeated(part, state) for part, state in zip(parts, states, strict=True)]

    def _gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """See ``calrec.training.contrast.Gather``; processes may have different numbers of rows."""
        if self.args.world_size == 1:
            return alone(rows)
        counts = self.accelerator.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
        padded = self.accelerator.gather(self.accelerator.pad_across_processes(rows, dim=0)).split(max(counts))
        everyone = torch.cat([part[:count] for part, count in zip(padded, counts, strict=True)])
        return everyone, sum(counts[: self.args.process_index])

    def _contrast(self, vectors: Vectors, keys: Tensor) -> Contrast:
        """The part of a pass that is its process's only one in the update, or contrasts within itself alone."""
        if self._negatives == "update":
            return contrast(self._settings, [vectors], [keys], self._gather)[0]
        return contrast(self._settings, [vectors], [keys])[0].scaled(1 / self._passes)

    @property
    def _passes(self) -> int:
        """Of the update, on all processes."""
        return int(self.current_gradient_accumulation_steps) * int(self.args.world_size)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """One pass's part of its update's objective; the terms are kept for the log."""
        repeated = self._repeated.popleft() if self._repeated else None
        with repeated.random.replayed() if repeated else nullcontext():
            output: PassOutput = model(**_inputs(inputs))
        terms = {}
        if output.next_item is not None:
            terms["nig"] = output.next_item / num_items_in_batch
        if output.item is not None:
            terms["item"] = output.item / inputs["item_labels"].numel() / self._passes
        if output.catalogue is not None:
            terms["catalogue"] = output.catalogue / self._decisions
            self._sums["catalogue_item"] += float(output.catalogue.detach()) / self._targets
        parts = [objective(self._settings, terms)] if terms else []
        if output.vectors is not None:
            part = repeated.contrast if repeated else self._contrast(output.vectors, inputs["target_key"])
            parts.append(part.through(output.vectors))
            terms |= part.terms
        for name, term in terms.items():
            self._sums[name] += float(term.detach())
        # DDP takes the mean over processes of what adds up to the objective.
        loss = sum(parts[1:], start=parts[0]) * self.args.world_size
        self._check_finite(loss, f"the loss of {len(inputs['users'])} users", inputs["users"])
        return (loss, output) if return_outputs else loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if norm is not None:
            self._check_finite(norm, "the gradient", self._users)
        return norm

    def _check_finite(self, value: Any, what: str, users: Sequence[str]) -> None:
        """Stop before weights that are no numbers can reach a checkpoint.

        Raises:
            ModelError: ``value`` is not finite.
        """
        number = torch.as_tensor(value).detach()
        if torch.isfinite(number).all():
            return
        named = ", ".join(map(repr, users[:8])) + (", …" if len(users) > 8 else "")
        raise ModelError(
            f"update {self.state.global_step + 1}: {what} is {number.item()}; users {named}. Checkpoints of earlier "
            "updates are kept; lower learning_rate, or look at these users' histories"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds every term's mean since the last log, and the epoch in passes over the data."""
        if "loss" in logs:
            sums = torch.tensor(list(self._sums.values()), dtype=torch.float64, device=self.args.device)
            sums /= max(1, self._updates_summed)
            logs |= dict(zip(self._sums, self.accelerator.reduce(sums, "sum").tolist(), strict=True))
            self._sums.clear()
            self._updates_summed = 0
        if self.state.epoch is not None:
            # To Trainer the stage is one epoch; to the reader an epoch is a pass over the data.
            done = self.state.global_step * self.args.gradient_accumulation_steps * self.args.world_size
            self.state.epoch = self._batches.epochs_after(done)
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Validation: every term's mean over all tokens or targets, not over batches, and their weighted sum."""
        model, control = self.model_wrapped, cast(TrainerControl, self.control)  # type: ignore[has-type]
        model.eval()
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        loader = self.get_eval_dataloader(eval_dataset)
        self.callback_handler.eval_dataloader = loader
        for batch in loader:
            for name, (value, count) in self._validation_sums(model, batch).items():
                sums[name] += value
                counts[name] += count
            self.callback_handler.on_prediction_step(self.args, self.state, control)
        model.train()
        means = {name: sums[name] / counts[name] for name in sums}
        metrics = {f"{metric_key_prefix}_{name}": mean for name, mean in means.items()}
        weights = self._settings.weights
        metrics[f"{metric_key_prefix}_loss"] = sum(weights[name] * means[name] for name in weights)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        return metrics

    @torch.no_grad()
    def _validation_sums(self, model: Any, batch: dict[str, Any]) -> dict[str, tuple[float, int]]:
        """Each term of a pass as (sum, count): of tokens, or of targets contrasted within the pass."""
        output: PassOutput = model(**_inputs(batch))
        sums: dict[str, tuple[float, int]] = {}
        if output.next_item is not None:
            sums["nig"] = float(output.next_item), batch["labels"].numel()
        if output.item is not None:
            sums["item"] = float(output.item), batch["item_labels"].numel()
        if output.catalogue is not None:
            sums["catalogue"] = float(output.catalogue), len(batch["choices"]["place"])
            sums["catalogue_item"] = float(output.catalogue), len(batch["target_key"])
        if output.vectors is not None:
            keys = batch["target_key"]
            terms = contrastive_terms(self._settings, *output.vectors, keys[:, None] == keys[None, :])
            sums |= {name: (float(term) * len(keys), len(keys)) for name, term in terms.items()}
        return sums

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """A checkpoint is a plain Hugging Face folder, not this class's wrapping; and nothing is pickled."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        save_weights(self.model.towers.lm, folder, state_dict)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model.towers.lm, Path(resume_from_checkpoint))


def _inputs(batch: dict[str, Any]) -> dict[str, Any]:
    """What the model takes of a batch."""
    return {name: value for name, value in batch.items() if name not in _ABOUT}


def training_arguments(
    settings: StageSettings, folder: Path, updates: int, autocast: bool, use_cpu: bool
) -> TrainingArguments:
    """Transformers' arguments for a stage of so many updates; ``autocast`` takes matrix products in bfloat16.

    Raises:
        ConfigError: an update's passes cannot be shared out evenly among the processes; or ZeRO-3.
    """
    processes = PartialState().num_processes
    if settings.accumulation % processes:
        raise ConfigError(
            f"accumulation = {settings.accumulation} passes cannot be shared out among {processes} processes: "
            f"set it to a multiple of {processes}"
        )
    every = max(1, updates // settings.validations)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=updates,
        gradient_accumulation_steps=settings.accumulation // processes,
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
        save_total_limit=settings.save_total_limit,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(1, min(20, updates // 50)),
        report_to=list(settings.trackers) or "none",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=settings.seed,
        bf16=autocast,
        use_cpu=use_cpu,
        disable_tqdm=False,
    )
    require_whole_weights(arguments.deepspeed_plugin)
    return arguments


def stage_callbacks(settings: StageSettings) -> list[TrainerCallback]:
    patience = [Patience(settings.patience)] if settings.patience else []
    return [*patience, SaveEvery(settings.checkpoint_minutes)]
