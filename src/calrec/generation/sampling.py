"""Samples from a causal language model: the same ones in every mode, in every batch and on every device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from transformers import PreTrainedModel

from calrec.generation.draws import Draw, Prompt
from calrec.generation.prefill import check_prompts
from calrec.generation.rows import sample_rows
from calrec.settings import Settings

logger = logging.getLogger(__name__)


class SamplingSettings(Settings):
    """How many samples are drawn, and how; 32 samples at temperature 0.5 are the paper's.

    Attributes:
        n: samples a user.
        temperature: of the draws; log-probabilities are always those of temperature 1.
        max_new_tokens: a sample that did not end by then is cut there.
        seed: with the user's key, the source of all random numbers.
        batch_users: users computed together; it changes speed and memory, never a sample.
    """

    n: int = Field(default=32, ge=1, le=1024)
    temperature: float = Field(default=0.5, ge=0.01, le=10)
    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    seed: int = Field(default=0, ge=0)
    batch_users: int = Field(default=8, ge=1, le=4096)


def sample(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    end_id: int,
    settings: SamplingSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[Draw]]:
    """Draw continuations of every prompt.

    A sample ends at ``end_id`` or after ``max_new_tokens``. Prompts of similar length are computed together; where
    memory runs out, the batch is halved and the event logged, and the samples stay the same.

    Args:
        lm: any causal language model of transformers that keeps keys and values.
        prompts: the users; equal keys and tokens give equal samples.
        end_id: the token that ends an item.
        settings: `SamplingSettings`.
        progress: called with the number of users done, after each batch.

    Returns:
        For each prompt, in the order given, its distinct draws, the most probable first; their counts sum to n.

    Raises:
        DataError: a prompt without tokens.
        ModelError: a prompt longer than the model's positions, or logits that are not finite.
    """
    settings = settings or SamplingSettings()
    check_prompts(lm, prompts, settings.max_new_tokens)
    # The longest come first: if memory is short, that shows at once.
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place].token_ids))
    results: dict[int, list[Draw]] = {}
    training = lm.training
    lm.eval()
    try:
        for first in range(0, len(order), settings.batch_users):
            places = order[first : first + settings.batch_users]
            draws = _sample_batch(lm, [prompts[place] for place in places], end_id, settings)
            results.update(zip(places, draws, strict=True))
            if progress is not None:
                progress(len(results))
    finally:
        lm.train(training)
    return [results[place] for place in range(len(prompts))]


def _sample_batch(
    lm: PreTrainedModel, prompts: Sequence[Prompt], end_id: int, settings: SamplingSettings
) -> list[list[Draw]]:
    try:
        return sample_rows(
            lm, prompts, end_id, settings.n, settings.temperature, settings.max_new_tokens, settings.seed
        )
    except torch.OutOfMemoryError:
        if len(prompts) == 1:
            raise
    # Outside of the handler: the error's traceback would keep the failed batch's memory.
    half = len(prompts) // 2
    logger.warning("out of memory with %d users in a batch; going on with %d", len(prompts), half)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [draws for part in (prompts[:half], prompts[half:]) for draws in _sample_batch(lm, part, end_id, settings)]
