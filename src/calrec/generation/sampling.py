"""Samples from a causal language model: the same ones in every mode, in every batch and on every device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from calrec.errors import ConfigError
from calrec.generation.bound import CatalogueBound
from calrec.generation.draws import Draw, Prompt
from calrec.generation.prefill import check_prompts, inference
from calrec.generation.prefix_tree import sample_tree
from calrec.generation.rows import sample_rows
from calrec.generation.settings import SamplingSettings
from calrec.generation.speculation import CERTAIN, MAJORITY, CatalogueDrafter
from calrec.generation.trie import ItemTrie

logger = logging.getLogger(__name__)


def sample(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    end_id: int,
    settings: SamplingSettings | None = None,
    trie: ItemTrie | None = None,
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
        trie: the catalogue, which ``mode=draft`` guesses from and ``bound`` keeps to.
        progress: called with the number of users done, after each batch.

    Returns:
        For each prompt, in the order given, its distinct draws, the most probable first; their counts sum to n.

    Raises:
        ConfigError: ``mode=draft`` or ``bound`` without a trie.
        DataError: a prompt without tokens.
        ModelError: a prompt longer than the model's positions, or logits that are not finite.
    """
    settings = settings or SamplingSettings()
    guide = _guide(settings, trie)
    if settings.bound and trie is not None:
        settings = settings.model_copy(update={"max_new_tokens": trie.longest})
    check_prompts(lm, prompts, settings.max_new_tokens)
    # The longest come first: if memory is short, that shows at once.
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place].token_ids))
    results: dict[int, list[Draw]] = {}
    with inference(lm):
        for first in range(0, len(order), settings.batch_users):
            places = order[first : first + settings.batch_users]
            draws = _sample_batch(lm, [prompts[place] for place in places], end_id, settings, guide)
            results.update(zip(places, draws, strict=True))
            if progress is not None:
                progress(len(results))
    return [results[place] for place in range(len(prompts))]


class _Guide(NamedTuple):
    """What the catalogue is used for: to guess from, and to keep to."""

    drafter: CatalogueDrafter | None
    bound: CatalogueBound | None


def _guide(settings: SamplingSettings, trie: ItemTrie | None) -> _Guide:
    if trie is None:
        if settings.bound:
            raise ConfigError("bound keeps to the catalogue, but no trie was given: give one, or set bound=false")
        if settings.mode == "draft":
            raise ConfigError(
                "mode=draft guesses from the catalogue, but no trie was given: give one, or set mode=tree"
            )
        return _Guide(None, None)
    # Where all items of a beginning go on alike, what is bound must follow: that is no guess, and worth one pass.
    share = MAJORITY if settings.mode == "draft" else CERTAIN
    drafts = settings.mode == "draft" or settings.bound
    return _Guide(CatalogueDrafter(trie, share) if drafts else None, CatalogueBound(trie) if settings.bound else None)


def _sample_batch(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    end_id: int,
    settings: SamplingSettings,
    guide: _Guide,
) -> list[list[Draw]]:
    try:
        if settings.mode == "rows":
            return sample_rows(lm, prompts, end_id, settings, guide.bound)
        return sample_tree(lm, prompts, end_id, settings, guide.drafter, guide.bound)
    except torch.OutOfMemoryError:
        if len(prompts) == 1:
            raise
    # Outside of the handler: the error's traceback would keep the failed batch's memory.
    half = len(prompts) // 2
    logger.warning("out of memory with %d users in a batch; going on with %d", len(prompts), half)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [
        draws for part in (prompts[:half], prompts[half:]) for draws in _sample_batch(lm, part, end_id, settings, guide)
    ]
