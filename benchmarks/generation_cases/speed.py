"""Users a second: samples and beams against the usual way, and against the plain loop over a shared prefill."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from calrec.errors import ConfigError
from calrec.generation import Prompt, SamplingSettings, beam_search, catalogue_beam, sample
from calrec.model.attention_kernels import without_cudnn
from calrec.text.decisions import DecisionTree
from generation_cases.peer import UsualWay
from generation_cases.setup import SAMPLES, Case, counted
from harness import Claim, interleaved, medians

PEER = "generate + rank_bm25"
# As many as are usually shown, and as many as there are samples.
WIDTHS = (10, SAMPLES)


def speed(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal 10 for samples, down to the scores of the whole catalogue, and 20 for a beam, down to a ranking of items."""
    served, prompts = case.served, case.served.prompts(case.users)

    def sampled(**changes: Any) -> Callable[[], Any]:
        settings = case.sampling.model_copy(update=changes)
        return lambda: [
            served.grounded(draws) for draws in sample(served.lm, prompts, served.encoder.end_id, settings, served.trie)
        ]

    def searched(width: int) -> Callable[[], Any]:
        return lambda: beam_search(
            served.lm, prompts, served.trie, width, batch_users=case.users, memory_gb=case.memory_gb
        )

    decisions = DecisionTree(served.trie)

    def decided(width: int) -> Callable[[], Any]:
        return lambda: catalogue_beam(
            served.lm, prompts, decisions, width, batch_users=case.users, memory_gb=case.memory_gb
        )

    over_catalogue = {f"beam over the catalogue, width {width}": decided(width) for width in WIDTHS}
    beams = {f"beam, width {width}": searched(width) for width in WIDTHS}
    ways: dict[str, Callable[[], Any]] = {
        "rows": sampled(mode="rows"),
        "tree": sampled(mode="tree"),
        "draft": sampled(mode="draft"),
        "draft, one user at a time": sampled(mode="draft", batch_users=1),
        "tree, one user at a time": sampled(mode="tree", batch_users=1),
        "bound": sampled(mode="tree", bound=True),
        **beams,
        **over_catalogue,
    }
    if unknown := [name for name in case.ways if name not in ways]:
        raise ConfigError(f"--way {unknown[0]}: the ways are {'; '.join(ways)}")
    rates, details = _raced(case, prompts, {name: ways[name] for name in case.ways or ways})
    default, plain = SamplingSettings().mode, "rows"
    goals = {
        f"samples + BM25, {PEER}": (10, default, PEER),
        "samples + BM25, plain loop over a shared prefill": (1, default, plain),
        **{f"bound {way}, {PEER}": (20, way, PEER) for way in beams},
        **{f"{ours}, free {free}": (8, ours, free) for ours, free in zip(over_catalogue, beams, strict=True)},
    }
    claims = [
        Claim.more_is_better(name, goal, rates[ours], rates[peer], "users/s")
        for name, (goal, ours, peer) in goals.items()
        if {ours, peer} <= rates.keys()
    ]
    return claims, details


def _raced(
    case: Case, prompts: Sequence[Prompt], ways: Mapping[str, Callable[[], Any]]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Users a second of the peer and of each way, taken in turns, and what was computed for a user."""
    usual, of_peer = UsualWay(case.served, case.sampling), prompts[: case.peer_users]

    def peer() -> None:
        with without_cudnn():  # as ours
            usual(of_peer)

    runs = {PEER: peer, **ways}
    users = {name: len(of_peer if name == PEER else prompts) for name in runs}
    work: dict[str, dict[str, float]] = {}

    def timed(name: str, run: Callable[[], Any]) -> Callable[[], float]:
        def seconds() -> float:
            with nullcontext() if name in work else counted(case.served.lm) as of_run:
                begin = time.perf_counter()
                run()
                taken = time.perf_counter() - begin
            if of_run is not None:  # the round that finds caches cold, and is not timed
                work[name] = of_run.per_user(users[name])
            return taken

        return seconds

    seconds = interleaved({name: timed(name, run) for name, run in runs.items()}, case.rounds)
    rates = {name: users[name] / taken for name, taken in medians(seconds).items()}
    for name, rate in rates.items():
        of_run = work[name]
        print(f"  {name}: {rate:.3f} users/s, {of_run['passes']:.1f} passes and {of_run['tokens']:.0f} tokens a user")
    lengths = {name: [len(prompt.token_ids) for prompt in of] for name, of in (("ours", prompts), (PEER, of_peer))}
    details = {
        "users": users,
        "prompt_tokens": {name: {"mean": float(np.mean(of)), "max": max(of)} for name, of in lengths.items()},
        "seconds": seconds,
        "per_user": work,
    }
    return rates, details
