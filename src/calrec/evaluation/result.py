"""A result on disk: every user's ranks and best items in a table, everything that can be said of them in JSON."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from calrec.data.writing import beside, take_place
from calrec.errors import DataError
from calrec.evaluation.protocol import Protocol
from calrec.metrics import per_user_metrics, ranking_metrics, standard_errors
from calrec.settings import Settings

RANKINGS, RESULT = "rankings.parquet", "result.json"
KS = (1, 5, 10, 20)
_COLUMNS = {
    "user_id": pl.String,
    "target": pl.String,
    "rank_by_id": pl.Int64,
    "rank_by_text": pl.Int64,
    "top_items": pl.List(pl.String),
}


class Means(Settings):
    """Metrics of a group of users with their standard errors, by item id and by item text."""

    users: int
    by_id: Mapping[str, float]
    by_id_error: Mapping[str, float | None]
    by_text: Mapping[str, float]
    by_text_error: Mapping[str, float | None]


class Summary(Settings):
    """``result.json``.

    Attributes:
        method: its name. settings: all that changes its scores.
        protocol, protocol_hash: what has to be equal for a comparison. rankings_hash: of the table beside it.
        metrics: of all users. slices: of groups of them.
        beyond: numbers that no rank shows, by `beyond_accuracy`.
        curve: of a method that learns first (`Prepared`), NDCG@10 on validation after each of its passes.
        unranked: users whose target is in no ranking, each a miss.
        seconds: of the scoring. versions: of what computed it. machine: processor and system.
    """

    method: str
    settings: Mapping[str, Any]
    protocol: Protocol
    protocol_hash: str
    rankings_hash: str
    metrics: Means
    slices: Mapping[str, Means]
    beyond: Mapping[str, float]
    curve: tuple[float, ...] = ()
    unranked: int
    seconds: float
    versions: Mapping[str, str]
    machine: str


@dataclass(frozen=True)
class Result:
    """A summary and its rankings.

    Attributes:
        path: the folder.
        rankings: one row a user: ``user_id``, ``target``, ``rank_by_id``, ``rank_by_text`` (0 = not ranked, else
            1-based), ``top_items``; where the method wrote texts also ``generations``, see `generations_column`.
    """

    path: Path
    summary: Summary
    rankings: pl.DataFrame

    @property
    def name(self) -> str:
        return self.summary.method

    def per_user(self, metric: str, identity: str = "id") -> NDArray[np.float64]:
        """(U,) every user's own value of a metric."""
        return per_user_metrics(self.rankings[f"rank_by_{identity}"].to_numpy(), KS)[metric]


def means(rankings: pl.DataFrame) -> Means:
    """Metrics over the rows of a table of rankings."""
    by_id, by_text = (rankings[f"rank_by_{identity}"].to_numpy() for identity in ("id", "text"))
    return Means(
        users=len(rankings),
        by_id=ranking_metrics(by_id, KS),
        by_id_error=_finite(standard_errors(by_id, KS)),
        by_text=ranking_metrics(by_text, KS),
        by_text_error=_finite(standard_errors(by_text, KS)),
    )


def rankings_hash(rankings: pl.DataFrame) -> str:
    """SHA-256 of a table's content, in hex: a mean over many users does not show every change of one."""
    digest = hashlib.sha256()
    for row in rankings.iter_rows(named=True):
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def unranked(rankings: pl.DataFrame) -> int:
    """How many users' targets are in no ranking."""
    return int((rankings["rank_by_id"] == 0).sum())


def _finite(errors: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(error) if np.isfinite(error) else None for name, error in errors.items()}


def summarise(
    method: str,
    settings: Mapping[str, Any],
    protocol: Protocol,
    rankings: pl.DataFrame,
    slices: Mapping[str, NDArray[np.bool_]],
    beyond: Mapping[str, float],
    seconds: float,
    curve: Sequence[float] = (),
) -> Summary:
    """All that ``result.json`` says of a table of rankings."""
    return Summary(
        method=method,
        settings=settings,
        protocol=protocol,
        protocol_hash=protocol.hash,
        rankings_hash=rankings_hash(rankings),
        metrics=means(rankings),
        slices={name: means(rankings.filter(pl.Series(members))) for name, members in slices.items()},
        beyond=beyond,
        curve=tuple(curve),
        unranked=unranked(rankings),
        seconds=round(seconds, 2),
        versions=_versions(),
        machine=f"{platform.machine()}, {platform.system()}",
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("calrec", "numpy", "scipy", "torch", "transformers", "polars"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def save_result(result: Result) -> None:
    """Write a result folder, whole or not at all; an older result there gives way."""
    with beside(result.path) as fresh:
        result.rankings.write_parquet(fresh / RANKINGS)
        (fresh / RESULT).write_text(result.summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
        require_result_or_nothing(result.path)
        take_place(fresh, result.path)


def require_result_or_nothing(target: Path) -> None:
    """Refuse to write a result over anything but a result or an empty folder.

    Raises:
        DataError: something else is there.
    """
    empty = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not empty and not (target / RESULT).is_file():
        raise DataError(f"{target} exists and is no result: choose another --out")


def load_result(folder: str | Path) -> Result:
    """Read a result.

    Raises:
        DataError: the folder is no result, or its files do not fit each other.
    """
    path = Path(folder)
    if not (path / RESULT).is_file() or not (path / RANKINGS).is_file():
        within = any(path.glob(f"*/{RESULT}"))
        mend = f"it holds some: name them, as {path}/*" if within else "make one with `calrec evaluate`"
        raise DataError(f"{path} is no result, for it has no {RESULT} and {RANKINGS}: {mend}")
    try:
        summary = Summary.model_validate_json((path / RESULT).read_bytes())
        rankings = pl.read_parquet(path / RANKINGS)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the file"
        raise DataError(f"{path / RESULT}: {where}: {error.errors()[0]['msg']}; evaluate again") from None
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path / RANKINGS}: {str(error).splitlines()[0]}; evaluate again") from None
    wrong = [name for name, kind in _COLUMNS.items() if not _is_whole(rankings, name, kind)]
    if wrong or not len(rankings):
        what = f"the column {wrong[0]} is missing, has gaps or holds something else" if wrong else "it has no user"
        raise DataError(f"{path / RANKINGS}: {what}; evaluate again")
    return Result(path, summary, rankings)


def _is_whole(rankings: pl.DataFrame, name: str, kind: Any) -> bool:
    if rankings.schema.get(name) != kind or rankings[name].has_nulls():
        return False
    return kind != pl.Int64 or bool((rankings[name] >= 0).all())
