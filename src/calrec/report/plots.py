"""What a page draws: differences, slices, numbers of samples, learning curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from calrec.report.ledger import MAIN, Comparison
from calrec.report.svg import Plot, plot, series
from calrec.report.sweeps import OVER_SAMPLES, Family, families
from calrec.report.words import metric_name, parted_by, shortened, stage_name
from calrec.training.curves import TERMS, History, draw_term, terms_of

_WIDTH, _SMALL = 4.6, (3.7, 2.9)


def differences(comparison: Comparison, tests: Mapping[str, Any], metric: str, name: str) -> Plot:
    """Every result's difference to the best, with its 95 % interval.

    Args:
        comparison: of at least two results.
        tests: of ``calrec.evaluation.compare.against``.
        metric: that was tested.
        name: of the plot in its page.
    """
    rows = [(i, label, result) for i, (label, result) in enumerate(comparison) if str(result.path) in tests]

    def draw(axes: Any) -> None:
        axes.axvline(0, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        for place, (number, _, result) in enumerate(rows):
            test, _ = tests[str(result.path)]
            # The interval's ends are quantiles, so the mean may lie outside of it where users are few.
            spread = [[max(test.difference - test.low, 0)], [max(test.high - test.difference, 0)]]
            axes.errorbar([test.difference], [place], xerr=spread, **series(number))
        _name_rows(axes, [shortened(label) for _, label, _ in rows])
        axes.set_xlabel(f"difference in {metric_name(metric)} (95 % interval)")

    title = f"{metric_name(metric)}: differences to {comparison.names[0]}"
    return plot(name, title, (_WIDTH, 0.9 + 0.32 * len(rows)), draw)


def slices(comparison: Comparison, name: str) -> list[Plot]:
    """``MAIN`` in groups of users: one plot for each way to part them; a group of all users would show nothing new."""
    parts = [part for part in partitions(comparison) if len(part) > 1]
    return [_slice_plot(comparison, part, f"{name}-{n}") for n, part in enumerate(parts)]


def partitions(comparison: Comparison) -> Iterator[list[str]]:
    """Names of slices that follow each other and part all users among them."""
    of, part, users = comparison.results[0].summary.slices, list[str](), 0
    for name in comparison.groups:
        part, users = [*part, name], users + of[name].users
        if users >= comparison.protocol.users:
            yield part
            part, users = [], 0
    if part:
        yield part


def _slice_plot(comparison: Comparison, part: Sequence[str], name: str) -> Plot:
    step = 0.8 / len(comparison.results)

    def draw(axes: Any) -> None:
        for number, result in enumerate(comparison.results):
            of = [result.summary.slices[member] for member in part]
            places = [row - 0.4 + step * (number + 0.5) for row in range(len(part))]
            errors = [means.by_id_error[MAIN] or 0 for means in of]
            axes.errorbar([m.by_id[MAIN] for m in of], places, xerr=errors, linestyle="", **series(number))
        for row in range(1, len(part)):
            axes.axhline(row - 0.5, color="black", alpha=0.15, linewidth=0.8)
        users = [comparison.results[0].summary.slices[member].users for member in part]
        _name_rows(axes, [f"{member}\n{count:,} users" for member, count in zip(part, users, strict=True)])
        # Room for half a marker at 0.
        axes.set_xlim(left=-0.02 * axes.get_xlim()[1])
        axes.set_xlabel(f"{metric_name(MAIN)} (mean ± standard error)")

    height = 0.8 + len(part) * max(0.5, 0.14 * len(comparison.results))
    return plot(name, f"{metric_name(MAIN)} {parted_by(part)}", (_WIDTH, height), draw)


def over_samples(comparison: Comparison, name: str) -> list[Plot]:
    """Metrics over the number of samples; none where no two results differ in it alone."""
    of = families(comparison.results)
    return [_samples_plot(comparison, of, metric, f"{name}-{metric}") for metric in OVER_SAMPLES] if of else []


def _samples_plot(comparison: Comparison, of: Sequence[Family], metric: str, name: str) -> Plot:
    numbers = sorted({number for family in of for number in family})

    def draw(axes: Any) -> None:
        axes.set_xscale("log", base=2)
        for family in of:
            means = [result.summary.metrics for result in family.values()]
            errors = [mean.by_id_error[metric] or 0 for mean in means]
            # The line has the colour that its result of most samples has everywhere.
            style = series(comparison.results.index(family[max(family)]))
            axes.errorbar(list(family), [mean.by_id[metric] for mean in means], yerr=errors, **style)
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.set_xlabel("samples a user")
        axes.set_ylabel(f"{metric_name(metric)} (± standard error)")

    return plot(name, f"{metric_name(metric)} over the number of samples", _SMALL, draw)


def learning(comparison: Comparison, name: str) -> list[Plot]:
    """Validation over the passes of methods that learn when they are evaluated; none where there is none."""
    learnt = [(number, curve) for number, result in enumerate(comparison.results) if (curve := result.summary.curve)]

    def draw(axes: Any) -> None:
        for number, curve in learnt:
            axes.plot(range(1, len(curve) + 1), curve, **series(number), markevery=max(len(curve) // 8, 1))
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.set_xlabel("passes over the training sequences")
        axes.set_ylabel(f"{metric_name(MAIN)} on validation")

    title = f"{metric_name(MAIN)} on validation over the passes"
    return [plot(name, title, (_WIDTH, 3.0), draw)] if learnt else []


def curves(log_history: History, stage: str) -> list[Plot]:
    """Every term of a stage over its updates."""

    def of(term: str) -> Plot:
        def draw(axes: Any) -> None:
            draw_term(axes, log_history, term)
            axes.set_ylabel(TERMS[term])
            axes.grid()
            axes.legend()

        return plot(f"{stage}-{term}", f"{stage_name(stage)}: {TERMS[term].partition(',')[0]}", _SMALL, draw)

    return [of(term) for term in terms_of(log_history)]


def _name_rows(axes: Any, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x")
