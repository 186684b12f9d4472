"""What every case is made of: a model, a sample of a domain, and this project's own trainer under a clock."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch.nn import ModuleList
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from calrec.data.filters import FilterSettings
from calrec.data.prepare import build_domain
from calrec.data.sources import Source
from calrec.data.store import Domain, load_domain
from calrec.model.backbones import Backbone, BackboneSettings, RandomSettings, load_backbone
from calrec.model.layers import decoder_of
from calrec.recipe import load_recipe
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator, TokenBudgetBatches
from calrec.training.config import StageTwo, TrainingPlan
from calrec.training.progress import TermsBar
from calrec.training.stages import StageData, stage_batches, stage_collator
from calrec.training.trainer import CalrecTrainer, training_arguments
from harness import ROUNDS

# Steps so small leave float32 weights as they are: every round trains the very same model.
STILL = 1e-12


class MeasurementError(Exception):
    """What was to be compared is not the same on both sides, so its times would say nothing."""


@dataclass(frozen=True)
class Case:
    """What a benchmark is asked for.

    Attributes:
        quick: a tiny random model and a made-up domain, to prove that it runs.
        data: the folder of a prepared domain.
        threads: of torch.
        work: a folder for what has to lie on disk meanwhile.
    """

    quick: bool
    data: Path
    threads: int
    work: Path

    @property
    def rounds(self) -> int:
        """Of which the median is taken."""
        return 1 if self.quick else ROUNDS

    def plan(self, **objective: float) -> TrainingPlan:
        """The recipe for two cores, with another objective where one is given."""
        plan = load_recipe("two-cores")
        changes: dict[str, Any] = {"objective": plan.objective.model_copy(update=objective)}
        if self.quick:  # a token is a byte there, and the template's lines would be all that is read
            short = {"user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"}
            changes["text"] = plan.text.model_copy(update=short)
        return plan.model_copy(update=changes)

    def stage(self, tokens_per_batch: int, targets: str = "all") -> StageTwo:
        """One pass over the data, in which the weights stay as they are."""
        settings = {"targets": targets, "tokens_per_batch": tokens_per_batch, "epochs": 1, "learning_rate": STILL}
        return StageTwo(domain=str(self.data), **settings)

    def backbone(self, layers: int | None) -> Backbone:
        """``smollm2-135m`` cut to its lowest layers: no good model, but a fair race; None leaves it whole."""
        if self.quick:
            shape = RandomSettings(hidden_size=32, layers=layers or 4, heads=2)
            return load_backbone(BackboneSettings(backbone="bytes", init="random", random=shape))
        loaded = load_backbone(BackboneSettings())
        if layers is not None:
            decoder = decoder_of(loaded.lm)
            decoder.layers = ModuleList(decoder.layers[:layers])
            loaded.lm.config.num_hidden_layers = layers
        return loaded

    def sample(self, users: int, seed: int = 0) -> Domain:
        """Some users of the domain, and the items that they bought."""
        domain = _whole_domain(self.data, self.quick)
        # Polars' own sample is another one in another version.
        drawn = np.random.default_rng(seed).permutation(len(domain.sequences))[:users]
        sequences = domain.sequences[np.sort(drawn).tolist()].sort("user_id")
        bought = sequences["item_ids"].explode().unique()
        return replace(
            domain, items=domain.items.filter(pl.col("item_id").is_in(bought.implode())), sequences=sequences
        )


@cache
def _whole_domain(path: Path, quick: bool) -> Domain:
    if quick:
        return synthetic_domain(users=60, words=2)
    if path.is_dir():
        return load_domain(path)
    print(f"{path} is no folder: a made-up domain with the lengths of Amazon's Video Games stands in for it")
    return synthetic_domain(users=2000, words=7)


def synthetic_domain(users: int, words: int) -> Domain:
    """Random titles and sequences, as long as in Amazon's Video Games (5 to 50 items, 8.7 on average).

    Args:
        users: how many.
        words: of a title, on average.
    """
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("aeioubcdlmnrst"), size)) for size in rng.integers(2, 9, 500)]
    titles = [" ".join(rng.choice(names, max(1, count))) for count in rng.poisson(words, 5 * users)]
    items = pl.DataFrame(
        {"item_id": [f"i{i:06}" for i in range(len(titles))], "title": [f"{t} {i}" for i, t in enumerate(titles)]}
    )
    lengths = np.minimum(50, 4 + rng.geometric(1 / 4.7, users))
    rows = [
        (f"u{user:05}", f"i{item:06}", float(place))
        for user, length in enumerate(lengths)
        for place, item in enumerate(rng.integers(0, len(titles), length))
    ]
    interactions = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    source = Source("made-up", "synthetic", items, interactions, files={}, text_attributes=("title",))
    return build_domain(source, FilterSettings(), Path("made-up"))


class Clock(TrainerCallback):
    """Seconds from the first batch's making to the last update; the trainer's own making is not counted."""

    seconds = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._start = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self._start


@dataclass(frozen=True)
class Trained:
    """What one run of a trainer gave: its seconds, and the terms of its first update."""

    seconds: float
    terms: dict[str, float]


@dataclass(frozen=True)
class Ours:
    """This project's trainer, ready to run as often as it is asked to.

    Attributes:
        alignment: model and objective.
        stage: its settings.
        data: its windows.
        collator: lays them out, with the trunk's states where these are kept.
        autocast: whether matrix products are taken in bfloat16.
    """

    alignment: Alignment
    stage: StageTwo
    data: StageData
    collator: Collator
    autocast: bool = False

    @property
    def batches(self) -> TokenBudgetBatches:
        return stage_batches(self.stage, self.data)

    def __call__(self, *callbacks: TrainerCallback) -> Trained:
        """Train once: no validation and no checkpoint, which the peers do not make either."""
        clock, batches = Clock(), self.batches
        with tempfile.TemporaryDirectory() as folder:
            arguments = training_arguments(self.stage, Path(folder), batches.updates, self.autocast, use_cpu=True)
            arguments.eval_strategy, arguments.save_strategy = IntervalStrategy.NO, SaveStrategy.NO
            arguments.load_best_model_at_end = False
            trainer = CalrecTrainer(
                self.alignment, arguments, batches, self.data.training, [], self.collator, None, [*callbacks, clock]
            )
            trainer.remove_callback(TermsBar)
            trainer.train()
        return Trained(clock.seconds, trainer.state.log_history[0])


def collator_of(data: StageData, plan: TrainingPlan, trunk: Any = None) -> Collator:
    """As a stage makes it."""
    return stage_collator(plan, data, shared_rows=True, trunk=trunk)


def require_equal(ours: dict[str, float], peer: dict[str, float], names: Sequence[str], tolerance: float) -> str:
    """Both sides' losses in one line.

    Raises:
        MeasurementError: they differ by more than the tolerance.
    """
    line = ", ".join(f"{name} {ours[name]:.5f} and {peer[name]:.5f}" for name in names)
    if any(abs(ours[name] - peer[name]) > tolerance for name in names):
        raise MeasurementError(f"the losses differ by more than {tolerance:g}: {line}")
    return line
