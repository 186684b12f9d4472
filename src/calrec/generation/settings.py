"""How samples are drawn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from calrec.settings import Settings


class SamplingSettings(Settings):
    """How many samples are drawn, and how; 32 samples at temperature 0.5 are the paper's.

    Attributes:
        n: samples a user.
        temperature: of the draws; log-probabilities are always those of temperature 1.
        max_new_tokens: a sample that did not end by then is cut there; one that is bound goes on to its item's end.
        seed: with the user's key, the source of all random numbers.
        mode: ``rows`` computes every sample by itself, ``tree`` what samples share once, ``draft`` also guesses from
            the catalogue, where there is one, what comes next. The samples are the same ones.
        bound: whether samples can only be items of the catalogue (beyond the paper): each token is drawn among those
            that lead to an item, by the same random numbers from the model's distribution over them. The
            log-probability of a draw stays the model's own, that of `score_items`, and not that of this choice.
        batch_users: users computed together; like ``mode`` it changes speed and memory, never a sample.
        memory_gb: 10^9 bytes that may be taken beside the model's weights. Fewer users are computed together where
            they might need more, and of one user the samples in parts; their number stays.
    """

    n: int = Field(default=32, ge=1, le=1024)
    temperature: float = Field(default=0.5, ge=0.01, le=10)
    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    seed: int = Field(default=0, ge=0)
    mode: Literal["rows", "tree", "draft"] = "draft"
    bound: bool = False
    batch_users: int = Field(default=8, ge=1, le=4096)
    memory_gb: float = Field(default=2.0, gt=0)
