"""``calrec recommend``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calrec.cli.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from calrec.pipeline import Filter
    from calrec.records import Recommendation


def recommend(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run.")],
    history: Annotated[
        list[str], typer.Option(help="An item bought, by id or title; repeat it, oldest first.", metavar="TITLE_OR_ID")
    ],
    k: Annotated[int, typer.Option("-k", help="How many recommendations.", min=1)] = 10,
    data: Annotated[
        Path | None, typer.Option(help="Recommend this domain's items (those the run was trained on).")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="samples (the paper's), beam, towers, likelihood or fused.")
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Recommend these ids alone; repeat it.", metavar="ID")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave this id out; repeat it.", metavar="ID")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Recommend items with this value alone; values of one attribute add up.", metavar="ATTRIBUTE=VALUE"
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show what the model wrote and the words that match, or why a fitted ranking has an item there.",
        ),
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change inference, e.g. sampling.n=8.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend the next items for one history.

    Example: calrec recommend runs/pastry --history "Cookies: Sandwich" --history "Donuts: Cake" -k 5 --explain
    """
    from rich.console import Console

    from calrec.cli.evaluate import with_method
    from calrec.data.store import load_domain
    from calrec.pipeline import CALRec
    from calrec.pipeline.tuned import load_inference

    chosen = filter_of(allow, exclude, where)
    settings = load_inference(run, with_method(method, set_))
    device = "cpu" if cpu else None
    if data is None:
        recommender = CALRec.from_pretrained(run, settings=settings, device=device)
    else:
        recommender = CALRec.for_domain(run, load_domain(data), settings, device)
    (ranking,) = recommender.recommend([history], k, chosen)
    if json_:
        typer.echo(json.dumps([asdict(place) for place in ranking], indent=2, ensure_ascii=False))
    elif ranking:
        Console().print(ranking_table(ranking, explain))
    if not ranking:
        if chosen is not None and not recommender.allows_something(chosen):
            typer.echo("Nothing to recommend: the filter allows no item.", err=True)
            return
        why = "what the model wrote has no word in common with any item; --method beam writes nothing but items"
        typer.echo(
            f"Nothing to recommend: {why if settings.method == 'samples' else 'the method ranks none'}.", err=True
        )


def filter_of(allow: Sequence[str] | None, exclude: Sequence[str] | None, where: Sequence[str] | None) -> Filter | None:
    """Make a filter of the options; None without any.

    Raises:
        ConfigError: ``where`` without an equals sign.
    """
    from calrec.errors import ConfigError
    from calrec.pipeline import Filter

    if not (allow or exclude or where):
        return None
    wanted: dict[str, list[str]] = {}
    for condition in where or ():
        name, equals, value = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where {condition}: write it as ATTRIBUTE=VALUE, such as brand=National")
        wanted.setdefault(name, []).append(value)
    return Filter(allow or None, exclude or (), wanted)


def ranking_table(ranking: list[Recommendation], explain: bool) -> Table:
    """The ranking as a person reads it; texts are shown as they are, never as markup."""
    from rich.text import Text

    table = new_table("rank", "item", "text", "score")
    fitted = any(place.trace and place.trace.features for place in ranking)
    if explain and fitted:
        table.add_column("because")
    elif explain:
        table.add_column("the model wrote")
        table.add_column("words in both")
    for place in ranking:
        cells: list[str | Text] = [str(place.rank), Text(place.item_id), Text(place.text), f"{place.score:.4f}"]
        if explain and fitted:
            features = place.trace.features if place.trace else ()
            cells.append(Text(", ".join(f"{name} {value:+.2f}" for name, value in features[:3])))
        elif explain and place.trace is not None:
            cells += [Text(place.trace.generation), Text(" ".join(place.trace.words))]
        table.add_row(*cells)
    return table
