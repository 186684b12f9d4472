"""One page for people: all that the results below a folder say, in a single file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from calrec import __version__
from calrec.atomic import make_folder, replace_text
from calrec.data.store import Domain
from calrec.errors import DataError
from calrec.evaluation.compare import SHOWN, against
from calrec.evaluation.protocol import Protocol
from calrec.report import plots, tables
from calrec.report.card_results import identities
from calrec.report.examples import Examples, examples
from calrec.report.ledger import MAIN, Comparison
from calrec.report.reproducing import Recipe, environments, recipes
from calrec.report.svg import Plot, can_draw, key
from calrec.report.sweeps import families
from calrec.report.tables import Table, Tests
from calrec.report.training import TrainingLog
from calrec.report.words import BEYOND, counted, finding, listed, protocol_in_words, stage_name

#: Metrics that results are tested by: those of the paper's claim.
TESTED = ("recall@1", MAIN)
_GENERATOR = '<meta name="generator" content="calrec'


@dataclass(frozen=True)
class Plots:
    """What is drawn of a comparison; a legend has the marker of each result, or line, by its name."""

    differences: Sequence[Plot]
    slices: Sequence[Plot]
    slices_legend: Mapping[str, Markup]
    samples: Sequence[Plot]
    samples_legend: Mapping[str, Markup]
    learning: Sequence[Plot]
    learning_legend: Mapping[str, Markup]


@dataclass(frozen=True)
class Section:
    """A comparison as it stands in the page; ``apart``: fields of the protocol in which it differs from the first."""

    title: str
    apart: Sequence[str]
    protocol: Sequence[str]
    hashes: Mapping[str, str]
    finding: str
    metrics: Sequence[Table]
    all_metrics: Sequence[Table]
    tests: Sequence[Table]
    slices: Table
    samples: Table | None
    learning: Table | None
    beyond: Table
    plots: Plots | None
    examples: Examples | None
    recipes: Sequence[Recipe]
    environments: Sequence[tuple[list[str], str, str]]


@dataclass(frozen=True)
class Training:
    """A run as it stands in the page: its log, what is drawn of it, and which results its weights made."""

    log: TrainingLog
    best: Table
    curves: Mapping[str, Sequence[Plot]]
    made: Sequence[str]


def page(
    comparisons: Sequence[Comparison], command: str, log: TrainingLog | None = None, domain: Domain | None = None
) -> str:
    """The page as HTML; without matplotlib it has no plots, and says so.

    Args:
        comparisons: what it is about, at least one.
        command: that made it.
        log: of a run, for its learning curves.
        domain: for example users; of those comparisons that are of it.
    """
    first = comparisons[0].protocol
    sections = [_section(comparison, number, domain, first) for number, comparison in enumerate(comparisons)]
    environment = Environment(
        loader=PackageLoader("calrec.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"counted": counted, "listed": listed, "stage_name": stage_name}
    html = environment.get_template("page.html").render(
        version=__version__,
        command=command,
        sections=sections,
        training=_training(log, comparisons) if log else None,
        drawn=can_draw(),
        with_data=domain is not None,
        beyond=BEYOND,
    )
    # What no file can hold, a lone surrogate in a name, becomes a question mark.
    return html.encode("utf-8", "replace").decode("utf-8")


def save_page(html: str, path: Path) -> None:
    """Write a page, whole or not at all, in place of an older one.

    Raises:
        DataError: something else is there.
        ConfigError: its folder cannot be made.
    """
    if path.exists() and not (path.is_file() and _GENERATOR in path.read_text("utf-8", "replace")[:2000]):
        raise DataError(f"{path} exists and is no report: choose another --out")
    make_folder(path.parent)
    replace_text(path, html)


def _section(comparison: Comparison, number: int, domain: Domain | None, first: Protocol) -> Section:
    protocol, known = comparison.protocol, list(comparison.results[0].summary.metrics.by_id)
    tests = {metric: against(comparison.results, comparison.results[0], metric, "id") for metric in TESTED}
    several = len(comparison.results) > 1
    its_domain = domain if domain and domain.split_hash == protocol.split_hash else None
    kinds = identities(comparison.results)
    return Section(
        title=f"{protocol.domain}: {counted(protocol.users, f'{protocol.split} user')}",
        apart=[text.partition(":")[0] for text in first.differences(protocol)],
        protocol=protocol_in_words(protocol),
        hashes={"protocol": protocol.hash, "split": protocol.split_hash, "users": protocol.users_hash},
        finding=finding(comparison, tests[MAIN]),
        metrics=[tables.metrics_table(comparison, kind, SHOWN) for kind in kinds],
        all_metrics=[tables.metrics_table(comparison, kind, known) for kind in kinds],
        tests=[tables.tests_table(comparison, tests[metric], metric) for metric in TESTED] if several else [],
        slices=tables.slices_table(comparison),
        samples=tables.samples_table(comparison),
        learning=tables.learning_table(comparison),
        beyond=tables.beyond_table(comparison),
        plots=_plots(comparison, tests if several else {}, f"c{number}") if can_draw() else None,
        examples=examples(comparison, its_domain) if its_domain else None,
        recipes=recipes(comparison, str(its_domain.path) if its_domain else protocol.domain),
        environments=environments(comparison),
    )


def _plots(comparison: Comparison, tests: Mapping[str, Tests], name: str) -> Plots:
    lines = [family[max(family)] for family in families(comparison.results)]
    return Plots(
        differences=[plots.differences(comparison, of, metric, f"{name}-{metric}") for metric, of in tests.items()],
        slices=plots.slices(comparison, f"{name}-slice"),
        slices_legend={label: key(f"{name}-key-{n}", n) for n, label in enumerate(comparison.names)},
        samples=plots.over_samples(comparison, f"{name}-samples"),
        samples_legend={
            label: key(f"{name}-line-{n}", n) for n, (label, result) in enumerate(comparison) if result in lines
        },
        learning=plots.learning(comparison, f"{name}-learning"),
        learning_legend={
            label: key(f"{name}-pass-{n}", n) for n, (label, result) in enumerate(comparison) if result.summary.curve
        },
    )


def _training(log: TrainingLog, comparisons: Sequence[Comparison]) -> Training:
    drawn = can_draw()
    return Training(
        log,
        tables.training_table(log.card),
        {stage_name(stage): plots.curves(history, stage) if drawn else () for stage, history in log.histories.items()},
        [name for c in comparisons for name, r in c if r.summary.settings.get("weights") == log.fingerprint],
    )
