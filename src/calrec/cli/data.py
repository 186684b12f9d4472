"""``calrec data prepare`` and ``calrec data audit``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from calrec.cli.tables import new_table

if TYPE_CHECKING:
    from calrec.data.store import Domain

app = typer.Typer(
    help="Make domains from raw purchases, and audit them.",
    epilog="Example: calrec data prepare journey:PASTRY --out domains/PASTRY",
)


@app.command()
def prepare(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a file of interactions and one of items, journey:DEPARTMENT, or ml-100k.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The domain's folder.")],
    min_length: Annotated[int | None, typer.Option(min=3, help="Drop users with fewer items (3; journey: 5).")] = None,
    k_core: Annotated[
        int | None,
        typer.Option(min=0, help="Drop users and items with fewer interactions until none is left (0: off)."),
    ] = None,
    identical_texts: Annotated[
        Literal["keep", "merge"] | None,
        typer.Option(help="Keep items that read the same apart, or merge them into one (keep; journey: merge)."),
    ] = None,
    drop_consecutive: Annotated[
        bool | None,
        typer.Option(
            "--drop-consecutive/--keep-consecutive", help="Drop or keep an item that repeats the one before it (drop)."
        ),
    ] = None,
    ties: Annotated[
        Literal["item_id", "source_order"] | None,
        typer.Option(help="Order purchases at equal times by item id, or leave them as they come (item_id)."),
    ] = None,
    catalogue: Annotated[
        Literal["all", "bought"] | None,
        typer.Option(help="Recommend from all items listed, or from those bought (all; Amazon, journey: bought)."),
    ] = None,
    unknown_items: Annotated[
        Literal["error", "drop"] | None,
        typer.Option(help="Refuse or drop interactions with items that are not listed (error)."),
    ] = None,
    items: Annotated[Path | None, typer.Option(help="The file of the items, if its name does not tell.")] = None,
    user_column: Annotated[str, typer.Option(help="A table's column of users.")] = "user_id",
    item_column: Annotated[str, typer.Option(help="A table's column of items, in both files.")] = "item_id",
    time_column: Annotated[str, typer.Option(help="A table's column of times.")] = "timestamp",
    title_column: Annotated[str, typer.Option(help="A table's column of titles.")] = "title",
    separator: Annotated[str, typer.Option(help="What stands between the columns of a CSV, such as ';'.")] = ",",
    name: Annotated[str | None, typer.Option(help="The domain's name in results (the source's).")] = None,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Skip and count bad JSON lines.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a different domain in --out.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Turn raw purchases into a domain: filtered, ordered, hashed.

    In parentheses stands what holds without the option. Nothing is written unless all of it can be.

    Example: calrec data prepare journey:PASTRY --out domains/PASTRY
    """
    from calrec.data.prepare import prepare as prepare_domain
    from calrec.data.sources import SourceOptions
    from calrec.settings import read_settings

    options = {
        "items": items,
        "user_column": user_column,
        "item_column": item_column,
        "time_column": time_column,
        "title_column": title_column,
        "separator": separator.replace("\\t", "\t"),
        "name": name,
        "skip_bad_lines": skip_bad_lines,
    }
    # What is not given is left to the source's own defaults.
    given = {
        "min_length": min_length,
        "k_core": k_core,
        "identical_texts": identical_texts,
        "drop_consecutive": drop_consecutive,
        "ties": ties,
        "catalogue": catalogue,
        "unknown_items": unknown_items,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    read = read_settings(SourceOptions, options, where="reading")
    domain = prepare_domain(source, out, settings, read, replace=force)
    if json_:
        typer.echo(domain.manifest.model_dump_json(indent=2))
    else:
        _show_counts(domain)


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A prepared domain.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is wrong or suspicious in a domain.

    Also how far its texts can tell the items apart, which is the ceiling of any method that reads texts.

    Example: calrec data audit domains/PASTRY
    """
    from calrec.data.audit import audit as audit_domain
    from calrec.data.store import load_domain

    domain = load_domain(folder)
    report = audit_domain(domain)
    if json_:
        faults = {"faults": report.faults, "warnings": report.warnings}
        typer.echo(json.dumps({"domain": domain.name, **report.model_dump(), **faults}, indent=2))
        return
    rows = ((name.replace("_", " "), _number(value)) for name, value in report.model_dump().items())
    _print_table(domain.name, ("", ""), rows)
    for fault in report.faults:
        typer.echo(f"wrong: {fault}")
    for warning in report.warnings:
        typer.echo(f"mind: {warning}")


def _show_counts(domain: Domain) -> None:
    manifest = domain.manifest
    rows = (
        (count.step, f"{count.users:,}", f"{count.items:,}", f"{count.interactions:,}") for count in manifest.counts
    )
    _print_table(f"{domain.name} ({manifest.source})", ("after", "users", "items", "interactions"), rows)
    if manifest.skipped_lines:
        typer.echo(f"Bad lines skipped: {manifest.skipped_lines:,}.")
    typer.echo(f"The domain is in {domain.path}; its split is {domain.split_hash[:12]}.")


def _print_table(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console

    table = new_table(title=title, header=any(header))
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _number(value: float | bool | None) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
