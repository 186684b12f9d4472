"""Several results in one table, and tests of each against one of them."""

from __future__ import annotations

from collections.abc import Sequence

from calrec.errors import ConfigError
from calrec.evaluation.result import Result
from calrec.metrics import PairedTest, holm, paired_test

SHOWN = ("recall@1", "recall@10", "ndcg@10", "mrr")


def require_one_protocol(results: Sequence[Result]) -> None:
    """Refuse results that cannot stand in one table.

    Raises:
        ConfigError: two protocols differ; the fields are named.
    """
    first = results[0]
    for other in results[1:]:
        differing = first.summary.protocol.differences(other.summary.protocol)
        if differing:
            raise ConfigError(
                f"{first.path} and {other.path} follow different protocols ({'; '.join(differing)}): "
                "evaluate both in the same way"
            )


def labels(results: Sequence[Result]) -> list[str]:
    """What each result is called: its method, its folder's name or its whole path, the first that is its alone."""
    names = [(result.name, result.path.name, str(result.path)) for result in results]
    columns = list(zip(*names, strict=True))
    return [
        next((name for name, column in zip(row, columns, strict=True) if column.count(name) == 1), row[-1])
        for row in names
    ]


def best_of(results: Sequence[Result], metric: str, identity: str) -> Result:
    """The result with the highest mean; the first of equals."""
    return max(results, key=lambda result: getattr(result.summary.metrics, f"by_{identity}")[metric])


def against(
    results: Sequence[Result], reference: Result, metric: str, identity: str
) -> dict[str, tuple[PairedTest, float]]:
    """Every other result against a reference, by the result's folder: the test, and its p-value after Holm."""
    others = [result for result in results if result.path != reference.path]
    own = reference.per_user(metric, identity)
    tests = [paired_test(result.per_user(metric, identity), own) for result in others]
    corrected = holm([test.p_value for test in tests])
    return {str(o.path): (test, p) for o, test, p in zip(others, tests, corrected, strict=True)}
