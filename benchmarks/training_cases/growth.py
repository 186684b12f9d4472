"""Seconds a token as sequences, batches and the number of domains grow: flat where the work is linear."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from calrec.data.store import Domain
from calrec.model.backbones import Backbone
from calrec.model.towers import Towers
from calrec.text.encode import LengthSettings, SequenceEncoder
from calrec.text.item_text import ItemText
from calrec.training.adapt import adapt
from calrec.training.alignment import Alignment
from calrec.training.config import ModelSettings, StageOne, TrainingPlan
from calrec.training.sequences import DomainTexts, Texts
from calrec.training.stages import StageData, stage_batches, stage_data
from harness import Claim, interleaved, medians
from training_cases.setup import STILL, Case, Ours, collator_of

LAYERS = 2

# Characters: the shortest sequences leave no room for the longest titles.
_LONGEST_TITLE = 48


def growth(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """No claim with a peer: three tables."""
    backbone, domain = case.backbone(LAYERS), case.sample(users=20 if case.quick else 100)
    domain = replace(domain, items=domain.items.filter(pl.col("title").str.len_chars() <= _LONGEST_TITLE))
    # As in the recipe: the layers are trained, embeddings and head are not.
    adapt(backbone.lm, ModelSettings(train_layers=LAYERS))
    lengths = (128, 256, 512)
    batches = (512, 1024, 2048) if case.quick else (1024, 2048, 4096, 8192)
    tables = {
        "sequence length": _table(case, {size: _passes(case, backbone, domain, size, batches[1]) for size in lengths}),
        "tokens a batch": _table(case, {size: _passes(case, backbone, domain, lengths[1], size) for size in batches}),
        "domains": _table(case, {count: _batch_making(case, backbone, count) for count in (1, 2, 4)}),
    }
    for name, rows in tables.items():
        line = ", ".join(f"{row['size']}: {row['seconds_per_token'] * 1e6:.0f}" for row in rows)
        print(f"  µs a token by {name}: {line}")
    return [], tables


def _table(case: Case, runs: dict[int, tuple[int, Callable[[], float]]]) -> list[dict[str, float]]:
    """From size to (tokens, run): a row a size."""
    taken = medians(interleaved({str(size): run for size, (_, run) in runs.items()}, case.rounds))
    return [
        {"size": size, "tokens": tokens, "seconds_per_token": taken[str(size)] / tokens}
        for size, (tokens, _) in runs.items()
    ]


def _passes(
    case: Case, backbone: Backbone, domain: Domain, length: int, tokens_per_batch: int
) -> tuple[int, Callable[[], float]]:
    """One update of one batch that is full of sequences of nearly the same length, every item a target."""
    plan, stage = case.plan(), case.stage(tokens_per_batch)
    texts = Texts()
    catalogue = domain.catalogue_with_texts(ItemText(plan.text))
    limits = LengthSettings(max_history=length, max_tokens=length)
    encoder = SequenceEncoder(backbone.tokenizer, plan.text, catalogue, limits)
    view = DomainTexts(0, encoder, dict(catalogue.positions), texts.keys(encoder))
    rng = np.random.default_rng(0)
    windows = []
    for number in range(tokens_per_batch // length):
        # Far more items than fit: the encoder keeps the newest that do.
        drawn = [catalogue.ids[column] for column in rng.integers(0, len(catalogue), length)]
        windows.append(view.window(str(number), drawn[:-1], drawn[-1], None))
    data = StageData(windows, [], texts)
    ours = Ours(Alignment(Towers(backbone.lm), plan.objective), stage, data, collator_of(data, plan))
    return ours.batches.tokens, lambda: ours().seconds


def _batch_making(case: Case, backbone: Backbone, count: int) -> tuple[int, Callable[[], float]]:
    """Encoding so many domains of one size, and laying out all batches of an epoch; no model is run."""
    domains = [case.sample(users=20 if case.quick else 300, seed=seed) for seed in range(count)]
    plan = case.plan()
    stage = StageOne(
        domains=tuple(domain.name for domain in domains),
        targets="all",
        epochs=1,
        tokens_per_batch=2048,
        learning_rate=STILL,
    )
    make = partial(_make_batches, plan, stage, domains, backbone.tokenizer)
    return make()[0], lambda: make()[1]


def _make_batches(plan: TrainingPlan, stage: StageOne, domains: list[Domain], tokenizer: Any) -> tuple[int, float]:
    begin = time.perf_counter()
    data = stage_data(plan, stage, domains, tokenizer)
    batches, collator = stage_batches(stage, data), collator_of(data, plan)
    for batch in batches:
        collator([data.training[place] for place in batch])
    return batches.tokens, time.perf_counter() - begin
