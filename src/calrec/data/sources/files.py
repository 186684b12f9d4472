"""Finding, hashing, unpacking and reading files, with errors that say which file and why."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from calrec.errors import DataError

_FIRST_BYTES = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
_SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".zip": "zip"}


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def compression(path: Path) -> str | None:
    """How the bytes are compressed, whatever the name says: ``gzip``, ``zstd``, ``zip``, or not at all.

    Raises:
        DataError: the name and the bytes contradict each other, or the compression is another one.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
    found = next((kind for first, kind in _FIRST_BYTES.items() if head.startswith(first)), None)
    named = _SUFFIXES.get(path.suffix)
    if named and not head:
        raise DataError(f"{path} is empty: download it again")
    if named and not found:
        raise DataError(
            f"{path} is not {named} though its name says so: download it again, or take {path.suffix} off its name"
        )
    if found in ("bzip2", "xz"):
        raise DataError(f"{path} is compressed with {found}: unpack it, and give the unpacked file")
    return found


def plain_name(path: Path) -> str:
    """The name without that of the compression; of a zip, the name of what is in it."""
    if path.suffix == ".zip" and path.is_file() and compression(path) == "zip":
        return Path(_member(path)).name
    return path.name.removesuffix(".gz").removesuffix(".zst")


def content(path: Path) -> Path | io.BytesIO:
    """Give polars the file, which it unpacks itself, or the bytes of a zip's one member."""
    if compression(path) != "zip":
        return path
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read(_member(path)))


def byte_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked."""
    packed = compression(path)
    if packed == "zstd":
        # The standard library reads zstd from Python 3.14 on; polars does already.
        yield from (f"{line}\n".encode() for line in pl.read_lines(path).to_series())
        return
    source = content(path)
    if isinstance(source, io.BytesIO):
        yield from source
        return
    with gzip.open(source) if packed else source.open("rb") as stream:
        yield from stream


def _member(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names:
        raise DataError(f"{path} is a spreadsheet: save it as 'CSV UTF-8'")
    if len(names) != 1:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise DataError(f"{path} is a zip of {len(names)} files ({shown}): unpack it, and name the file")
    return names[0]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is read into one line that names it."""
    try:
        compression(path)
        yield
    except (
        *(pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError, zlib.error),
        *(zipfile.BadZipFile, RuntimeError),
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "end of file" in reason or "end-of-stream" in reason:
            raise DataError(f"{path} ends too early, as a broken download does: download it again") from None
        raise DataError(f"{path} cannot be read: {reason}: download it again, or write it anew") from None


def bare_name(path: Path) -> str:
    """The name without its extensions: ``Video_Games.inter.gz`` -> ``Video_Games``."""
    return path.name.split(".", maxsplit=1)[0]
