"""What sampling takes and gives, and the random numbers that make it the same whatever computes it.

Randomness belongs to the sample: one uniform number for each (seed, user, sample, position), turned into a token by the
inverse of the distribution function over the vocabulary in its own order. Rows, trees and drafts share this module, so
they draw the very same samples; neither the batch nor the order of the users changes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calrec.errors import ModelError

# Distributions that are drawn from, or summed, at once, and so take memory. A processor keeps in its cache what it
# computes of so few; elsewhere a call costs more than its work.
_ROWS_ON_A_CPU, _ROWS_ELSEWHERE = 16, 256
# Of these so many numbers at once, each of which has a block summed token by token.
_NUMBERS = 1 << 14
# Tokens whose masses are summed at once to find where in the vocabulary a draw falls.
_BLOCK = 256


def rows_at_once(device: torch.device) -> int:
    """Distributions that are drawn from, or summed, at once."""
    return _ROWS_ON_A_CPU if device.type == "cpu" else _ROWS_ELSEWHERE


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user's tokens up to where the next item begins; ``key`` (the user's id) seeds the samples."""

    key: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """A distinct continuation.

    Attributes:
        token_ids: what was drawn, the end token included where it was reached.
        log_prob: sum of the model's own log-probabilities (temperature 1) of ``token_ids``, in nats.
        count: how many of the user's samples came out as this continuation.
        first: number of the first of them, from 0: what the first n samples drew are the draws with ``first`` below n.
    """

    token_ids: tuple[int, ...]
    log_prob: float
    count: int
    first: int


def in_order(draws: Iterable[Draw]) -> list[Draw]:
    """The total order of draws: the most probable first, equals by their tokens."""
    return sorted(draws, key=lambda draw: (-draw.log_prob, draw.token_ids))


def joined(parts: Iterable[Sequence[Draw]]) -> list[Draw]:
    """The draws of a user whose samples were drawn in parts, one after the other, in their total order."""
    found: dict[tuple[int, ...], Draw] = {}
    drawn = 0
    for part in parts:
        for draw in part:
            known = found.get(draw.token_ids, replace(draw, count=0, first=drawn + draw.first))
            found[draw.token_ids] = replace(known, count=known.count + draw.count)
        drawn += sum(draw.count for draw in part)
    return in_order(found.values())


def uniforms(seed: int, key: str, n: int, length: int) -> NDArray[np.float64]:
    """The random numbers of a user's samples: shape (n, length), in [0, 1).

    A number depends on the seed, the key, the sample and the position alone: fewer samples are the first of more.
    """
    digest = blake2b(f"{seed} {key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    secret = int.from_bytes(digest, "little")
    rows = [
        np.random.Generator(np.random.Philox(key=secret, counter=sample << 128)).random(length) for sample in range(n)
    ]
    return np.stack(rows)


def draw_tokens(
    logits: Tensor,
    numbers: Tensor,
    temperature: float,
    allowed: Sequence[NDArray[np.int64]] | None = None,
    rows: Tensor | None = None,
    normalise: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw S tokens from each of N distributions by the inverse of their distribution functions.

    Args:
        logits: (M, V) of the model, at temperature 1.
        numbers: (N, S) float64 in [0, 1).
        temperature: of the draw, > 0; the log-probabilities stay those of temperature 1.
        allowed: for each distribution the tokens among which is drawn, at least one; by default all. The
            log-probabilities stay those of the whole distribution.
        rows: (N,) which of the logits each distribution is; by default all, in their order.
        normalise: give log-probabilities of the distribution over the allowed tokens instead.

    Returns:
        Token ids (N, S), and their log-probabilities (N, S) in float64.

    Raises:
        ModelError: a distribution is not finite.
    """
    at = torch.arange(len(logits), device=logits.device) if rows is None else rows
    together = max(1, min(rows_at_once(logits.device), _NUMBERS // numbers.shape[1]))
    parts = [
        _drawn(
            logits[at[first : first + together]],
            numbers[first : first + together],
            temperature,
            None if allowed is None else allowed[first : first + together],
            normalise,
        )
        for first in range(0, len(at), together)
    ]
    tokens, gains = zip(*parts, strict=True)
    return torch.cat(tokens), torch.cat(gains)


def _drawn(
    logits: Tensor,
    numbers: Tensor,
    temperature: float,
    allowed: Sequence[NDArray[np.int64]] | None,
    normalise: bool,
) -> tuple[Tensor, Tensor]:
    logits, log_total = normalised(logits)
    choice = None if allowed is None else _padded(allowed, logits.device)
    drawable = logits if choice is None else logits.gather(1, choice.clamp(min=0)).masked_fill_(choice < 0, -torch.inf)
    if normalise:
        log_total = drawable.logsumexp(dim=-1, keepdim=True)
    highest = drawable.amax(dim=-1, keepdim=True)
    _require_finite(highest)
    places = _invert((drawable - highest).div_(temperature).exp_(), numbers)
    tokens = places if choice is None else choice.gather(1, places)
    return tokens, logits.gather(1, tokens).double() - log_total.double()


def normalised(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The logits (N, V) in float32 or better, and the logarithm of what their exponentials sum to, (N, 1).

    Raises:
        ModelError: a distribution is not finite.
    """
    # float64 where the model is, float32 below: the noise of the logits is larger than that of this arithmetic.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_total = logits.logsumexp(dim=-1, keepdim=True)
    _require_finite(log_total)
    return logits, log_total


def _require_finite(of_distributions: Tensor) -> None:
    if not torch.isfinite(of_distributions).all():
        raise ModelError(
            "the model gives logits that are not finite: its weights or its precision are broken; "
            "load it in float32, or go back to an earlier checkpoint"
        )


def _padded(allowed: Sequence[NDArray[np.int64]], device: torch.device) -> Tensor:
    """The tokens that are allowed in each of N distributions, (N, A), in their order; -1 behind them."""
    tokens = np.full((len(allowed), max(map(len, allowed))), -1)
    for row, of_one in zip(tokens, allowed, strict=True):
        row[: len(of_one)] = of_one
    return torch.from_numpy(tokens).to(device)


def _invert(masses: Tensor, numbers: Tensor) -> Tensor:
    """The token at which the masses (N, V), summed from the first, pass each number's share of their total: (N, S).

    What blocks sum to leads to the number's block, and only that one is summed token by token: over a large vocabulary
    this is many times faster than all cumulated sums, which the draw does not need.
    """
    blocks = torch.nn.functional.pad(masses, (0, -masses.shape[1] % _BLOCK)).reshape(len(masses), -1, _BLOCK)
    cumulated = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    wanted = numbers * cumulated[:, -1:]
    found = _first_above(cumulated, wanted)
    before = torch.nn.functional.pad(cumulated, (1, 0)).gather(1, found)
    within = blocks[torch.arange(len(blocks), device=blocks.device)[:, None], found].cumsum(-1, dtype=torch.float64)
    return found * _BLOCK + _first_above(within, (wanted - before)[..., None])[..., 0]


def _first_above(cumulated: Tensor, wanted: Tensor) -> Tensor:
    """Places of the first sums (..., K) above the wanted ones (..., S), never past the last that has a mass."""
    total = cumulated[..., -1:].contiguous()
    # Rounding may lift what is wanted to the total itself.
    return torch.minimum(torch.searchsorted(cumulated, wanted, right=True), torch.searchsorted(cumulated, total))
