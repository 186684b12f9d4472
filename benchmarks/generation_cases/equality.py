"""That every mode draws the samples of separate rows, on the model and in the precision that is served.

Where a draw falls on a boundary of the distribution, rounding may lead it to either side; every difference is shown
with how far the boundary was and how far rounding moves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calrec.generation import Draw, Prompt, SamplingSettings, sample
from calrec.generation.draws import uniforms
from generation_cases.setup import Case, Served
from harness import Claim

USERS = 20
# A difference is rounding's where a number is so near to a boundary, in times what another batch moves the boundary by.
MARGIN, FLOOR = 16, float(np.finfo(np.float32).eps)


def equality(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal: of ten thousand tokens at most one parts from the rows', and that where rounding moves a boundary."""
    served, prompts = case.served, case.served.prompts(4 if case.quick else USERS)
    claims, details = [], {}
    for bound in (False, True):
        rows = _samples(served, prompts, case.sampling.model_copy(update={"mode": "rows", "bound": bound}))
        for mode in ("tree", "draft"):
            settings = case.sampling.model_copy(update={"mode": mode, "bound": bound})
            differences = [
                _difference(served, prompt, settings, *pair)
                for prompt, ours, theirs in zip(prompts, _samples(served, prompts, settings), rows, strict=True)
                for pair in _pairs(ours, theirs)
            ]
            tokens = sum(draw.count * len(draw.token_ids) for draws in rows for draw in draws)
            name = f"{mode}, bound" if bound else mode
            details[name] = {"users": len(prompts), "tokens": tokens, "differences": differences}
            print(f"  {name}: {len(differences)} of {tokens} drawn tokens part from those of rows")
            for difference in differences:
                print("    " + ", ".join(f"{key} {value:.3g}" for key, value in difference.items()))
            wrong = sum(
                difference["distance"] > MARGIN * max(difference["rounding"], FLOOR) for difference in differences
            )
            shares = {"are the rows'": (len(differences), 0.9999), "are, or differ by rounding": (wrong, 1.0)}
            claims += [
                Claim(f"{name}: tokens that {what}", 1 - count / tokens, goal, 1 - count / tokens, 1.0, "of all")
                for what, (count, goal) in shares.items()
            ]
    return claims, details


def _samples(served: Served, prompts: Sequence[Prompt], settings: SamplingSettings) -> list[list[Draw]]:
    return sample(served.lm, prompts, served.encoder.end_id, settings, served.trie)


def _pairs(ours: Sequence[Draw], theirs: Sequence[Draw]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Samples of one side that the other lacks, those with the longest common beginnings together."""
    counts = [Counter({draw.token_ids: draw.count for draw in draws}) for draws in (ours, theirs)]
    only = [sorted((counts[side] - counts[1 - side]).elements()) for side in (0, 1)]
    return list(zip(*only, strict=True))


def _difference(
    served: Served, prompt: Prompt, settings: SamplingSettings, ours: tuple[int, ...], theirs: tuple[int, ...]
) -> dict[str, float]:
    """Where two samples part: the place, how near a random number is to the boundary, and what rounding does to it."""
    shared = tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
    lower = min(ours[len(shared)], theirs[len(shared)])
    ids = torch.tensor([[*prompt.token_ids, *shared]], device=served.lm.device)
    allowed = None
    if settings.bound:
        node = served.trie.find(shared)
        allowed = [token for token, _ in served.trie.children(node)]
    boundaries = []
    for inputs in (ids, ids.repeat(7, 1)):  # in another batch the products are rounded otherwise
        with torch.inference_mode():
            logits = served.lm(input_ids=inputs, logits_to_keep=1).logits[0, -1]
        boundaries.append(_share_up_to(logits, lower, settings.temperature, allowed))
    numbers = uniforms(settings.seed, prompt.key, settings.n, len(shared) + 1)[:, -1]
    return {
        "position": len(shared),
        "distance": float(np.abs(numbers - boundaries[0]).min()),
        "rounding": abs(boundaries[0] - boundaries[1]),
    }


def _share_up_to(logits: torch.Tensor, token: int, temperature: float, allowed: Sequence[int] | None) -> float:
    """The distribution function at a token."""
    values: NDArray[np.float64] = logits.double().cpu().numpy() / temperature
    if allowed is not None:
        closed = np.full_like(values, -np.inf)
        closed[list(allowed)] = values[list(allowed)]
        values = closed
    masses = np.exp(values - values.max())
    return float(masses[: token + 1].sum() / masses.sum())
