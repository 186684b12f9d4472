"""Stage I on a mixture of domains, Stage II on the target domain from Stage I's weights; either alone."""

from __future__ import annotations

import gc
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from calrec.atomic import replace_text, sole_writer
from calrec.data.learnt import LearntPurchases
from calrec.data.store import ITEMS, Domain, load_domain
from calrec.errors import ConfigError, DataError
from calrec.model.attention_kernels import without_cudnn
from calrec.model.backbones import Backbone, load_backbone
from calrec.model.layers import keeps_texts_apart
from calrec.model.precision import warn_if_slow
from calrec.model.towers import Towers
from calrec.progress import duration
from calrec.text.encode import EncodedSequence, SequenceEncoder
from calrec.text.item_text import ItemText
from calrec.training.adapt import adapt, merge_adapters, require_adapters
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator, KnownStates, TokenBudgetBatches
from calrec.training.choices import DomainDecisions
from calrec.training.config import StageOne, StageTwo, TrainingPlan
from calrec.training.curves import plot_curves
from calrec.training.run_card import DomainCard, RunCard
from calrec.training.run_folder import is_whole, learnt_before, load_card, save_model
from calrec.training.same_plan import has_weights, require_same_plan
from calrec.training.sequences import DomainTexts, Texts, Window, example_windows, training_windows
from calrec.training.trackers import require_trackers
from calrec.training.trainer import CalrecTrainer, stage_callbacks, training_arguments
from calrec.training.trunk_cache import trunk_cache
from calrec.training.weight_files import is_sharded, unsharded

logger = logging.getLogger(__name__)

PLAN = "plan.json"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class StageData:
    """All that a stage reads: training and validation windows, the texts that they share, and the domains' views."""

    training: list[Window]
    validation: list[Window]
    texts: Texts
    domains: list[DomainTexts] = field(default_factory=list)

    @property
    def sequences(self) -> list[EncodedSequence]:
        windows = [window.sequence for window in (*self.training, *self.validation)]
        return [*windows, *self.texts.items]


def train(
    plan: TrainingPlan, out: Path, tell: Tell = logger.info, use_cpu: bool = False, stage_one: Path | None = None
) -> RunCard:
    """Train the stages of a plan, going on where an earlier call with the same plan was interrupted.

    Under torchrun or accelerate every process calls this; the main one alone writes.

    Args:
        plan: what to train.
        out: the run's folder. Its root holds the final model; a folder for each stage holds checkpoints, logs and,
            for a stage that another one follows, its model.
        tell: gets a line of news now and then.
        use_cpu: leave an accelerator alone.
        stage_one: a finished run of this plan's Stage I alone, which Stage II then begins from; the run is the one that
            would come of training both.

    Raises:
        ConfigError: ``out`` is in use, or another plan's, or ``stage_one`` is; or a tracker or a package for adapters
            is not installed.
        DataError, ModelError: the data or the backbone cannot be used.
        StorageError: the disk is full; what was written before is whole.
    """
    require_trackers(plan)
    require_adapters(plan.model)
    accelerator = torch.accelerator.is_available() and not use_cpu
    processes = PartialState(cpu=not accelerator)
    if not processes.is_main_process:
        tell = _silent
    if stage_one is not None:
        _require_stage_one_of(plan, stage_one)
    if is_whole(out):
        require_same_plan(plan, out / PLAN)
        tell(f"{out} is already trained")
        return load_card(out)
    with sole_writer(out):
        require_same_plan(plan, out / PLAN, mendable=not has_weights(out))
        return _train_stages(plan, out, tell, accelerator, stage_one)


