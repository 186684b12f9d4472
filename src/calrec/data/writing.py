"""Output that is whole or not there at all, and errors that say where it was to go."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from calrec.atomic import sync, sync_tree
from calrec.errors import DataError

_FULL = os.strerror(errno.ENOSPC)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is written into one line that names it."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        # polars wraps the system's words in its own.
        reason = _FULL if _FULL in str(error) else getattr(error, "strerror", None) or str(error).splitlines()[0]
        mend = "make room there, or choose another --out" if reason == _FULL else "choose another --out"
        raise DataError(f"{path} cannot be written: {reason}: {mend}") from None


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """An empty folder on the device of ``target``, to fill and then give to ``take_place``; it goes with the block."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            fresh = Path(name, "fresh")
            fresh.mkdir()
            yield fresh


def take_place(fresh: Path, target: Path) -> None:
    """Put a folder from ``beside`` in the place of ``target``, all of it on the disk before it gets its name.

    An error or an interrupt leaves one of the two there; a kill between two renames, both in hidden folders beside it.
    """
    old = fresh.with_name("old")
    sync_tree(fresh)
    try:
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    sync(target.parent)
