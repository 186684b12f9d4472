"""Every sample a row of its own: the plain loop, which the faster modes must equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from calrec.generation.bound import CatalogueBound
from calrec.generation.draws import Draw, Prompt, draw_tokens, in_order
from calrec.generation.prefill import prefill


def sample_rows(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    numbers: Sequence[NDArray[np.float64]],
    end_id: int,
    temperature: float,
    bound: CatalogueBound | None = None,
) -> list[list[Draw]]:
    """Draw the samples of each prompt; see `calrec.generation.sample`.

    Args:
        numbers: for each prompt what its samples are drawn by: (samples, tokens of a sample at most).
    """
    n, length = numbers[0].shape
    start = prefill(lm, prompts)
    cache, mask = start.cache, start.mask.repeat_interleave(n, dim=0)
    cache.batch_repeat_interleave(n)
    logits, positions = start.logits.repeat_interleave(n, dim=0), start.lengths.repeat_interleave(n)
    by_row = torch.from_numpy(np.concatenate(numbers)).to(lm.device)

    written: list[list[int]] = [[] for _ in range(len(prompts) * n)]
    log_probs = torch.zeros(len(written), dtype=torch.float64, device=lm.device)
    rows = torch.arange(len(written), device=lm.device)
    for position in range(length):
        allowed = None if bound is None else [bound.after(tuple(written[row])) for row in rows.tolist()]
        normalise = bound is not None and bound.normalise
        drawn = draw_tokens(logits, by_row[rows, position, None], temperature, allowed, normalise=normalise)
        tokens, gained = (tensor[:, 0] for tensor in drawn)
        log_probs[rows] += gained
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            written[row].append(token)
        going = torch.nonzero(tokens != end_id)[:, 0]
        if not len(going) or position + 1 == length:
            break
        if len(going) < len(rows):
            rows, tokens, mask, positions = rows[going], tokens[going], mask[going], positions[going]
            cache.batch_select_indices(going)
        mask = torch.nn.functional.pad(mask, (0, 1), value=True)
        logits = logits.new_empty(0)  # large, and done with
        logits = lm(
            input_ids=tokens[:, None],
            attention_mask=mask.long(),
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        positions = positions + 1
    return [
        _collapse(written[first : first + n], log_probs[first : first + n].tolist())
        for first in range(0, len(written), n)
    ]


def _collapse(written: Sequence[Sequence[int]], log_probs: Sequence[float]) -> list[Draw]:
    """Equal samples of one user become one draw."""
    samples = [tuple(tokens) for tokens in written]
    return in_order(
        Draw(tokens, log_probs[samples.index(tokens)], count, samples.index(tokens))
        for tokens, count in Counter(samples).items()
    )
