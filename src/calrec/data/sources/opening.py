"""Which form a source has, by the names of its files or by a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calrec.data.sources.amazon import read_amazon
from calrec.data.sources.files import plain_name
from calrec.data.sources.journey import read_journey
from calrec.data.sources.movielens import NAME as MOVIELENS
from calrec.data.sources.movielens import read_movielens
from calrec.data.sources.options import SourceOptions
from calrec.data.sources.source import Source
from calrec.data.sources.tables import ENDINGS, read_tables
from calrec.errors import DataError

JOURNEY = "journey:"
# Beside data lie notes, so that these two are read only where they are named.
_FOUND = tuple(ending for ending in ENDINGS if ending not in (".txt", ".data"))
_KNOWN = {"items", "name", "skip_bad_lines", "drop_missing", "min_rating"}


def open_source(spec: str | Path | Sequence[str | Path], options: SourceOptions | None = None) -> Source:
    """Read a source of any supported form.

    Args:
        spec: a folder, files of interactions with or without that of the items, folders or patterns of their parts,
            ``journey:DEPARTMENT`` or ``ml-100k``.
        options: how to read it.

    Raises:
        DataError: it is of no known form, or cannot be read.
    """
    options = options or SourceOptions()
    source = _read(spec, options)
    return replace(source, name=options.name or source.name)


def _read(spec: str | Path | Sequence[str | Path], options: SourceOptions) -> Source:
    parts = [str(part) for part in ([spec] if isinstance(spec, str | Path) else spec)]
    if len(parts) == 1 and parts[0].startswith(JOURNEY):
        options.require_only({"name"}, parts[0])
        return read_journey(parts[0].removeprefix(JOURNEY))
    if parts == [MOVIELENS] and not Path(MOVIELENS).exists():
        options.require_only({"name", "min_rating"}, MOVIELENS)
        return read_movielens(options)
    interactions, items = _files(parts, options.items)
    if len(interactions) == len(items) == 1 and _is_amazon(interactions[0], items[0]):
        options.require_only(_KNOWN, f"Amazon's files ({interactions[0].name}, {items[0].name})")
        return read_amazon(interactions[0], items[0], options)
    return read_tables(interactions, items, options)


def _is_amazon(interactions: Path, items: Path) -> bool:
    return plain_name(interactions).endswith((".json", ".jsonl")) and plain_name(items).startswith("meta_")


def _files(parts: Sequence[str], items: Path | None) -> tuple[list[Path], list[Path]]:
    """The files of the interactions and those of the items."""
    where = ", ".join(parts)
    files = [path for part in parts for path in _expanded(Path(part))]
    described = _expanded(items) if items else [path for path in files if _is_items(path)]
    shared = items is not None and described == files
    bought = files if shared else [path for path in files if path not in described]
    if not described and len({path.parent for path in bought}) == 1:
        described = [path for path in _in_folder(bought[0].parent) if _is_items(path)]
    if not described or (len(described) > 1 and not items):
        raise DataError(
            f"{where}: found {_names(described)} for the items, need one file: X.item, meta_X.json, meta_X.jsonl, "
            f"items.*, or name it with --items {_candidate(bought)}"
        )
    found_in_folder = len(parts) == 1 and Path(parts[0]).is_dir() and not items
    if not bought or (len(bought) > 1 and found_in_folder):
        fix = "name those that are meant, or all if they are parts of one table" if bought else "name it"
        raise DataError(f"{where}: found {_names(bought)} for the interactions, need one file: {fix}")
    return bought, described


def _candidate(bought: Sequence[Path]) -> str:
    """Files that may be named for the items: one of them, or the only one, if the titles are in it."""
    if len(bought) == 1:
        return f"FILE ({bought[0].name} itself, if the titles are in it)"
    return "FILE" if not bought else f"FILE, one of {_names(bought)}"


def _expanded(path: Path) -> list[Path]:
    """A file, the files of a folder, or those of a pattern."""
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [path]
    # The part of a path without signs is its root, from which the rest is looked for.
    plain = next((parent for parent in path.parents if not _SIGNS & set(str(parent))), Path())
    found = sorted(plain.glob(str(path.relative_to(plain)))) if _SIGNS & set(str(path)) else []
    if not found:
        raise DataError(
            f"{path} does not exist: give a folder, files, a department as in {JOURNEY}PASTRY, or {MOVIELENS}"
        )
    return [file for file in found if file.is_file()]


_SIGNS = set("*?[")


def _in_folder(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.is_file() and path.name[0] not in "._")
    return sorted(path for path in files if _bare(path).endswith(_FOUND))


def _is_items(path: Path) -> bool:
    name = _bare(path)
    return name.endswith(".item") or name.startswith(("meta_", "items."))


def _bare(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".zst").removesuffix(".zip")


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths) or "nothing"
