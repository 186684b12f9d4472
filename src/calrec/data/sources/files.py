"""Finding, hashing and reading files, with errors that say which file and why."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from calrec.errors import DataError

_GZIP = b"\x1f\x8b"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_gzip(path: Path) -> bool:
    """Whether the bytes are gzip's.

    Raises:
        DataError: the name says gzip and the bytes do not.
    """
    with path.open("rb") as stream:
        found = stream.read(2) == _GZIP
    if path.suffix == ".gz" and not found:
        if not path.stat().st_size:
            raise DataError(f"{path} is empty: download it again")
        raise DataError(f"{path} is not gzip though its name says so: download it again, or take .gz off its name")
    return found


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is read into one line that names it."""
    try:
        is_gzip(path)
        yield
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "end of file" in reason or "end-of-stream" in reason:
            raise DataError(f"{path} ends too early, as a broken download does: download it again") from None
        raise DataError(f"{path} cannot be read: {reason}: mend the file, or download it again") from None


def bare_name(path: Path) -> str:
    """The name without its extensions: ``Video_Games.inter.gz`` -> ``Video_Games``."""
    return path.name.split(".", maxsplit=1)[0]


def require_columns(frame: pl.DataFrame, names: list[str], path: Path, mend: str) -> None:
    """Raise a DataError that names the missing columns and those that are there."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(map(repr, missing))} (it has {frame.columns}): {mend}")
