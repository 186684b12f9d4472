"""``calrec train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe in YAML, or the name of a shipped one, such as two-cores.")
    ],
    out: Annotated[Path, typer.Option(help="The run's folder; training goes on there if it was interrupted.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the run's card as JSON.")] = False,
) -> None:
    """Fine-tune a backbone: Stage I, Stage II or both.

    Stage I learns from several domains, Stage II from one. An interrupted training goes on when the same command is
    called again.

    Example: calrec train two-cores --out runs/science --set stage_two.epochs=5
    Several processes: torchrun --nproc-per-node 8 -m calrec train eight-gpus --out runs/science
    """
    from accelerate import PartialState
    from rich.console import Console

    from calrec.cli.stopping import stoppable
    from calrec.recipe import load_recipe
    from calrec.training.stages import train as train_stages

    # Paths stay whole: what looks like markup in them is none, and lines are not broken.
    news = Console(stderr=True, markup=False, soft_wrap=True)
    with stoppable():
        card = train_stages(load_recipe(recipe, set_ or ()), out, tell=news.print, use_cpu=cpu)
    if not PartialState().is_main_process:
        return
    if json_:
        typer.echo(card.model_dump_json(indent=2))
        return
    for stage, terms in card.best.items():
        values = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        news.print(f"{stage}: best validation: {values}")
    data = list(card.plan.stages.values())[-1].domains[-1]
    following = ["calrec", "evaluate", str(out), "--data", str(data), "--split", "test", "--out", f"results/{out.name}"]
    news.print(f"The run is in {out}. Next: {shlex.join(following)}")
