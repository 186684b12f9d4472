"""From what a source has to what a domain holds: every step a function of the two frames, every step counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl
from pydantic import Field

from calrec.data.splits import SHORTEST
from calrec.errors import DataError
from calrec.settings import Settings


class FilterSettings(Settings):
    """What is kept, and in which order.

    Attributes:
        drop_consecutive: drop an item that repeats the one just before it, as the paper does.
        identical_texts: ``merge`` makes items that read the same one item, under the first of their ids; ``keep``
            leaves them apart, as published splits do.
        ties: order of a user's interactions with equal timestamps: by the item's id as the source has it (numbers
            as numbers), which does not depend on the order of the rows, or ``source_order``.
        k_core: users and items with fewer interactions are dropped until none is left; 0 and 1 switch it off.
        min_length: users with fewer items are dropped.
        catalogue: ``all`` items of the source can be recommended, or only those ``bought`` in the domain.
        unknown_items: what an interaction with an item without metadata is: an ``error``, or to be ``drop``\\ ped.
    """

    drop_consecutive: bool = True
    identical_texts: Literal["keep", "merge"] = "keep"
    ties: Literal["item_id", "source_order"] = "item_id"
    k_core: int = Field(default=0, ge=0)
    min_length: int = Field(default=SHORTEST, ge=SHORTEST)
    catalogue: Literal["all", "bought"] = "all"
    unknown_items: Literal["error", "drop"] = "error"


class StepCount(Settings):
    """What is left after a step."""

    step: str
    users: int
    items: int
    interactions: int


@dataclass(frozen=True)
class Frames:
    """The data between two steps.

    Attributes:
        items: ``item_id`` and attribute columns, all str, no id twice.
        interactions: ``user_id``, ``item_id`` (str), ``timestamp`` (float).
    """

    items: pl.DataFrame
    interactions: pl.DataFrame

    def count(self, step: str) -> StepCount:
        return StepCount(
            step=step,
            users=self.interactions["user_id"].n_unique(),
            items=self.items.height,
            interactions=self.interactions.height,
        )


def apply_filters(
    frames: Frames, settings: FilterSettings, text_attributes: Sequence[str]
) -> tuple[Frames, tuple[StepCount, ...]]:
    """All steps in their order.

    Args:
        frames: what the source has, interactions in the source's order.
        settings: what to do.
        text_attributes: the columns of the items that make their text.

    Returns:
        Frames whose interactions are sorted by user and time, and the counts before and after every step.

    Raises:
        DataError: an interaction with an unknown item (unless they are dropped), or nobody left.
    """
    counts = [frames.count("source")]

    def done(step: str, result: Frames) -> Frames:
        counts.append(result.count(step))
        return result

    frames = done("unknown items", drop_unknown(frames, settings.unknown_items))
    frames = done("items without a title", drop_untitled(frames))
    frames = sort_by_time(frames, settings.ties)
    if settings.identical_texts == "merge":
        frames = done("identical texts merged", merge_identical(frames, text_attributes))
    if settings.drop_consecutive:
        frames = done("consecutive duplicates", drop_consecutive(frames))
    if settings.k_core > 1:
        frames = done(f"{settings.k_core}-core", core(frames, settings.k_core, settings.k_core, settings))
    shortest = max(settings.min_length, settings.k_core)
    frames = done(f"users with {shortest} items or more", core(frames, shortest, settings.k_core, settings))
    if settings.catalogue == "bought":
        frames = done("items bought", keep_bought(frames))
    if frames.interactions.is_empty():
        raise DataError(_nobody_left(counts))
    return frames, tuple(counts)


def drop_unknown(frames: Frames, rule: Literal["error", "drop"]) -> Frames:
    """Interactions without an item are an error that names the first of them, or are dropped."""
    unknown = frames.interactions.join(frames.items, on="item_id", how="anti", maintain_order="left")
    if rule == "error" and unknown.height:
        first = unknown.row(0, named=True)
        raise DataError(
            f"user {first['user_id']!r} has item {first['item_id']!r}, which is not among the items (interactions "
            f"like this: {unknown.height}): add the items, or drop the interactions with --unknown-items drop"
        )
    return replace(frames, interactions=_of_items(frames.interactions, frames.items))


def drop_untitled(frames: Frames) -> Frames:
    """Items without a title cannot be written as text: they go, with their interactions."""
    items = frames.items.filter(pl.col("title") != "")
    return Frames(items, _of_items(frames.interactions, items))


def sort_by_time(frames: Frames, ties: Literal["item_id", "source_order"]) -> Frames:
    """Interactions by user and time; equal times by the named rule."""
    keys = ["user_id", "timestamp"]
    if ties == "source_order":
        return replace(frames, interactions=frames.interactions.sort(keys, maintain_order=True))
    # Shorter ids first, so that ids that are numbers come in the order of the numbers.
    by_id = [pl.col("item_id").str.len_bytes(), pl.col("item_id")]
    return replace(frames, interactions=frames.interactions.sort(*keys, *by_id))


def merge_identical(frames: Frames, text_attributes: Sequence[str]) -> Frames:
    """Items that read the same become one, under the first id of theirs; the places in the sequences stay."""
    first = frames.items.select("item_id", kept=pl.col("item_id").min().over(text_attributes))
    items = frames.items.filter(pl.col("item_id").is_in(first["kept"].implode()))
    interactions = (
        frames.interactions.join(first, on="item_id", how="left", maintain_order="left")
        .with_columns(item_id="kept")
        .drop("kept")
    )
    return Frames(items, interactions)


def drop_consecutive(frames: Frames) -> Frames:
    """Of a run of the same item, the first stays. Needs interactions sorted by user and time."""
    item, user = pl.col("item_id"), pl.col("user_id")
    repeats = (item == item.shift(1)) & (user == user.shift(1))
    return replace(frames, interactions=frames.interactions.filter(~repeats.fill_null(value=False)))


def core(frames: Frames, user_minimum: int, item_minimum: int, settings: FilterSettings) -> Frames:
    """Drop users and items with fewer interactions, again and again until none is left to drop.

    A dropped item can bring two of another together, so consecutive duplicates are dropped in every round.
    """
    while True:
        before = frames.interactions.height
        if item_minimum > 1:
            interactions = frames.interactions.filter(pl.len().over("item_id") >= item_minimum)
            frames = Frames(_bought(frames.items, interactions), interactions)
        if settings.drop_consecutive:
            frames = drop_consecutive(frames)
        frames = replace(frames, interactions=frames.interactions.filter(pl.len().over("user_id") >= user_minimum))
        if frames.interactions.height == before:
            return frames


def keep_bought(frames: Frames) -> Frames:
    """The catalogue is what somebody bought."""
    return replace(frames, items=_bought(frames.items, frames.interactions))


def _of_items(interactions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    return interactions.join(items, on="item_id", how="semi", maintain_order="left")


def _bought(items: pl.DataFrame, interactions: pl.DataFrame) -> pl.DataFrame:
    return items.join(interactions, on="item_id", how="semi", maintain_order="left")


def _nobody_left(counts: Sequence[StepCount]) -> str:
    emptied = next(count for count in counts if not count.interactions)
    source = counts[0]
    if emptied is source:
        return "there are no interactions: give a file that has some"
    return (
        f"no user is left after the step {emptied.step!r} (the source has {source.users} users, {source.items} items, "
        f"{source.interactions} interactions): lower --min-length or --k-core, or give more data"
    )
