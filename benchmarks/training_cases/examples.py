"""Training examples a second, and peak memory, against the straightforward two-tower loop."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Literal

import psutil
import torch

from calrec.model.towers import Towers
from calrec.training.alignment import Alignment
from calrec.training.stages import stage_data
from harness import Claim, highest_resident, interleaved, medians
from training_cases.setup import Case, Ours, collator_of, require_equal
from training_cases.two_towers import TwoTowerLoop, plain_examples

LAYERS = 4


def both_sides(case: Case) -> tuple[Ours, TwoTowerLoop]:
    """Our trainer and the plain loop over the same batches of the same examples, around one model."""
    plan, backbone = case.plan(item_weight=0.0), case.backbone(LAYERS)
    stage = case.stage(tokens_per_batch=300 if case.quick else 1024)
    data = stage_data(plan, stage, [case.sample(users=5 if case.quick else 10)], backbone.tokenizer)
    ours = Ours(Alignment(Towers(backbone.lm), plan.objective), stage, data, collator_of(data, plan))
    examples = [plain_examples([data.training[place] for place in batch], data.texts) for batch in ours.batches]
    return ours, TwoTowerLoop(backbone.lm, plan.objective, examples)


def examples_a_second(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal 4: every position of a sequence in one pass, and logits at targets alone."""
    ours, peer = both_sides(case)
    losses = require_equal(ours().terms, peer().terms, ["nig", "tt", "ut"], tolerance=1e-4)
    print(f"  losses of the first update, ours and the peer's: {losses}")
    seconds = interleaved({"ours": lambda: ours().seconds, "peer": lambda: peer().seconds}, case.rounds)
    count = sum(map(len, peer.batches))
    rates = {side: count / taken for side, taken in medians(seconds).items()}
    claim = Claim.more_is_better("training examples a second, two-tower loop", 4, **rates, unit="examples/s")
    return [claim], {"examples": count, "batches": len(peer.batches), "losses": losses, "seconds": seconds}


def peak_memory(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal 2.5: at most 40 % of the plain loop's peak of resident memory, above that after loading the model.

    Each side has a process of its own, so that neither finds the other's memory.
    """
    # A server that has imported everything and computed nothing yet: its forks begin alike, and at once.
    context = get_context("forkserver")
    context.set_forkserver_preload(["calrec.training.stages"])
    peaks = {}
    for side in ("ours", "peer"):
        with ProcessPoolExecutor(1, mp_context=context) as child:
            peaks[side] = child.submit(_peak_above_loaded, case, side).result() / 1e6
    print(f"  peak above the loaded model: ours {peaks['ours']:.0f} MB, the peer's {peaks['peer']:.0f} MB")
    claim = Claim.less_is_better("peak memory above the loaded model, two-tower loop", 2.5, **peaks, unit="MB")
    return [claim], {}


def _peak_above_loaded(case: Case, side: Literal["ours", "peer"]) -> int:
    """Bytes; runs in a child."""
    torch.set_num_threads(case.threads)
    ours, peer = both_sides(case)
    run = ours if side == "ours" else peer
    gc.collect()
    loaded = psutil.Process().memory_info().rss
    with highest_resident() as highest:
        run()
    return highest[0] - loaded
