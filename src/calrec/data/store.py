"""A domain on disk: ``items.parquet``, ``sequences.parquet``, ``manifest.json``, the same bytes for the same input."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from calrec.data.filters import FilterSettings, StepCount
from calrec.data.splits import Split, leave_one_out, training_part
from calrec.data.writing import beside, take_place
from calrec.errors import DataError
from calrec.records import Catalogue, Example, History, Item
from calrec.settings import Settings

ITEMS, SEQUENCES, MANIFEST = "items.parquet", "sequences.parquet", "manifest.json"


class Manifest(Settings):
    """Where a domain comes from and what was done to it.

    Attributes:
        format: version of the layout on disk.
        name: of the domain.
        source: form of the source, e.g. ``amazon-2018``.
        files: name -> SHA-256 of every file that was read.
        split_hash: SHA-256 of the items and of every user's sequence; equal hashes mean equal splits.
        settings: of the filters.
        attributes: columns of the items.
        text_attributes: those that make an item's text, by which items count as identical.
        skipped_lines: lines that could not be read and were skipped on demand.
        missing_rows: rows without a user, an item or a time that were left out on demand.
        ordered: whether the times only number each user's interactions.
        ratings: the lowest and the highest rating of the source, where it has ratings.
        min_rating: the lowest rating that counts; None: all do.
        counts: what was left after every step.
    """

    format: int = 1
    name: str
    source: str
    files: dict[str, str]
    split_hash: str
    settings: FilterSettings
    attributes: tuple[str, ...]
    text_attributes: tuple[str, ...]
    skipped_lines: int = 0
    missing_rows: int = 0
    ordered: bool = False
    ratings: tuple[float, float] | None = None
    min_rating: float | None = None
    counts: tuple[StepCount, ...]


@dataclass(frozen=True)
class Domain:
    """Items and chronological sequences, ready to be split.

    Attributes:
        path: the folder.
        items: ``item_id`` and attribute columns (str, empty where unknown; ``title`` is always there), by item_id.
        sequences: ``user_id``, ``item_ids`` (list of str, oldest first), ``timestamps`` (list of int or float), by
            user_id.
        manifest: where it comes from.
    """

    path: Path
    items: pl.DataFrame
    sequences: pl.DataFrame
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def split_hash(self) -> str:
        return self.manifest.split_hash

    @property
    def exclude_last(self) -> bool:
        """Whether the last item of a history can never be the next one."""
        return self.manifest.settings.drop_consecutive

    @cached_property
    def catalogue(self) -> Catalogue:
        """The items in the order of all score matrices' columns; their texts are their titles."""
        return self.catalogue_with_texts(lambda item: item.title)

    def catalogue_with_texts(self, text: Callable[[Item], str]) -> Catalogue:
        """The catalogue with other texts than the titles."""
        items = _records(self.items)
        return Catalogue(items, tuple(map(text, items)))

    @cached_property
    def text_groups(self) -> NDArray[np.int64]:
        """Shape (I,): items with the same text share a number, from 0 in the order of the texts."""
        texts = pl.struct(self.manifest.text_attributes)
        return self.items.select(texts.rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()

    @cached_property
    def purchases(self) -> Counter[str]:
        """How often each item is in the training sequences; 0 for all others."""
        return Counter(item_id for history in self.training_sequences() for item_id in history.item_ids)

    def split(self, split: Split) -> list[Example]:
        """Leave-one-out: one example a user, by user_id; users without a history for it are left out."""
        cuts = ((user_id, leave_one_out(sequence, split)) for user_id, sequence in self._sequences())
        return [Example(user_id, *cut) for user_id, cut in cuts if cut is not None]

    def training_sequences(self) -> list[History]:
        """What may be learnt from: every user's sequence without the targets of validation and test."""
        parts = ((user_id, training_part(sequence)) for user_id, sequence in self._sequences())
        return [History(user_id, part) for user_id, part in parts if part]

    def histories(self) -> list[History]:
        """Everybody's whole sequence, the targets of validation and test with it: to recommend what comes after it."""
        return [History(user_id, tuple(sequence)) for user_id, sequence in self._sequences()]

    def _sequences(self) -> Iterable[tuple[str, list[str]]]:
        return self.sequences.select("user_id", "item_ids").iter_rows()


def read_catalogue(path: Path) -> Catalogue:
    """The catalogue of an ``items.parquet``, as a domain or a run has one; its texts are the titles.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return Catalogue(_records(pl.read_parquet(path)))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0] if path.exists() else "there is no such file"
        raise DataError(f"{path}: {reason}; copy it from the domain's folder") from None


def _records(items: pl.DataFrame) -> tuple[Item, ...]:
    attributes = items.drop("item_id").iter_rows(named=True)
    return tuple(Item(item_id, row) for item_id, row in zip(items["item_id"], attributes, strict=True))


def split_hash(items: pl.DataFrame, sequences: pl.DataFrame) -> str:
    """SHA-256 of item ids, attributes and sequences; times count only through the order that they give."""
    digest = hashlib.sha256()
    rows = pl.concat_str(pl.all(), separator="\x1f")
    users = pl.concat_str("user_id", pl.col("item_ids").list.join("\x1f"), separator="\x1f")
    for table in (pl.Series(items.columns), items.select(rows).to_series(), sequences.select(users).to_series()):
        digest.update("\x1e".join(table).encode())
        digest.update(b"\x1d")
    return digest.hexdigest()


def load_domain(folder: str | Path) -> Domain:
    """Read a prepared domain.

    Raises:
        DataError: the folder is no domain, or was changed since it was written.
    """
    path = Path(folder)
    for name in (MANIFEST, ITEMS, SEQUENCES):
        if not (path / name).is_file():
            raise DataError(f"{path} is no domain: it has no {name}; make one with `calrec data prepare`")
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
        items, sequences = pl.read_parquet(path / ITEMS), pl.read_parquet(path / SEQUENCES)
        found = split_hash(items, sequences)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path / MANIFEST}: {where}: {first['msg']}; prepare the domain again") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}; prepare the domain again") from None
    if found != manifest.split_hash:
        raise DataError(f"{path}: its tables are not those of {MANIFEST}; prepare the domain again")
    return Domain(path, items, sequences, manifest)


def save(domain: Domain, replace: bool = False) -> bool:
    """Write a domain to ``domain.path``, whole or not at all.

    Returns:
        False where the same domain was there already and nothing was written.

    Raises:
        DataError: something else is there; a different domain gives way to ``replace``, anything else never.
    """
    target = domain.path
    require_domain_or_nothing(target)
    with beside(target) as fresh:
        domain.items.rechunk().write_parquet(fresh / ITEMS)
        domain.sequences.rechunk().write_parquet(fresh / SEQUENCES)
        (fresh / MANIFEST).write_text(domain.manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if (target / MANIFEST).is_file():
            if _same(fresh, target):
                return False
            if not replace:
                raise DataError(f"{target} holds a different domain: choose another --out, or replace it with --force")
        take_place(fresh, target)
    return True


def require_domain_or_nothing(target: Path) -> None:
    """Refuse to write a domain over anything but a domain or an empty folder.

    Raises:
        DataError: something else is there.
    """
    empty = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not empty and not (target / MANIFEST).is_file():
        raise DataError(f"{target} exists and is no domain: choose another --out")


def _same(one: Path, other: Path) -> bool:
    return all(
        (other / name).is_file() and (one / name).read_bytes() == (other / name).read_bytes()
        for name in (ITEMS, SEQUENCES, MANIFEST)
    )
