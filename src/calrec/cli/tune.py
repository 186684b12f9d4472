"""``calrec tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calrec.cli.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from calrec.tuning import Tuned


def tune(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run.")],
    data: Annotated[Path, typer.Option(help="A prepared domain; its validation split is used.")],
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="A method to join, samples, beam, towers or likelihood, or a baseline that is fitted in seconds, such "
            "as item-knn; repeat it (beam and all these baselines)."
        ),
    ] = None,
    users: Annotated[int | None, typer.Option(min=1, help="A fixed sample of so many users (all).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change inference, e.g. beam.width=64.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit how methods are joined, and how likelihoods are corrected.

    With 100 validation users or more a ranking of candidates is fitted, and shown by what it reaches on users that it
    was not fitted on; with fewer, reciprocal ranks are weighed. It is written to inference.json in the run's folder,
    where evaluate and recommend find it. No test user is looked at.

    Example: calrec tune runs/shop --data domains/shop --source beam --source markov --source item-knn --users 1000
    """
    import json

    from rich.console import Console

    from calrec.baselines import BASELINES
    from calrec.data.store import load_domain
    from calrec.errors import ConfigError
    from calrec.pipeline import CALRec
    from calrec.pipeline.settings import known_source
    from calrec.pipeline.tuned import load_inference, save_inference
    from calrec.tuning import chosen_by
    from calrec.tuning import tune as choose

    domain = load_domain(data)
    sources = list(dict.fromkeys(source or ["beam", *BASELINES]))
    for name in sources:
        try:
            known_source(name)
        except ValueError as error:
            raise ConfigError(f"--source: {error}") from None
    method = load_inference(run, set_ or ()).method
    weights = json.dumps(dict.fromkeys(sources, 1.0))
    joined = ["method=fused", f"fusion.weights={weights}", "fusion.how=reciprocal-rank", "fusion.ranker=null"]
    settings = load_inference(run, [*joined, *(set_ or ())])
    recommender = CALRec.for_domain(run, domain, settings, "cpu" if cpu else None)
    tuned = choose(recommender, domain, sources, users)
    chosen = tuned.settings.model_copy(update={"method": method})
    noted = chosen_by(tuned, domain)
    save_inference(run, chosen, noted)
    if json_:
        typer.echo(json.dumps({"settings": chosen.described(), "chosen_by": noted}, indent=2))
        return
    Console().print(tuning_table(tuned))
    if tuned.added is not None:
        test = tuned.added
        typer.echo(
            f"beside the baselines, fused, the model adds {test.difference:+.4f} NDCG@10 "
            f"(95 % interval {test.low:+.4f} to {test.high:+.4f})"
        )
    correction, fusion = tuned.settings.correction, tuned.settings.fusion
    if fusion.how == "fitted":
        typer.echo(f"fitted over {', '.join(fusion.weights)}; cross-validated above")
    else:
        shown = ", ".join(f"{name} {weight:g}" for name, weight in fusion.weights.items())
        typer.echo(f"weights: {shown}; correction: prior {correction.prior:g}, length {correction.length:g}")
    following = f"calrec evaluate {run} --data {data} --method fused --out results/fused"
    typer.echo(f"Written to {run / 'inference.json'}. Next: {following}", err=True)


def tuning_table(tuned: Tuned) -> Table:
    """What every source reached, and the fusion, on the validation users."""
    from rich.text import Text

    shown = [name for name in ("recall@1", "recall@10", "ndcg@10", "mrr") if name in tuned.rows[0].metrics]
    table = new_table("method", *shown, title=f"{tuned.users:,} validation users")
    for row in tuned.rows:
        table.add_row(Text(row.method), *(f"{row.metrics[name]:.4f} ±{row.errors[name]:.3f}" for name in shown))
    return table
