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
            help="A folder; files of interactions, then items.* or meta_* (or --items); journey:DEPARTMENT; ml-100k.",
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
        Literal["hash", "item_id", "source_order"] | None,
        typer.Option(help="Order purchases at equal times by a hash, by item id, or as they come (hash)."),
    ] = None,
    catalogue: Annotated[
        Literal["all", "bought"] | None,
        typer.Option(help="Recommend from all items listed, or from those bought (all; Amazon, journey: bought)."),
    ] = None,
    unknown_items: Annotated[
        Literal["error", "drop"] | None,
        typer.Option(help="Refuse or drop interactions with items that are not listed (error)."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="The file, folder or pattern of the items; the purchases' own file if it has the titles."),
    ] = None,
    user_column: Annotated[str, typer.Option(help="A table's column of users.")] = "user_id",
    item_column: Annotated[str, typer.Option(help="A table's column of items, in both files.")] = "item_id",
    items_item_column: Annotated[
        str | None, typer.Option(help="Its name in the file of the items, if another (--item-column).")
    ] = None,
    time_column: Annotated[str, typer.Option(help="A table's column of times.")] = "timestamp",
    title_column: Annotated[str, typer.Option(help="A table's column of titles.")] = "title",
    rating_column: Annotated[str, typer.Option(help="A table's column of ratings, if it has one.")] = "rating",
    min_rating: Annotated[float | None, typer.Option(help="Leave out lower ratings (all count).")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of a file without a header, as in user_id,item_id,rating,timestamp."),
    ] = None,
    items_columns: Annotated[
        str | None, typer.Option(help="Columns of a file of items without a header, as in item_id,title.")
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(help="What stands between columns, such as ';' or '::' (a comma; .tsv, .inter, .item: a tab)."),
    ] = None,
    items_separator: Annotated[
        str | None, typer.Option(help="The same in the file of the items, if another (--separator).")
    ] = None,
    quotes: Annotated[
        Literal["fields", "letters", "backslash"] | None,
        typer.Option(
            help="Double quotes stand around fields, are letters, or are escaped by a backslash (by content)."
        ),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of text files that are not UTF-8, such as latin-1.")] = "utf-8",
    time_format: Annotated[
        str | None, typer.Option(help="Of dates that can be read in two ways, such as '%d/%m/%Y %H:%M'.")
    ] = None,
    ordered: Annotated[bool, typer.Option("--ordered", help="Rows are in order; times are not read.")] = False,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out rows without a user, an item or a time.")
    ] = False,
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
        "items_item_column": items_item_column,
        "rating_column": rating_column,
        "min_rating": min_rating,
        "columns": columns,
        "items_columns": items_columns,
        "separator": separator and separator.replace("\\t", "\t"),
        "items_separator": items_separator and items_separator.replace("\\t", "\t"),
        "quotes": quotes,
        "encoding": encoding,
        "time_format": time_format,
        "ordered": ordered,
        "drop_missing": drop_missing,
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
    from calrec.data.audit import targets_tied, time_span

    manifest = domain.manifest
    rows = (
        (count.step, f"{count.users:,}", f"{count.items:,}", f"{count.interactions:,}") for count in manifest.counts
    )
    _print_table(f"{domain.name} ({manifest.source})", ("after", "users", "items", "interactions"), rows)
    if manifest.skipped_lines:
        typer.echo(f"Bad lines skipped: {manifest.skipped_lines:,}.")
    if manifest.missing_rows:
        typer.echo(f"Rows without a user, an item or a time, left out: {manifest.missing_rows:,}.")
    if manifest.ratings and manifest.min_rating is None and manifest.ratings[0] < manifest.ratings[1]:
        low, high = manifest.ratings
        typer.echo(f"Ratings from {low:g} to {high:g} are there, and all count; --min-rating leaves lower ones out.")
    if manifest.ordered:
        typer.echo("Each user's purchases are in the order of the rows.")
    else:
        first, last = time_span(domain)
        typer.echo(f"Times: {first} to {last}.")
        if tied := targets_tied(domain):
            rule = f"the rule for equal times chose them (--ties {manifest.settings.ties})"
            typer.echo(f"Targets at the time of the purchase before: {tied:.1%}; {rule}.")
    typer.echo(f"The domain is in {domain.path}; its split is {domain.split_hash[:12]}.")


def _print_table(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console

    table = new_table(title=title, header=any(header))
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _number(value: float | bool | str | None) -> str:
    if value is None:
        return "not known"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
