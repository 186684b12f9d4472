"""L_NIG alone against TRL's SFTTrainer: completion-only loss on prompts and completions of the very same tokens."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from calrec.model.backbones import Backbone
from calrec.model.towers import Towers
from calrec.training.alignment import Alignment
from calrec.training.sequences import Window
from calrec.training.stages import stage_batches, stage_data
from harness import Claim, interleaved, medians
from training_cases.examples import LAYERS
from training_cases.setup import STILL, Case, Clock, Ours, Trained, collator_of, require_equal

# More passes than any epoch here has: an epoch is then one update, as it is on our side.
_WHOLE_EPOCH = 10**6


def against_trl(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal 1: seconds a token, padding not counted, against the quicker of TRL's packing and its padded batches."""
    if find_spec("trl") is None:
        print("  skipped, as trl is not installed: pip install 'calrec[bench]'")
        return [], {}
    plan, backbone = case.plan(alpha=0.0, beta=0.0, item_weight=0.0), case.backbone(LAYERS)
    tokens_per_batch = 600 if case.quick else 2048
    stage = case.stage(tokens_per_batch, targets="last")
    data = stage_data(plan, stage, [case.sample(users=10 if case.quick else 20)], backbone.tokenizer)
    passes = list(stage_batches(stage, data))
    # One update of all passes on each side, whose loss is then a mean over the same tokens.
    ours = Ours(
        Alignment(Towers(backbone.lm), plan.objective),
        stage.model_copy(update={"accumulation": len(passes)}),
        data,
        collator_of(data, plan),
    )
    peers = {
        "packed": Sft(backbone, data.training, tokens_per_batch, packing=True),
        "padded": Sft(backbone, data.training, max(map(len, passes)), packing=False),
    }
    first = ours().terms
    losses = {name: require_equal(first, peer().terms, ["nig"], tolerance=1e-3) for name, peer in peers.items()}
    print(f"  losses, ours and the peer's: {losses}")
    runs = {"ours": lambda: ours().seconds} | {name: _seconds_of(peer) for name, peer in peers.items()}
    seconds = interleaved(runs, case.rounds)
    tokens = sum(map(len, data.training))
    each = {name: taken / tokens * 1e6 for name, taken in medians(seconds).items()}
    quicker = min(peers, key=lambda name: each[name])
    claim = Claim.less_is_better(
        f"time per token on L_NIG alone, TRL's SFTTrainer ({quicker})", 1, each["ours"], each[quicker], "µs/token"
    )
    return [claim], {"tokens": tokens, "losses": losses, "seconds": seconds, "microseconds_a_token": each}


def _seconds_of(peer: Sft) -> Any:
    return lambda: peer().seconds


@dataclass(frozen=True)
class Sft:
    """TRL's trainer, ready to run as often as it is asked to.

    Attributes:
        backbone: the model is copied, since TRL patches it.
        windows: one target each, the last span.
        size: packed, tokens of a pass; padded, sequences of one.
        packing: TRL's best-fit packing; else rows of similar length, padded.
    """

    backbone: Backbone
    windows: Sequence[Window]
    size: int
    packing: bool

    def __call__(self) -> Trained:
        """One update of all passes; nothing is evaluated, saved or computed twice (no gradient checkpointing)."""
        import datasets
        from trl import SFTConfig, SFTTrainer

        datasets.disable_progress_bars()
        logging.getLogger("trl").setLevel(logging.ERROR)
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = SFTConfig(
                output_dir=folder,
                num_train_epochs=1,
                gradient_accumulation_steps=_WHOLE_EPOCH,
                per_device_train_batch_size=1 if self.packing else self.size,
                max_length=self.size if self.packing else None,
                packing=self.packing,
                completion_only_loss=True,
                train_sampling_strategy="sequential",
                learning_rate=STILL,
                weight_decay=0.0,
                max_grad_norm=1.0,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                save_strategy="no",
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
            )
            trainer = SFTTrainer(
                copy.deepcopy(self.backbone.lm),
                arguments,
                train_dataset=self._dataset(),
                processing_class=self.backbone.tokenizer,
                callbacks=[clock],
            )
            trainer.remove_callback(_printer())
            trainer.train()
        return Trained(clock.seconds, {"nig": trainer.state.log_history[0]["loss"]})

    def _dataset(self) -> Any:
        """Tokens that are ready for TRL, shortest first, so that padded rows lie beside others of their length."""
        from datasets import Dataset

        windows = sorted(self.windows, key=len)
        masks = [[0] * int(w.sequence.spans[-1, 0]) + [1] * int(w.sequence.spans[-1] @ [-1, 1]) for w in windows]
        return Dataset.from_dict(
            {"input_ids": [w.sequence.token_ids.tolist() for w in windows], "completion_mask": masks}
        )


def _printer() -> type:
    """The callback that prints every log to standard output, where the results belong."""
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback
