"""``calrec search``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def search(
    method: Annotated[str, typer.Argument(metavar="BASELINE", help="A baseline, such as item-knn or sasrec.")],
    data: Annotated[Path, typer.Option(help="A prepared domain; its validation split is used.")],
    out: Annotated[Path, typer.Option(help="The search's folder; what is there already is not done again.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=[A, B]", help="Values to try instead of the baseline's own grid; repeat it."),
    ] = None,
    users: Annotated[int | None, typer.Option(min=1, help="A fixed sample of so many users (all).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting that all combinations have.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print search.json.")] = False,
) -> None:
    """Choose a baseline's settings on validation users.

    Every combination of a small grid is evaluated, and the best by NDCG@10 is named with the command that tests it. No
    test user is looked at. An interrupted search goes on when the same command is called again.

    Example: calrec search item-knn --data domains/PASTRY --out searches/item-knn
    """
    from rich.console import Console

    from calrec.cli.compare import print_results
    from calrec.data.store import load_domain
    from calrec.search import SEARCH
    from calrec.search import search as try_all

    news = Console(stderr=True, markup=False, soft_wrap=True)
    domain = load_domain(data)
    tried = try_all(method, domain, out, grid=_grid(grid), fixed=set_ or (), users=users, tell=news.print)
    if json_:
        typer.echo((out / SEARCH).read_text(encoding="utf-8").rstrip())
        return
    print_results(Console(), [one.result for one in tried])
    overrides = [word for text in (*(set_ or ()), *tried[0].overrides) for word in ("--set", text)]
    following = ["calrec", "evaluate", method, "--data", str(data), "--out", f"results/{method}", *overrides]
    news.print(f"Written to {out / SEARCH}. Next: {shlex.join(following)}")


def _grid(texts: list[str] | None) -> dict[str, list[object]] | None:
    """Values by key from ``KEY=[A, B]`` texts."""
    import yaml

    from calrec.errors import ConfigError

    if not texts:
        return None
    grid: dict[str, list[object]] = {}
    for text in texts:
        key, _, written = text.partition("=")
        try:
            values = yaml.safe_load(written)
        except yaml.YAMLError:
            values = None
        if key in grid:
            raise ConfigError(f"--grid {text}: {key} has values already; write all of them in one list")
        if not key or not isinstance(values, list) or not values:
            raise ConfigError(f"--grid {text}: write KEY=[A, B], such as 'window=[1, 3, 5]'")
        grid[key] = values
    return grid
