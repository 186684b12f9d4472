"""The tables of a page: what stands in their cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from calrec.evaluation.result import Means, Result
from calrec.metrics import PairedTest
from calrec.report.ledger import MAIN, Comparison
from calrec.report.sweeps import OVER_SAMPLES, families
from calrec.report.words import BEYOND, LEVEL, metric_name, stage_name
from calrec.training.curves import TERMS
from calrec.training.run_card import RunCard

Tests = Mapping[str, tuple[PairedTest, float]]


@dataclass(frozen=True)
class Cell:
    """A number as text; ``error`` is what stands small behind it, ``best`` makes it bold."""

    text: str
    error: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: what it shows. header: of all columns. rows: name and cells, one for each column but the first.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def metrics_table(comparison: Comparison, identity: str, metrics: Sequence[str]) -> Table:
    """Means with their standard errors; the best of every column is bold, several where they are equal."""
    means = [result.summary.metrics for result in comparison.results]
    best = {metric: max(getattr(m, f"by_{identity}")[metric] for m in means) for metric in metrics}
    rows = [
        (name, tuple(_mean(result.summary.metrics, identity, metric, best[metric]) for metric in metrics))
        for name, result in comparison
    ]
    captions = {"id": "Items by their id", "text": "Items with the same text counted as one"}
    return Table(captions[identity], ("method", *map(metric_name, metrics)), tuple(rows))


def _mean(of: Means, identity: str, metric: str, best: float | None = None) -> Cell:
    mean, error = getattr(of, f"by_{identity}")[metric], getattr(of, f"by_{identity}_error")[metric]
    return Cell(f"{mean:.4f}", "" if error is None else f"± {error:.4f}", mean == best)


def tests_table(comparison: Comparison, tests: Tests, metric: str) -> Table:
    """Each result against the best of all."""
    rows = []
    for name, result in comparison:
        if str(result.path) in tests:
            test, p_value = tests[str(result.path)]
            cells = (
                Cell(_signed(test.difference)),
                Cell(f"{_signed(test.low)} to {_signed(test.high)}"),
                Cell(p_text(p_value), best=p_value < LEVEL),
                Cell(f"{test.wins:,} / {test.ties:,} / {test.losses:,}"),
            )
            rows.append((name, cells))
    header = ("method", "difference", "95 % interval", "p (Holm)", "users better / equal / worse")
    reference = next(name for name, result in comparison if str(result.path) not in tests)
    return Table(f"{metric_name(metric)} against {reference}, over the same users", header, tuple(rows))


def _signed(number: float) -> str:
    return f"{number:+.4f}".replace("-", "−")


def p_text(p_value: float) -> str:
    """A p-value; the permutation test's draws end at about one in ten thousand."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def slices_table(comparison: Comparison) -> Table:
    """``MAIN`` in every group of users."""
    rows = []
    for name in comparison.groups:
        of = [result.summary.slices[name] for result in comparison.results]
        best = max(means.by_id[MAIN] for means in of)
        rows.append((name, (Cell(f"{of[0].users:,}"), *(_mean(means, "id", MAIN, best) for means in of))))
    return Table(f"{metric_name(MAIN)} in groups of users", ("group", "users", *comparison.names), tuple(rows))


def beyond_table(comparison: Comparison) -> Table:
    """Numbers beyond accuracy, what is missing left empty, and how many users' items were not ranked."""
    known = [name for name in BEYOND if any(name in result.summary.beyond for result in comparison.results)]
    rows = [
        (name, (*_beyond(result, known), Cell(f"{result.summary.unranked:,}"), Cell(f"{result.summary.seconds:,.1f}")))
        for name, result in comparison
    ]
    header = ("method", *(BEYOND[name][0] for name in known), "not ranked", "seconds")
    return Table("Variety of the ten best items, soundness of the texts, and time", header, tuple(rows))


def _beyond(result: Result, names: Iterable[str]) -> list[Cell]:
    values = [(result.summary.beyond.get(name), BEYOND[name][2]) for name in names]
    return [Cell("" if v is None else f"{100 * v:.1f} %" if share else f"{v:.2f}") for v, share in values]


def samples_table(comparison: Comparison) -> Table | None:
    """Metrics by the number of samples; None where no two results differ in it alone."""
    named = dict(zip((result.path for result in comparison.results), comparison.names, strict=True))
    rows = [
        (named[result.path], (Cell(f"{n}"), *(_mean(result.summary.metrics, "id", metric) for metric in OVER_SAMPLES)))
        for family in families(comparison.results)
        for n, result in family.items()
    ]
    header = ("method", "samples a user", *map(metric_name, OVER_SAMPLES))
    return Table("By the number of samples", header, tuple(rows)) if rows else None


def learning_table(comparison: Comparison) -> Table | None:
    """How methods that learn when they are evaluated got on; None where there is none."""
    rows = [
        (name, (Cell(f"{len(curve)}"), Cell(f"{curve.index(max(curve)) + 1}"), Cell(f"{max(curve):.4f}")))
        for name, result in comparison
        if (curve := result.summary.curve)
    ]
    header = ("method", "passes", "best after", f"{metric_name(MAIN)} on validation")
    return Table("Learnt for this evaluation", header, tuple(rows)) if rows else None


def training_table(card: RunCard) -> Table:
    """What training saw, and the validation of the weights that were kept, a row for each stage."""
    terms = [name for name in TERMS if any(name in best for best in card.best.values())]
    rows = [
        (
            stage_name(stage),
            (
                Cell(f"{tokens:,}"),
                *(Cell("" if (value := of.get(name)) is None else f"{value:.4f}") for name in terms),
                Cell("" if (step := of.get("step")) is None else f"{step:,.0f}"),
            ),
        )
        for stage, tokens in card.tokens.items()
        for of in [card.best.get(stage, {})]
    ]
    header = ("stage", "tokens seen", *(TERMS[name].partition(",")[0] for name in terms), "at update")
    return Table("Validation of the weights that were kept", header, tuple(rows))
