"""Files and folders that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from calrec.errors import NO_ROOM, ConfigError, DataError, StorageError

logger = logging.getLogger(__name__)

#: In a folder that one process has for itself; and what it was made for.
LOCK, ASKED = ".lock", "asked.json"
_TORCH_COULD_NOT_WRITE = ("iostream error", "inline_container", "PytorchStreamWriter")
_PROBE_BYTES = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what is to be ``path``: it takes that name when all is written, and is gone if anything fails.

    Raises:
        StorageError: there is no room for it.
    """
    part = path.with_name(f".{path.stem}.{process_number()}.part{path.suffix}")
    try:
        with room_for(path.name, path.parent):
            yield part
            sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write a file of text, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def process_number() -> int:
    """Of this process among those that torchrun started, 0 for one alone: names by it are found again after a kill."""
    return int(os.environ.get("RANK", "0"))


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk: a new name must not get there before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do it for folders; there is nothing better to do there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """``sync`` for a folder and all that is in it."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


@contextmanager
def room_for(what: str, folder: Path) -> Iterator[None]:
    """Turn a full disk into one error, whichever library met it.

    Args:
        what: is written. folder: it is written to.

    Raises:
        StorageError: there was no room.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        code = _code(error, folder)
        if code not in NO_ROOM:
            raise
        message = f"{folder}: {NO_ROOM[code]} for {what}; free some and call the same command again"
        raise StorageError(message) from error


def _code(error: Exception, folder: Path) -> int | None:
    """The operating system's number of a failure to write."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if in_text := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors
        return int(in_text[1])
    # torch and numpy only say that they could not write, so the disk is asked while what they wrote still fills it.
    opaque = isinstance(error, OSError) or any(words in str(error) for words in _TORCH_COULD_NOT_WRITE)
    return _refusal(folder) if opaque else None


def _refusal(folder: Path) -> int | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno
    return None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; one that is there stays.

    Raises:
        ConfigError: the system does not let it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}: choose another --out") from None


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends, however it ends.

    Of several processes that train together, the first holds it for all.

    Raises:
        ConfigError: another process holds it, or it cannot be made.
    """
    if process_number():
        yield
        return
    make_folder(folder)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder} is in use by another process: wait for it, or choose another --out") from None
        except OSError:
            logger.info("%s: this file system has no locks", folder)
        yield


@contextmanager
def claimed(folder: Path, asked: Mapping[str, Any], kind: str) -> Iterator[None]:
    """Hold a folder for this process, and make it that of one piece of work for good: of what is ``asked``.

    Args:
        folder: new, empty, or of the same work, which then goes on.
        asked: all that the results depend on, as JSON has it.
        kind: what the work is called.

    Raises:
        DataError: the folder holds something else.
        ConfigError: it holds another work of the kind, or another process has it.
    """
    strange = folder.exists() and any(path.name != LOCK for path in folder.iterdir())
    if strange and not (folder / ASKED).is_file():
        raise DataError(f"{folder} exists and is no {kind}: choose another --out")
    with sole_writer(folder):
        known = json.loads((folder / ASKED).read_bytes()) if (folder / ASKED).is_file() else asked
        changed = [
            f"{name}: {known.get(name)} and {value}" for name, value in asked.items() if known.get(name) != value
        ]
        if changed:
            raise ConfigError(f"{folder} holds another {kind} ({'; '.join(changed)}): choose another --out")
        replace_text(folder / ASKED, json.dumps(asked, indent=2))
        yield
