"""``calrec report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with results, at any depth.")],
    run: Annotated[Path | None, typer.Option(help="A trained run, for its learning curves.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="The domain, for example users; the page then shows what they bought.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="The page (DIR/report.html).")] = None,
) -> None:
    """Write one page about results, for people.

    It is a single HTML file that needs no network: tables with standard errors, paired tests, plots, learning curves,
    example users and how to make it all again. Every result is verified first; those of different protocols stand
    apart.

    Example: calrec report results --run runs/shop --data domains/shop
    """
    import shlex

    from calrec.data.store import load_domain
    from calrec.report.ledger import comparisons
    from calrec.report.page import page, save_page
    from calrec.report.svg import can_draw
    from calrec.report.training import training_log

    domain = load_domain(data) if data is not None else None
    found = comparisons(results, domain)
    log = training_log(run) if run is not None else None
    path = out or results / "report.html"
    options = [("--run", run), ("--data", data), ("--out", out)]
    said = [word for name, value in options if value is not None for word in (name, str(value))]
    save_page(page(found, shlex.join(["calrec", "report", str(results), *said]), log, domain), path)
    count = sum(len(comparison.results) for comparison in found)
    typer.echo(f"The page is {path}: results: {count}, protocols: {len(found)}.")
    if not can_draw():
        typer.echo("It has no plots, as matplotlib is not installed: pip install 'calrec[plot]'", err=True)
