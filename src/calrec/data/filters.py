"""From what a source has to what a domain holds: every step a function of the two frames, every step counted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl
from pydantic import Field

from calrec.data.splits import SHORTEST
from calrec.errors import DataError
from calrec.settings import Settings

Ties = Literal["hash", "item_id", "source_order"]

_TIES_SEED = b"calrec ties 1"


class FilterSettings(Settings):
    """What is kept, and in which order.

    Attributes:
        drop_consecutive: drop an item that repeats the one just before it, as the paper does.
        identical_texts: ``merge`` makes items that read the same one item, under the first of their ids; ``keep``
            leaves them apart, as published splits do.
        ties: order of a user's interactions with equal timestamps. ``hash`` is by a hash of user, item and time, which
            follows neither the rows nor the ids, and differs when the same is bought again. ``item_id`` is by the
            item's id as the source has it (numbers as numbers), ``source_order`` as the rows are; both can be
            patterns that methods find.
        k_core: users and items with fewer interactions are dropped until none is left; 0 and 1 switch it off.
        min_length: users with fewer items are dropped.
        catalogue: ``all`` items of the source can be recommended, or only those ``bought`` in the domain.
        unknown_items: what an interaction with an item without metadata is: an ``error``, or to be ``drop``\\ ped.
    """

    drop_consecutive: bool = True
    identical_texts: Literal["keep", "merge"] = "keep"
    ties: Ties = "hash"
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
        interactions: ``user_id``, ``item_id`` (str), ``timestamp`` and, where there are ratings, ``rating``.
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
    frames: Frames, settings: FilterSettings, text_attributes: Sequence[str], min_rating: float | None = None
) -> tuple[Frames, tuple[StepCount, ...]]:
    """All steps in their order.

    Args:
        frames: what the source has, interactions in the source's order.
        settings: what to do.
        text_attributes: the columns of the items that make their text.
        min_rating: the lowest rating that counts; None: all do.

    Returns:
        Frames whose interactions are sorted by user and time, and the counts before and after every step.

    Raises:
        DataError: an interaction with an unknown item (unless they are dropped), or nobody left.
    """
    counts = [frames.count("source")]

    def done(step: str, result: Frames) -> Frames:
        counts.append(result.count(step))
        return result

    if min_rating is not None:
        frames = done(f"rated {min_rating:g} or more", drop_low_rated(frames, min_rating))
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


def drop_low_rated(frames: Frames, min_rating: float) -> Frames:
    """Interactions with a rating below the lowest that counts go."""
    return replace(frames, interactions=frames.interactions.filter(pl.col("rating") >= min_rating))


def drop_unknown(frames: Frames, rule: Literal["error", "drop"]) -> Frames:
    """Interactions without an item are an error that names the first of them, or are dropped."""
    known = _of_items(frames.interactions, frames.items)
    missing = frames.interactions.height - known.height
    if missing and (rule == "error" or known.is_empty()):
        unknown = frames.interactions.join(frames.items, on="item_id", how="anti", maintain_order="left")
        first = unknown.row(0, named=True)
        fix = "add the items, or drop the interactions with --unknown-items drop"
        if known.is_empty():
            fix = f"no interaction's item is; the items' ids are such as {frames.items['item_id'].head(1).to_list()}"
            fix += ": give the column that has the same ids, with --item-column or --items-item-column"
        raise DataError(
            f"user {first['user_id']!r} has item {first['item_id']!r}, which is not among the items (interactions "
            f"like this: {missing}): {_written_otherwise(unknown['item_id'], frames.items['item_id']) or fix}"
        )
    return replace(frames, interactions=known)


_SPELLINGS: tuple[Callable[[pl.Expr], pl.Expr], ...] = (
    lambda ids: ids.str.replace(r"\.0+$", ""),
    lambda ids: ids.str.replace(r"^0+(.)", "$1"),
    lambda ids: ids.str.to_lowercase(),
    lambda ids: ids.str.to_lowercase().str.replace_all(r"[^\pL\pN]", ""),
)


def _written_otherwise(unknown: pl.Series, known: pl.Series) -> str | None:
    """How to name the same item in both files, where its id is written in two ways."""
    asked, there = pl.DataFrame({"asked": unknown.unique(maintain_order=True)}), pl.DataFrame({"there": known})
    for spelling in _SPELLINGS:
        found = asked.with_columns(key=spelling(pl.col("asked"))).join(
            there.with_columns(key=spelling(pl.col("there"))), on="key", maintain_order="left"
        )
        if found.height:
            first = found.row(0, named=True)
            return f"an item is {first['asked']!r} here and {first['there']!r} there: write it alike in both files"
    return None


def drop_untitled(frames: Frames) -> Frames:
    """Items without a title cannot be written as text: they go, with their interactions."""
    items = frames.items.filter(pl.col("title") != "")
    return Frames(items, _of_items(frames.interactions, items))


def sort_by_time(frames: Frames, ties: Ties) -> Frames:
    """Interactions by user and time; equal times by the named rule."""
    keys = ["user_id", "timestamp"]
    if ties == "source_order":
        return replace(frames, interactions=frames.interactions.sort(keys, maintain_order=True))
    if ties == "hash":
        return replace(frames, interactions=_in_hashed_order(frames.interactions))
    # Shorter ids first, so that ids that are numbers come in the order of the numbers.
    by_id = [pl.col("item_id").str.len_bytes(), pl.col("item_id")]
    return replace(frames, interactions=frames.interactions.sort(*keys, *by_id))


def _in_hashed_order(interactions: pl.DataFrame) -> pl.DataFrame:
    """By user and time; equal times by the first bytes of SHA-256 of a seed, the user, the item and the time."""

    def digest(row: dict[str, Any]) -> bytes:
        # Without the time, a basket that is bought again would come in the same order again: a pattern.
        time = float(row["timestamp"]).hex()
        text = f"{row['user_id']}\x1f{row['item_id']}\x1f{time}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(_TIES_SEED + text).digest()[:8]

    place = pl.struct("user_id", "item_id", "timestamp").map_elements(digest, return_dtype=pl.Binary)
    tied = pl.struct("user_id", "timestamp").is_duplicated()
    keyed = pl.concat(
        [interactions.filter(~tied).with_columns(key=pl.lit(b"")), interactions.filter(tied).with_columns(key=place)]
    )
    return keyed.sort("user_id", "timestamp", "key", "item_id").drop("key")


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
    if emptied.step.startswith("rated"):
        return f"nothing is {emptied.step}: lower --min-rating"
    if emptied is source:
        return "there are no interactions: give a file that has some"
    return (
        f"no user is left after the step {emptied.step!r} (the source has {source.users} users, {source.items} items, "
        f"{source.interactions} interactions): lower --min-length or --k-core, or give more data"
    )
