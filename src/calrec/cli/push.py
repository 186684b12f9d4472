"""``calrec push``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def push(
    run: Annotated[Path, typer.Argument(help="A trained run.")],
    repository: Annotated[str, typer.Argument(help="Where to: owner/name on the Hugging Face hub.")],
    result: Annotated[
        list[Path] | None,
        typer.Option(help="A result of this run, or a baseline's of the same protocol, for the card; repeat it."),
    ] = None,
    licence: Annotated[
        str, typer.Option(metavar="ID", help="A hub's id such as apache-2.0; other leaves it to the backbone's.")
    ] = "other",
    private: Annotated[bool, typer.Option("--private", help="Let nobody else see it.")] = False,
    with_catalogue: Annotated[
        bool, typer.Option("--with-catalogue", help="Upload the items too, so that it recommends without a domain.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the card and the files, and upload nothing.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Upload a run to a model hub, with a card that states data hashes, recipe, results and licence.

    Only the model's own files go there: never checkpoints, caches or logs, and the catalogue only if asked.

    Example: calrec push runs/shop me/calrec-shop --result results/calrec --licence apache-2.0 --dry-run
    """
    from calrec.report.hub import README, publication
    from calrec.report.hub import push as upload

    what = publication(run, repository, result or (), licence, with_catalogue)
    address = None if dry_run else upload(what, private)
    if json_:
        said = {"repository": repository, "url": address, "files": what.sizes, "card": what.written[README]}
        typer.echo(json.dumps(said, indent=2, ensure_ascii=False))
        return
    if dry_run:
        typer.echo(what.written[README])
    for name, size in what.sizes.items():
        typer.echo(f"{size:>15,} {name}", err=not dry_run)
    typer.echo("Nothing was uploaded (--dry-run)." if dry_run else f"The model is at {address}", err=dry_run)
