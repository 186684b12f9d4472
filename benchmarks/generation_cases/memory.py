"""Peak memory of samples and grounding against the usual way, each side in a process of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Literal

import torch

from calrec.generation import sample
from generation_cases.peer import UsualWay
from generation_cases.setup import Case
from harness import Claim, highest_resident


def peak_memory(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal 1: no more than the usual way, above what the loaded model and its catalogue take."""
    # A server that has imported everything and computed nothing yet: its forks begin alike.
    context = get_context("forkserver")
    context.set_forkserver_preload(["generation_cases.peer"])
    peaks = {}
    for side in ("ours", "peer"):
        with ProcessPoolExecutor(1, mp_context=context) as child:
            peaks[side] = child.submit(_peak_above_loaded, case, side).result() / 1e6
    claim = Claim.less_is_better("peak memory above the loaded model, generate + rank_bm25", 1, **peaks, unit="MB")
    return [claim], {"users_at_once": {"ours": case.sampling.batch_users, "peer": 1}}


def _peak_above_loaded(case: Case, side: Literal["ours", "peer"]) -> int:
    """Bytes; runs in a child."""
    torch.set_num_threads(case.threads)
    served = case.served
    # The longest histories, ours a whole batch of them: what takes the most memory.
    prompts = sorted(map(served.prompt, served.histories), key=lambda prompt: -len(prompt.token_ids))
    usual, _ = UsualWay(served, case.sampling), (served.trie, served.index)
    gc.collect()
    with _highest(case.device) as highest:
        loaded = highest()
        if side == "peer":
            usual(prompts[:2])
        else:
            batch = prompts[: case.sampling.batch_users]
            for draws in sample(served.lm, batch, served.encoder.end_id, case.sampling, served.trie):
                served.grounded(draws)
        return highest() - loaded


@contextmanager
def _highest(device: str) -> Iterator[Callable[[], int]]:
    """The highest memory since then, in bytes: what torch has allocated of an accelerator's, else what is resident."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield torch.cuda.max_memory_allocated
    else:
        with highest_resident() as resident:
            yield lambda: resident[0]