def _train_stages(plan: TrainingPlan, out: Path, tell: Tell, accelerator: bool, stage_one: Path | None) -> RunCard:
    processes = PartialState()
    loaded = {path: load_domain(path) for stage in plan.stages.values() for path in stage.domains}
    backbone = load_backbone(plan.model)
    processes.wait_for_everyone()
    if processes.is_main_process:
        replace_text(out / PLAN, plan.model_dump_json(indent=2))
    folders = {name: out / name / "model" for name in plan.stages}
    if stage_one is not None:
        folders["stage-one"] = stage_one
    folders[list(plan.stages)[-1]] = out
    card: RunCard | None = None
    before, learnt = learnt_before(plan.model)
    for name, stage in plan.stages.items():
        folder = folders[name]
        domains = [loaded[path] for path in stage.domains]
        if is_whole(folder):
            card = load_card(folder)
            _require_same_data(card, name, domains)
            learnt = LearntPurchases.load(folder)
            backbone = _backbone_at(plan, folder, card)
            continue
        tell(f"{name}: {', '.join(domain.name for domain in domains)}")
        begun = time.monotonic()
        best, tokens = train_stage(plan, stage, domains, backbone, out / name, tell, accelerator)
        tell(f"{name}: trained in {duration(time.monotonic() - begun)}")
        if is_sharded(backbone.lm):
            backbone = replace(backbone, lm=unsharded(backbone.lm))
        if processes.is_main_process and learnt is not None:  # which alone writes it
            learnt |= LearntPurchases.of(domains)
        card = RunCard(
            version=version("calrec"),
            stage=name,
            plan=plan,
            domains=dict(card.domains if card else before)
            | {name: tuple(DomainCard(name=d.name, split_hash=d.split_hash) for d in domains)},
            exclude_last=domains[-1].exclude_last,
            backbone=backbone.source,
            fingerprint=backbone.fingerprint,
            best=dict(card.best if card else {}) | {name: best},
            tokens=dict(card.tokens if card else {}) | {name: tokens},
        )
        if processes.is_main_process:
            save_model(folder, backbone.lm, backbone.tokenizer, card, domains[-1].path / ITEMS, learnt)
        processes.wait_for_everyone()
    if card is None:
        raise ConfigError("the recipe has no stage")
    return card


def _require_same_data(card: RunCard, stage: str, domains: Sequence[Domain]) -> None:
    """Refuse to go on from a stage that was trained when its folders held other data."""
    for then, now in zip(card.domains[stage], domains, strict=True):
        if then.split_hash != now.split_hash:
            raise ConfigError(
                f"{now.path} is not what {stage} was trained on (split {then.split_hash[:12]}, now "
                f"{now.split_hash[:12]}): prepare it as it was, or choose another --out and train both stages"
            )


def _silent(_: str) -> None:
    """What the processes beside the main one tell."""


def _require_stage_one_of(plan: TrainingPlan, folder: Path) -> None:
    """Refuse to begin Stage II from anything but the end of the plan's own Stage I."""
    alone = plan.model_copy(update={"stage_two": None})
    card = load_card(folder)
    if plan.stage_one is None or card.plan.deciding != alone.deciding:
        raise ConfigError(f"{folder} is no run of this recipe's Stage I alone: train it by the same recipe")


def _backbone_at(plan: TrainingPlan, folder: Path, card: RunCard) -> Backbone:
    loaded = load_backbone(plan.model.model_copy(update={"backbone": str(folder), "init": "pretrained"}))
    return Backbone(loaded.lm, loaded.tokenizer, card.fingerprint, card.backbone)


def stage_data(plan: TrainingPlan, stage: StageOne | StageTwo, domains: Sequence[Domain], tokenizer: Any) -> StageData:
    """Encode the domains of a stage.

    The users whose loss is validated are drawn once, from all domains in proportion to their size.

    An attribute that a domain's items do not have is left out of their texts, with a warning.

    Raises:
        DataError: a domain in which no user has a history and a target to learn from.
    """
    texts, views, training, validation = Texts(), [], [], []
    item_text = ItemText(plan.text)
    for attribute in plan.text.attributes:
        lacking = [domain.name for domain in domains if attribute.name not in domain.manifest.attributes]
        if lacking:
            logger.warning("text.attributes: items of %s have no %s", ", ".join(lacking), attribute.name)
    for number, domain in enumerate(domains):
        catalogue = domain.catalogue_with_texts(item_text)
        encoder = SequenceEncoder(tokenizer, plan.text, catalogue, plan.lengths)
        view = DomainTexts(number, encoder, dict(catalogue.positions), texts.keys(encoder))
        windows = training_windows(view, stage.targets, domain.split("train"), domain.training_sequences())
        if not windows:
            raise DataError(f"{domain.path}: no user has two items to train on; bring longer histories")
        views.append(view)
        training += windows
        validation += example_windows(view, domain.split("valid"))
    rng = np.random.default_rng((stage.seed, 1))
    drawn = rng.permutation(len(validation))[: stage.validation_users]
    return StageData(training, [validation[i] for i in sorted(drawn)], texts, views)


