"""MovieLens-100K, from the atomic files that RecBole's wheel ships as an example."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from calrec.data.sources.options import SourceOptions
from calrec.data.sources.source import Source
from calrec.data.sources.tables import read_tables
from calrec.errors import DataError

NAME = "ml-100k"


def read_movielens(options: SourceOptions) -> Source:
    """Users, films (title, year, category) and the times of their ratings.

    Raises:
        DataError: the package that ships the files is not installed.
    """
    # Found without an import: RecBole's own code does not load beside current libraries.
    spec = find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{NAME} is not installed: pip install --no-deps recbole (only its data is used)")
    folder = Path(spec.submodule_search_locations[0], "dataset_example", NAME)
    source = read_tables([folder / f"{NAME}.inter"], [folder / f"{NAME}.item"], options)
    return replace(source, name=NAME, form="movielens", text_attributes=("title", "year", "category"))
