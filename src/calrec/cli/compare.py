"""``calrec compare``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calrec.cli.tables import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from calrec.evaluation.result import Result
    from calrec.metrics import PairedTest

    Tests = Mapping[str, tuple[PairedTest, float]]


def compare(
    results: Annotated[list[Path], typer.Argument(help="Results of one protocol.", metavar="RESULT")],
    reference: Annotated[
        Path | None, typer.Option(help="Test the others against this result (the best by --metric).")
    ] = None,
    metric: Annotated[str, typer.Option(help="The metric to test.")] = "ndcg@10",
    by_text: Annotated[bool, typer.Option("--by-text", help="Count items of one text as one.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show results in one table, with paired tests.

    Each is tested against the best of them, or against a chosen one. Results of different protocols are refused, and
    the fields named in which they differ; so is one that is not what its own rankings say.

    Example: calrec compare results/markov results/calrec --metric recall@10
    """
    from rich.console import Console

    from calrec.errors import ConfigError
    from calrec.evaluation.compare import against, best_of, require_one_protocol
    from calrec.evaluation.result import load_result
    from calrec.evaluation.verify import require_verified

    loaded = [load_result(path) for path in results]
    for result in loaded:
        require_verified(result)
    require_one_protocol(loaded)
    identity = "text" if by_text else "id"
    if metric not in loaded[0].summary.metrics.by_id:
        raise ConfigError(f"--metric {metric}: choose of {', '.join(loaded[0].summary.metrics.by_id)}")
    if reference is not None and reference not in results:
        raise ConfigError(f"--reference {reference}: it must be one of the results compared")
    chosen = next((r for r in loaded if r.path == reference), best_of(loaded, metric, identity))
    tests = against(loaded, chosen, metric, identity)
    if json_:
        typer.echo(json.dumps(_as_json(loaded, chosen, metric, tests), indent=2))
    else:
        console = Console()
        print_results(console, loaded, identity)
        console.print(tests_table(loaded, chosen, metric, tests))


def print_results(console: Console, results: Sequence[Result], identity: str = "id") -> None:
    """Metrics with their standard errors; without these where the console is too narrow for both."""
    table = results_table(results, identity)
    unbounded = console.options.update(max_width=10_000)
    if console.measure(table, options=unbounded).maximum > console.width:
        table = results_table(results, identity, with_errors=False)
    console.print(table)


def results_table(results: Sequence[Result], identity: str, with_errors: bool = True) -> Table:
    """Metrics, and their standard errors; the best of each column in bold."""
    from rich.text import Text

    from calrec.evaluation.compare import SHOWN, labels

    protocol = results[0].summary.protocol
    title = (
        f"{protocol.domain}, {protocol.split}: {protocol.users:,} users, {protocol.candidates:,} items, by {identity}"
    )
    table = new_table(title=title + (", last item excluded" if protocol.exclude_last else ""))
    # On a narrow terminal names are folded, and numbers never.
    table.add_column("method", overflow="fold")
    for name in SHOWN:
        table.add_column(name, justify="right", no_wrap=True)
    best = {name: max(_mean(result, identity, name) for result in results) for name in SHOWN}
    for result, label in zip(results, labels(results), strict=True):
        errors = getattr(result.summary.metrics, f"by_{identity}_error")
        cells = [Text(label)]
        for name in SHOWN:
            mean = _mean(result, identity, name)
            error = f" ±{errors[name] or 0:.3f}" if with_errors else ""
            cells.append(Text(f"{mean:.4f}{error}"[:14], "bold" if mean == best[name] else ""))
        table.add_row(*cells)
    return table


def tests_table(results: Sequence[Result], reference: Result, metric: str, tests: Tests) -> Table:
    """Each result against the reference: the difference with its interval, its p-value, and whose users are better."""
    from rich.text import Text

    from calrec.evaluation.compare import labels

    named = {str(result.path): label for result, label in zip(results, labels(results), strict=True)}
    title = Text(f"{metric} against {named[str(reference.path)]}, paired over users")
    table = new_table(title=title)
    table.add_column("method", overflow="fold")
    for name in ("difference", "95 % interval", "p (Holm)", "better/equal/worse"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        if str(result.path) in tests:
            test, p_value = tests[str(result.path)]
            interval = f"{test.low:+.4f} to {test.high:+.4f}"
            users = f"{test.wins}/{test.ties}/{test.losses}"
            label = Text(named[str(result.path)])
            table.add_row(label, f"{test.difference:+.4f}", interval, f"{p_value:.3g}", users)
    return table


def _mean(result: Result, identity: str, name: str) -> float:
    return float(getattr(result.summary.metrics, f"by_{identity}")[name])


def _as_json(results: Sequence[Result], reference: Result, metric: str, tests: Tests) -> dict[str, Any]:
    rows = []
    for result in results:
        row = {"path": str(result.path), "method": result.name, **result.summary.metrics.model_dump()}
        if str(result.path) in tests:
            test, p_value = tests[str(result.path)]
            row["against_reference"] = {**asdict(test), "p_holm": p_value}
        rows.append(row)
    protocol = results[0].summary.protocol.model_dump()
    return {"protocol": protocol, "metric": metric, "reference": str(reference.path), "results": rows}
