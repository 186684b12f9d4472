"""Samples from a causal language model: the same ones in every mode and in every batch, but for rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from calrec.errors import ConfigError
from calrec.generation.bound import CatalogueBound
from calrec.generation.draws import Draw, Prompt, joined, uniforms
from calrec.generation.memory import Footprint, user_batches
from calrec.generation.prefill import check_prompts
from calrec.generation.prefix_tree import GUESSES, WRONG_GUESSES, sample_tree
from calrec.generation.rows import sample_rows
from calrec.generation.settings import SamplingSettings
from calrec.generation.speculation import CERTAIN, MAJORITY, CatalogueDrafter
from calrec.model.batching import in_batches
from calrec.model.inference import inference
from calrec.text.trie import ItemTrie


def sample(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    end_id: int,
    settings: SamplingSettings | None = None,
    trie: ItemTrie | None = None,
    progress: Callable[[int], None] | None = None,
    over_catalogue: bool = False,
) -> list[list[Draw]]:
    """Draw continuations of every prompt.

    A sample ends at ``end_id`` or after ``max_new_tokens``. Prompts of similar length are computed together; where
    memory runs out, the batch is halved and the event logged, and the samples stay the same.

    Args:
        lm: any causal language model of transformers that keeps keys and values.
        prompts: the users; equal keys and tokens give equal samples.
        end_id: the token that ends an item.
        settings: `SamplingSettings`.
        trie: the catalogue, which ``mode=draft`` guesses from, and is the same as ``tree`` without, and ``bound`` keeps
            to.
        progress: called with the number of users done, after each batch.
        over_catalogue: give draws that are ``bound`` their log-probabilities over the catalogue, as `catalogue_beam`
            does; the draws are the same.

    Returns:
        For each prompt, in the order given, its distinct draws, the most probable first; their counts sum to n.

    Raises:
        ConfigError: ``bound`` without a trie, or too little memory for one sample.
        DataError: a prompt without tokens.
        ModelError: a prompt longer than the model's positions, or logits that are not finite.
    """
    settings = settings or SamplingSettings()
    guide = _guide(settings, trie, over_catalogue)
    length = trie.longest if settings.bound and trie is not None else settings.max_new_tokens
    check_prompts(lm, prompts, length)
    if not prompts:
        return []
    longest = max(len(prompt.token_ids) for prompt in prompts)
    need = partial(_need, settings.mode, guide, longest, length)
    at_once = _samples_at_once(lm, settings, longest, need)

    def draws_of(users: Sequence[int]) -> list[list[Draw]]:
        chosen = [prompts[user] for user in users]
        numbers = [uniforms(settings.seed, prompt.key, settings.n, length) for prompt in chosen]
        parts = [
            _sample(lm, chosen, [of_user[first : first + at_once] for of_user in numbers], end_id, settings, guide)
            for first in range(0, settings.n, at_once)
        ]
        return list(map(joined, zip(*parts, strict=True)))

    batches = user_batches(lm, prompts, settings.batch_users, settings.memory_gb, *need(at_once))
    with inference(lm):
        return in_batches(batches, draws_of, progress)


class _Guide(NamedTuple):
    """What the catalogue is used for: to guess from, and to keep to."""

    drafter: CatalogueDrafter | None
    bound: CatalogueBound | None


def _guide(settings: SamplingSettings, trie: ItemTrie | None, over_catalogue: bool) -> _Guide:
    if trie is None:
        if settings.bound:
            raise ConfigError("bound keeps to the catalogue, but no trie was given: give one, or set bound=false")
        return _Guide(None, None)
    # Where all items of a beginning go on alike, what is bound must follow: that is no guess, and worth one pass.
    share = MAJORITY if settings.mode == "draft" else CERTAIN
    drafts = settings.mode == "draft" or settings.bound
    bound = CatalogueBound(trie, over_catalogue) if settings.bound else None
    return _Guide(CatalogueDrafter(trie, share) if drafts else None, bound)


def _need(mode: str, guide: _Guide, longest: int, length: int, samples: int) -> tuple[int, int]:
    """Tokens of a user that are kept beyond the prompt, and nodes in a pass, when no samples share a beginning."""
    if mode == "rows":
        return samples * (longest + length), samples
    guesses, wrong = (0, 0) if guide.drafter is None else (GUESSES, WRONG_GUESSES)
    return samples * length + wrong, samples + guesses


def _samples_at_once(
    lm: PreTrainedModel, settings: SamplingSettings, longest: int, need: Callable[[int], tuple[int, int]]
) -> int:
    """How many of a user's samples fit into memory: all, or a half, or a quarter of them, and so on."""
    footprint, samples = Footprint.of(lm), settings.n
    while samples > 1 and footprint.peak(longest, *need(samples)) > settings.memory_gb * 1e9:
        samples = -(-samples // 2)
    return samples


def _sample(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    numbers: Sequence[NDArray[np.float64]],
    end_id: int,
    settings: SamplingSettings,
    guide: _Guide,
) -> list[list[Draw]]:
    if settings.mode == "rows":
        return sample_rows(lm, prompts, numbers, end_id, settings.temperature, guide.bound)
    return sample_tree(lm, prompts, numbers, end_id, settings.temperature, guide.drafter, guide.bound)
