"""Which form a source has: told by names of files, or by a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calrec.data.sources.amazon import read_amazon
from calrec.data.sources.atomic import read_atomic
from calrec.data.sources.journey import read_journey
from calrec.data.sources.movielens import NAME as MOVIELENS
from calrec.data.sources.movielens import read_movielens
from calrec.data.sources.source import Source, SourceOptions
from calrec.data.sources.tables import read_tables
from calrec.errors import DataError

JOURNEY = "journey:"
_ENDINGS = (".json", ".jsonl", ".inter", ".item", ".csv", ".parquet")


def open_source(spec: str | Path | Sequence[str | Path], options: SourceOptions | None = None) -> Source:
    """Read a source of any supported form.

    Args:
        spec: a folder, a file or two (interactions and items), ``journey:DEPARTMENT`` or ``ml-100k``.
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
        return read_journey(parts[0].removeprefix(JOURNEY))
    if parts == [MOVIELENS] and not Path(MOVIELENS).exists():
        return read_movielens()
    interactions, items = _files(parts, options.items)
    name = _plain_name(interactions)
    if name.endswith(".inter"):
        return read_atomic(interactions, items)
    if name.endswith((".json", ".jsonl")) and _plain_name(items).startswith("meta_"):
        return read_amazon(interactions, items, options.skip_bad_lines)
    return read_tables(interactions, items, options)


def _files(parts: Sequence[str], items: Path | None) -> tuple[Path, Path]:
    """The file of the interactions and that of the items."""
    paths = [Path(part) for part in parts]
    for path in [*paths, *([items] if items else [])]:
        if not path.exists():
            raise DataError(
                f"{path} does not exist: give a folder, files, a department as in {JOURNEY}PASTRY, or {MOVIELENS}"
            )
    files = _in_folder(paths[0]) if len(paths) == 1 and paths[0].is_dir() else paths
    described = [items] if items else [path for path in files if _is_items(path)]
    bought = [path for path in files if path not in described]
    where = ", ".join(parts)
    if not described and len(bought) == 1:
        described = [path for path in _in_folder(bought[0].parent) if _is_items(path)]
    if len(described) != 1:
        raise DataError(
            f"{where}: found {_names(described)} for the items, need one file: "
            "X.item, meta_X.json, meta_X.jsonl, items.*, or name it with --items FILE"
        )
    if len(bought) != 1:
        raise DataError(
            f"{where}: found {_names(bought)} for the interactions, need one file: name it instead of the folder"
        )
    return bought[0], described[0]


def _in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _plain_name(path).endswith(_ENDINGS))


def _is_items(path: Path) -> bool:
    name = _plain_name(path)
    return name.endswith(".item") or name.startswith(("meta_", "items."))


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths) or "nothing"
