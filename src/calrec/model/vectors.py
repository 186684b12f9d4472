"""The towers' vectors for retrieval: v_U of histories and v_T of items, by the passes that the losses trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calrec.errors import DataError, ModelError
from calrec.model.batching import halved
from calrec.model.inference import inference
from calrec.model.towers import Towers
from calrec.text.encode import EncodedSequence, Tokens

#: Tokens of one pass, padding included. No logits are made, so that it takes little memory.
TOKENS_PER_BATCH = 8192

# A text, and where the span that is averaged begins; it ends with the text.
_Text = tuple[bytes, int]


def user_vectors(
    lm: Any,
    prompts: Sequence[EncodedSequence],
    tokens_per_batch: int = TOKENS_PER_BATCH,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """v_U of histories, at unit length: their inner products with ``item_vectors`` are the cosines of L_UT.

    The mean goes over all tokens up to the end of the history's last item, as in ``TowerStates.user``; what the prompt
    holds behind it, the prefix of the item to come, is not computed.

    Args:
        lm: a causal LM of transformers.
        prompts: of ``SequenceEncoder.prompt``.
        tokens_per_batch: of one pass, padding included; a longer prompt is a pass of its own. It changes speed and
            memory, and a vector by rounding alone.
        progress: called with the number of prompts done, after each pass.

    Returns:
        (len(prompts), D). Equal prompts have equal vectors, to the bit.

    Raises:
        DataError: a prompt without items.
        ModelError: a prompt is longer than the model's positions, or has no finite vector.
    """
    for number, prompt in enumerate(prompts):
        if not len(prompt.spans):
            raise DataError(f"prompt {number} holds no item: the user tower needs a history of at least one")
    ends = [int(prompt.spans[-1, 1]) for prompt in prompts]
    texts = [(prompt.token_ids[:end].tobytes(), 0) for prompt, end in zip(prompts, ends, strict=True)]
    return _vectors(lm, "prompt", texts, tokens_per_batch, progress)


def item_vectors(
    lm: Any,
    items: Sequence[EncodedSequence],
    tokens_per_batch: int = TOKENS_PER_BATCH,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """v_T of items, at unit length: the mean over the item's tokens in a pass over its text alone.

    Args:
        lm: a causal LM of transformers.
        items: of ``SequenceEncoder.item``.
        tokens_per_batch, progress: as in ``user_vectors``.

    Returns:
        (len(items), D). Items of one text have one vector, to the bit, so that their order is that of their columns.

    Raises:
        ModelError: an item is longer than the model's positions, or has no finite vector.
    """
    spans = [(int(start), int(end)) for start, end in (item.spans[0] for item in items)]
    texts = [(item.token_ids[:end].tobytes(), start) for item, (start, end) in zip(items, spans, strict=True)]
    return _vectors(lm, "item", texts, tokens_per_batch, progress)


def _vectors(
    lm: Any, kind: str, texts: Sequence[_Text], tokens_per_batch: int, progress: Callable[[int], None] | None
) -> NDArray[np.float32]:
    """Unit vectors of texts (N, D), every distinct text computed once; ``kind`` is what an error calls them."""
    numbers: dict[_Text, int] = {}
    number_of = np.asarray([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    tokens = [np.frombuffer(text, dtype=np.int32) for text, _ in numbers]
    starts = [start for _, start in numbers]
    copies = np.bincount(number_of, minlength=len(numbers))
    lengths = np.asarray([len(ids) for ids in tokens], dtype=np.int64)
    _check_lengths(lm, kind, lengths, number_of)

    towers = Towers(lm)
    vectors = np.empty((len(numbers), towers.head_weight.shape[1]), dtype=np.float32)
    done = 0
    with inference(lm):
        for batch in _batches(lengths, tokens_per_batch):
            vectors[batch] = halved(batch, partial(_unit_means, towers, tokens, starts))
            done += int(copies[batch].sum())
            if progress is not None:
                progress(done)
    # A state that is no number, or beyond what can be squared, and a mean of length zero all end as one of these.
    damaged = ~np.isfinite(vectors).all(axis=1) | (np.abs(vectors).max(axis=1, initial=0) == 0)
    if damaged.any():
        first = int(np.flatnonzero(damaged[number_of])[0])
        raise ModelError(
            f"{kind} {first} has no finite vector ({int(damaged[number_of].sum())} of {len(texts)} have none): "
            "the weights are damaged, or too large for their dtype; load them as float32"
        )
    return vectors[number_of]


def _check_lengths(lm: Any, kind: str, lengths: NDArray[np.int64], number_of: NDArray[np.int64]) -> None:
    positions = getattr(lm.config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and (lengths > positions).any():
        first = int(np.flatnonzero(lengths[number_of] > positions)[0])
        raise ModelError(
            f"{kind} {first} has {lengths[number_of[first]]} tokens, and the model {positions} positions: "
            "lower lengths.max_tokens"
        )


def _batches(lengths: NDArray[np.int64], tokens_per_batch: int) -> Iterator[list[int]]:
    """Numbers of texts of similar length; the longest come first, so that what memory lacks shows at once."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        # Its first text is a batch's longest, to which the others are padded.
        size = max(1, tokens_per_batch // int(lengths[order[start]]))
        yield order[start : start + size].tolist()
        start += size


def _unit_means(
    towers: Towers, texts: Sequence[Tokens], starts: Sequence[int], batch: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Mean last-layer states of the texts of a batch from their starts on, at unit length: B of (D,)."""
    device = towers.head_weight.device
    ids = np.zeros((len(batch), max(len(texts[number]) for number in batch)), dtype=np.int64)
    averaged = np.zeros(ids.shape, dtype=bool)
    for row, number in enumerate(batch):
        length = len(texts[number])
        ids[row, :length] = texts[number]
        averaged[row, starts[number] : length] = True
    states = towers.states(torch.from_numpy(ids).to(device))
    wide = states if states.dtype == torch.float64 else states.float()
    mask = torch.from_numpy(averaged).to(device, wide.dtype)
    means = torch.einsum("bl,bld->bd", mask, wide) / mask.sum(dim=1, keepdim=True)
    return list((means / means.norm(dim=1, keepdim=True)).float().cpu().numpy())
