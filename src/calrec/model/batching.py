"""Batches that are halved where memory runs out: of users that the model writes for, and of texts that it reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from calrec.errors import ConfigError

logger = logging.getLogger(__name__)

# torch's words where memory ends that has no error of its own: a processor's, and Apple's.
_NO_MEMORY = ("DefaultCPUAllocator", "out of memory")

Result = TypeVar("Result")


def in_batches(
    batches: Sequence[Sequence[int]],
    compute: Callable[[Sequence[int]], Sequence[Result]],
    progress: Callable[[int], None] | None = None,
) -> list[Result]:
    """What ``compute`` gives for every user, in the order of the users and not of the batches.

    Where memory runs out, the batch is halved and the event logged.

    Args:
        batches: the users' numbers, each in one batch, as `calrec.generation.memory.user_batches` parts them.
        compute: gives one result for each user of a batch; whom a user shares the batch with must not change it.
        progress: called with the number of users done, after each batch.
    """
    results: dict[int, Result] = {}
    for batch in batches:
        results.update(zip(batch, halved(batch, compute), strict=True))
        if progress is not None:
            progress(len(results))
    return [results[user] for user in range(len(results))]


def halved(batch: Sequence[int], compute: Callable[[Sequence[int]], Sequence[Result]]) -> list[Result]:
    """What ``compute`` gives for a batch, in its order, or for its halves where memory runs out.

    Args:
        batch: numbers of what is computed.
        compute: gives one result for each number; which others are beside it must not change it.

    Raises:
        ConfigError: one alone is too much.
    """
    try:
        return list(compute(batch))
    except (RuntimeError, MemoryError) as error:
        kinds = (torch.OutOfMemoryError, MemoryError)
        if not isinstance(error, kinds) and not any(words in str(error) for words in _NO_MEMORY):
            raise
        if len(batch) == 1:
            raise ConfigError(
                "memory ran out with one text or user alone: lower memory_gb, keep fewer items of the histories, or "
                "take a device with more memory"
            ) from None
    # Outside of the handler: the error's traceback would keep the failed batch's memory.
    half = len(batch) // 2
    logger.warning("out of memory with a batch of %d; going on with %d", len(batch), half)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [result for part in (batch[:half], batch[half:]) for result in halved(part, compute)]
