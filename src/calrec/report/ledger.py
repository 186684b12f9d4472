"""The results below a folder: every one verified, those of one protocol side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from calrec.data.store import Domain
from calrec.errors import ConfigError, DataError
from calrec.evaluation.compare import labels
from calrec.evaluation.protocol import Protocol
from calrec.evaluation.result import RESULT, Result, load_result
from calrec.evaluation.verify import require_verified

#: The metric that results are ordered by.
MAIN = "ndcg@10"


@dataclass(frozen=True)
class Comparison:
    """Results of one protocol, each verified.

    Attributes:
        results: the best by ``MAIN`` first; their paths begin at the folder that was searched.
        names: what each is called, in the same order.
    """

    results: tuple[Result, ...]
    names: tuple[str, ...]

    @property
    def protocol(self) -> Protocol:
        return self.results[0].summary.protocol

    @property
    def groups(self) -> list[str]:
        """Names of the slices that all results have."""
        first, *others = (result.summary.slices for result in self.results)
        return [name for name in first if all(name in slices for slices in others)]

    def __iter__(self) -> Iterator[tuple[str, Result]]:
        return zip(self.names, self.results, strict=True)


def comparisons(folder: Path, domain: Domain | None = None) -> list[Comparison]:
    """Read every result below a folder; what is hidden is left out.

    Args:
        folder: results, at any depth.
        domain: its results are verified against it as well.

    Raises:
        DataError: there is no result, or one cannot be read or does not verify.
        ConfigError: no result is of the domain.
    """
    by_protocol: dict[str, list[Result]] = {}
    for result in _verified(folder, domain):
        by_protocol.setdefault(result.summary.protocol_hash, []).append(result)
    ordered = [sorted(group, key=lambda r: -r.summary.metrics.by_id[MAIN]) for group in by_protocol.values()]
    return [Comparison(tuple(group), tuple(labels(group))) for group in ordered]


def _verified(folder: Path, domain: Domain | None) -> list[Result]:
    files = sorted(path for path in folder.rglob(RESULT) if not _hidden(path.relative_to(folder)))
    if not files:
        raise DataError(f"{folder} holds no result: make one with `calrec evaluate … --out {folder / 'NAME'}`")
    results = [load_result(file.parent) for file in files]
    if domain is not None and all(not _is_of(result, domain) for result in results):
        raise ConfigError(f"--data {domain.path}: no result below {folder} is of this domain (by its split hash)")
    for result in results:
        require_verified(result, domain if _is_of(result, domain) else None)
    above = folder.resolve().parent
    return [replace(result, path=result.path.resolve().relative_to(above)) for result in results]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_of(result: Result, domain: Domain | None) -> bool:
    return domain is not None and result.summary.protocol.split_hash == domain.split_hash
