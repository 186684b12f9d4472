"""The top layers over a trunk that is computed once, against the same layers over a trunk that runs in every pass."""

from __future__ import annotations

from typing import Any

from calrec.model.towers import Towers
from calrec.training.adapt import adapt
from calrec.training.alignment import Alignment
from calrec.training.config import ModelSettings
from calrec.training.stages import stage_data
from calrec.training.trunk_cache import trunk_cache
from harness import Claim, interleaved, medians
from training_cases.setup import Case, Ours, collator_of, require_equal


def top_layers(case: Case, kept: bool, autocast: bool = False) -> Ours:
    """The shipped recipe for two cores: the top 6 of 30 layers (``--quick``: 1 of 4), every item a target.

    Args:
        case: what is asked for.
        kept: whether the trunk's states are, or it runs in every pass.
        autocast: matrix products in bfloat16.
    """
    plan, backbone = case.plan(), case.backbone(None)
    adapt(backbone.lm, ModelSettings(train_layers=1 if case.quick else plan.model.train_layers))
    stage = case.stage(tokens_per_batch=300 if case.quick else plan.stage_two.tokens_per_batch)
    data = stage_data(plan, stage, [case.sample(users=6 if case.quick else 20)], backbone.tokenizer)
    towers = Towers(backbone.lm)
    trunk = trunk_cache(towers, data.sequences, case.work, limit_gb=1, passes=2, autocast=autocast) if kept else None
    return Ours(Alignment(towers, plan.objective), stage, data, collator_of(data, plan, trunk), autocast)


def cached_trunk(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal 1.6; what the states cost once is not counted, as it is shared by all passes of a run."""
    ours, peer = top_layers(case, kept=True), top_layers(case, kept=False)
    # float16 keeps eleven bits of a state, so the losses are not equal to more than that.
    losses = require_equal(ours().terms, peer().terms, ["nig", "tt", "ut"], tolerance=2e-2)
    print(f"  losses of the first update, cached and not: {losses}")
    seconds = interleaved({"ours": lambda: ours().seconds, "peer": lambda: peer().seconds}, case.rounds)
    tokens = ours.batches.tokens
    rates = {side: tokens / taken for side, taken in medians(seconds).items()}
    claim = Claim.more_is_better(
        "tokens a second over a cached trunk, uncached top layers", 1.6, **rates, unit="tokens/s"
    )
    return [claim], {"tokens": tokens, "losses": losses, "seconds": seconds}
