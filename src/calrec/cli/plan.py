"""``calrec plan``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from calrec.cli.tables import new_table
from calrec.progress import duration

if TYPE_CHECKING:
    from rich.table import Table

    from calrec.planning.run_plan import RunPlan
    from calrec.planning.stage_plan import StagePlan


def plan(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe in YAML, or the name of a shipped one, such as two-cores.")
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="Run no passes here: counts and arithmetic only.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON: bytes, seconds, operations.")] = False,
) -> None:
    """Say what a recipe takes before anything runs: tokens, updates, memory, disk, time.

    Counts are exact. Time and peak memory on this device come from a few real passes, half a minute of them; those of
    other devices are estimates. Nothing is written.

    Example: calrec plan two-cores --set stage_two.epochs=5
    """
    from rich.console import Console

    from calrec.planning.run_plan import plan_run
    from calrec.recipe import load_recipe

    news = Console(stderr=True, markup=False, soft_wrap=True)
    planned = plan_run(load_recipe(recipe, set_ or ()), use_cpu=cpu, probing=not no_probe, tell=news.print)
    if json_:
        typer.echo(json.dumps(asdict(planned), indent=2))
        return
    console = Console()
    console.print(_stages_table(planned))
    console.print(_devices_table(planned))
    for line in _conclusion(planned):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _stages_table(planned: RunPlan) -> Table:
    table = new_table("", *(stage.name for stage in planned.stages), title=f"{planned.backbone}; {planned.device}")
    columns = [list(_facts(stage)) for stage in planned.stages]
    for row in zip(*columns, strict=True):
        table.add_row(row[0][0], *(value for _, value in row))
    return table


def _facts(stage: StagePlan) -> Iterator[tuple[str, str]]:
    """A stage's rows: what it is called, and the value."""
    counts, memory, here = stage.counts, stage.memory, stage.here
    yield "sequences, item texts", f"{counts.sequences:,}, {counts.item_texts:,}"
    yield "tokens an epoch, in all", f"{counts.tokens_per_epoch:,}, {counts.tokens:,}"
    yield "target tokens", f"{counts.target_tokens:,}" + _more(counts.item_label_tokens, " + {:,} of items' texts")
    yield "item-tower tokens", f"{counts.item_tokens:,}"
    yield "padding of all tokens", f"{counts.padding:.1%}"
    yield "updates, of passes each", f"{counts.updates:,}, {counts.accumulation}"
    yield "validations, of tokens each", f"{counts.validations}, {counts.validation_tokens:,}"
    yield "parameters trained", f"{stage.trained / 1e6:.1f} M of {stage.parameters / 1e6:.1f} M"
    yield "operations", f"{sum(stage.operations.values()) / 1e15:.3g} x 10^15"
    cache = stage.cache
    yield "trunk's cache", f"{cache.size_gb:.2f} GB" if cache.used else f"none: {cache.why_not}"
    yield "disk", f"{stage.disk_gb:.1f} GB, checkpoints of {stage.checkpoint_gb:.2f} GB"
    parts = ("weights", "gradients", "optimizer", "copies", "activations", "logits")
    held = ", ".join(f"{part} {getattr(memory, part) / 1e9:.2f}" for part in parts if getattr(memory, part))
    yield "memory by arithmetic, GB", f"{memory.peak / 1e9:.2f} ({held})"
    if here is None:
        yield "time here", "not probed"
        yield "peak memory here", "not probed"
        return
    spent = ", ".join(f"{part} {duration(seconds)}" for part, seconds in here.seconds.items() if seconds >= 0.5)
    yield "time here", f"{duration(sum(here.seconds.values()))}" + (f" ({spent})" if spent else "")
    yield "peak memory here", f"{here.peak_gb:.2f} GB"


def _more(count: int, text: str) -> str:
    return text.format(count) if count else ""


def _devices_table(planned: RunPlan) -> Table:
    table = new_table(
        "device", "assumed rate", *(stage.name for stage in planned.stages), title="Elsewhere: estimates, not measured"
    )
    for of_stages in zip(*(stage.elsewhere for stage in planned.stages), strict=True):
        cells = []
        for estimate in of_stages:
            memory = f"{estimate.memory_gb:.1f} GB" if estimate.memory_gb is not None else ""
            seconds = duration(estimate.seconds) if estimate.seconds is not None and estimate.fits else ""
            cells.append(", ".join(part for part in (memory, seconds, estimate.why_not) if part))
        table.add_row(of_stages[0].device, of_stages[0].rate, *cells)
    return table


def _conclusion(planned: RunPlan) -> Iterator[str]:
    if planned.seconds is not None:
        yield (
            f"Here: {duration(planned.seconds)}, of which loading {duration(planned.preparation_s)}; at most "
            f"{planned.peak_gb:.1f} GB of memory and {planned.disk_gb:.1f} GB of disk. "
            f"Told from passes that took {planned.probe_s:.0f} s."
        )
    else:
        yield f"At most {planned.disk_gb:.1f} GB of disk."
    yield from planned.advice
