"""``calrec quickstart``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    out: Annotated[Path, typer.Option(help="Where everything goes; a second call goes on there.")] = Path("quickstart"),
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
) -> None:
    """See everything work in minutes, on real purchases.

    A small real model is trained in both stages, joined with baselines on validation households, compared with them on
    test households, and recommends for one.

    Example: calrec quickstart --out /tmp/quickstart
    """
    from rich.console import Console

    from calrec.cli.compare import print_results
    from calrec.cli.recommend import ranking_table
    from calrec.cli.stopping import stoppable
    from calrec.quickstart import example_household, run_quickstart
    from calrec.records import History

    console = Console()
    with stoppable():
        done = run_quickstart(out, console, cpu)
    print_results(console, done.results)
    console.rule("5. Five recommendations for one household")
    example = example_household(done.results[-1], done.domain)
    texts = dict(zip(done.recommender.catalogue.ids, done.recommender.catalogue.texts, strict=True))
    for item_id in example.history[-5:]:
        console.print("bought", item_id, texts[item_id], markup=False, highlight=False)
    (ranking,) = done.recommender.recommend([History(example.user_id, example.history)], k=5)
    console.print(ranking_table(ranking, explain=True))
    console.print("then bought", example.target, texts[example.target], markup=False, highlight=False)
    console.print(
        f"Everything lies in {out}: domains/, run/ (the model), results/. "
        f"Next: calrec recommend {out / 'run'} --data {done.domain.path} --history {example.history[-1]} --explain",
        markup=False,
    )
