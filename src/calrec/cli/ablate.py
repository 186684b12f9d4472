"""``calrec ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ablate(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe in YAML, or the name of a shipped one, such as two-cores.")
    ],
    data: Annotated[Path, typer.Option(help="The prepared domain that Stage II learns from.")],
    out: Annotated[Path, typer.Option(help="The ablation's folder; what is there already is not done again.")],
    split: Annotated[str, typer.Option(help="test, or valid to choose settings by.")] = "test",
    users: Annotated[int | None, typer.Option(min=1, help="A fixed sample of so many users (all).")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A variant to keep to beside the full one, such as nig-alone; repeat it (an unknown one names all).",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    inference: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Change inference, e.g. sampling.n=16.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print ablation.json.")] = False,
) -> None:
    """Measure what each part of a recipe is worth.

    Trains and evaluates the recipe without each of its parts, under one protocol, and tests every variant against the
    full one. How many samples and the round-robin are worth comes from the full one's texts, without a model. An
    interrupted ablation goes on when the same command is called again. The table is in ablation.md and ablation.json;
    with --only it has those variants alone.

    Example: calrec ablate two-cores --data domains/Industrial_and_Scientific --out ablation --users 1000
    """
    import json

    from rich.console import Console

    from calrec.ablation import ablate as run_variants
    from calrec.ablation.table import TESTED, against_full, save_table
    from calrec.ablation.variants import FULL
    from calrec.cli.compare import print_results, tests_table
    from calrec.cli.stopping import stoppable
    from calrec.data.store import load_domain
    from calrec.errors import ConfigError
    from calrec.pipeline import InferenceSettings
    from calrec.recipe import load_recipe
    from calrec.settings import read_settings

    if split not in ("test", "valid"):
        raise ConfigError(f"--split {split}: choose test or valid")
    plan, domain = load_recipe(recipe, set_ or ()), load_domain(data)
    settings = read_settings(InferenceSettings, {}, inference or (), "--inference")
    news = Console(stderr=True, markup=False, soft_wrap=True)
    with stoppable():
        results = run_variants(
            plan,
            domain,
            out,
            split=split,  # type: ignore[arg-type]
            users=users,
            only=only or (),
            inference=settings,
            tell=news.print,
            use_cpu=cpu,
        )
    said = save_table(plan, results, out)
    if json_:
        typer.echo(json.dumps(said, indent=2))
        return
    shown, console = list(results.values()), Console()
    print_results(console, shown)
    if len(shown) > 1:
        console.print(tests_table(shown, results[FULL], TESTED, against_full(results)))
    news.print(f"The table is in {out / 'ablation.md'} and {out / 'ablation.json'}, the results in {out / 'results'}.")