def stage_decisions(plan: TrainingPlan, data: StageData) -> list[DomainDecisions] | None:
    """The decisions of every domain's catalogue, where the objective is normalised over it.

    Raises:
        DataError: a catalogue whose items all have one text, so that there is nothing to decide.
    """
    if plan.objective.next_item != "catalogue":
        return None
    decisions = [DomainDecisions(view.encoder, view.keys) for view in data.domains]
    for view, of_domain in zip(data.domains, decisions, strict=True):
        if not len(of_domain.tree):
            raise DataError(
                f"domain {view.number + 1} of the stage: all items have the same text, so there is nothing to decide; "
                "add an attribute to text.attributes"
            )
    return decisions


def stage_collator(
    plan: TrainingPlan, data: StageData, shared_rows: bool, trunk: KnownStates | None = None
) -> Collator:
    """Make the collator that lays the stage's windows out."""
    return Collator(
        data.texts,
        pad_id=0,
        target_tower=plan.objective.contrasts,
        item_labels=plan.objective.item_weight > 0,
        trunk=trunk,
        shared_rows=shared_rows,
        decisions=stage_decisions(plan, data),
        free="nig" in plan.objective.weights,
    )


def stage_batches(stage: StageOne | StageTwo, data: StageData) -> TokenBudgetBatches:
    """All batches of a stage, in their order."""
    return TokenBudgetBatches(
        [len(window) for window in data.training],
        [window.domain for window in data.training],
        stage.sampling,
        stage.tokens_per_batch,
        stage.epochs,
        stage.token_budget,
        stage.seed,
        stage.accumulation,
        len(data.texts.items),
        stage.catalogue_texts,
    )


@without_cudnn()
def train_stage(
    plan: TrainingPlan,
    stage: StageOne | StageTwo,
    domains: Sequence[Domain],
    backbone: Backbone,
    folder: Path,
    tell: Tell,
    accelerator: bool,
) -> tuple[dict[str, float], int]:
    """Train the backbone in place; returns the best validation terms and the tokens that training saw."""
    data = stage_data(plan, stage, domains, backbone.tokenizer)
    adapt(backbone.lm, plan.model, stage.seed, accelerator)
    towers = Towers(backbone.lm)
    batches = stage_batches(stage, data)
    trained = sum(p.numel() for p in backbone.lm.parameters() if p.requires_grad)
    tell(
        f"{len(data.training):,} sequences, {len(data.texts.items):,} item texts, {batches.tokens:,} tokens in "
        f"{len(batches):,} batches; {trained / 1e6:.1f} M of {backbone.lm.num_parameters() / 1e6:.1f} M parameters "
        "are trained"
    )
    passes = batches.tokens / sum(len(window) for window in data.training)
    autocast = plan.model.autocast(accelerator)
    if not accelerator:
        warn_if_slow(plan.model.products(accelerator), "cpu", plan.model.in_float32)
    with PartialState().local_main_process_first():
        cache = trunk_cache(towers, data.sequences, folder / "cache", stage.cache_gb, passes, autocast)
    collator = stage_collator(plan, data, keeps_texts_apart(backbone.lm), cache)
    trainer = CalrecTrainer(
        Alignment(towers, plan.objective),
        training_arguments(stage, folder, batches.updates, autocast, use_cpu=not accelerator),
        batches,
        [*data.training, *range(len(data.texts.items))],
        data.validation,
        collator,
        backbone.tokenizer,
        stage_callbacks(stage),
        stage.negatives,
    )
    trainer.train_on()
    merge_adapters(backbone.lm)
    backbone.lm.requires_grad_(True).eval()
    best = best_terms(trainer.state.log_history)
    if trainer.is_world_process_zero():
        replace_text(folder / "history.json", json.dumps(trainer.state.log_history, indent=1))
        if not plot_curves(trainer.state.log_history, folder / "curves.png"):
            tell("no curves.png, as matplotlib is not installed: pip install 'calrec[plot]'")
    del trainer, cache, collator
    gc.collect()
    return best, batches.tokens


def best_terms(log_history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The validation terms of the best checkpoint, and the step it was reached at."""
    entries = [entry for entry in log_history if "eval_loss" in entry]
    best = min(entries, key=lambda entry: entry["eval_loss"], default={})
    terms = {name.removeprefix("eval_"): value for name, value in best.items() if name.startswith("eval_")}
    return terms | ({"step": best["step"]} if "step" in best else {})
