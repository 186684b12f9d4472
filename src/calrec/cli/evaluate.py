"""``calrec evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from calrec.data.store import Domain
    from calrec.protocol import Recommender


def evaluate(
    method: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_BASELINE",
            help="A run's folder, or popularity, user-history, markov, item-knn, bm25, all these joined: "
            "fused-baselines, or trained for minutes: sasrec, gru4rec, bert4rec, unisrec.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="A prepared domain.")],
    out: Annotated[Path, typer.Option(help="The result's folder; another result that is there is replaced.")],
    how: Annotated[
        str | None,
        typer.Option("--method", help="How a run ranks: samples (the paper's), beam, towers, likelihood or fused."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, or valid to choose settings by.")] = "test",
    users: Annotated[int | None, typer.Option(min=1, help="A fixed sample of so many users (all).")] = None,
    exclude_last: Annotated[
        bool | None,
        typer.Option(
            "--exclude-last/--include-last",
            help="Take the history's last item out of the ranking, or leave it in (out, where the domain has no item "
            "twice in a row).",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Users scored together, and the most that sampling.batch_users can join.")
    ] = 16,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the method.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print result.json.")] = False,
) -> None:
    """Rank the whole catalogue for the users of a split.

    The ranking is a trained run's or a baseline's, and a user for whom it finds nothing counts as a miss. An
    interrupted evaluation goes on when the same command is called again.

    Example: calrec evaluate markov --data domains/PASTRY --split test --out results/markov
    """
    from rich.console import Console

    from calrec.cli.compare import print_results
    from calrec.data.store import load_domain
    from calrec.errors import ConfigError
    from calrec.evaluation import evaluate as evaluate_method

    if split not in ("test", "valid"):
        raise ConfigError(f"--split {split}: choose test or valid")
    domain = load_domain(data)
    recommender, settings = ready(method, domain, set_ or (), how, cpu)
    result = evaluate_method(
        recommender,
        domain,
        split,  # type: ignore[arg-type]
        out,
        users=users,
        last_excluded=exclude_last,
        batch_size=batch_size,
        settings=settings,
    )
    if json_:
        typer.echo(result.summary.model_dump_json(indent=2))
    else:
        print_results(Console(), [result])
        typer.echo(f"The result is in {out}.", err=True)


def with_method(method: str | None, overrides: Sequence[str] | None) -> list[str]:
    """The overrides, ``--method`` among them: it is ``--set method=…``."""
    return [*(overrides or ()), *([] if method is None else [f"method={method}"])]


def ready(
    method: str, domain: Domain, overrides: Sequence[str], how: str | None = None, use_cpu: bool = False
) -> tuple[Recommender, dict[str, Any]]:
    """A recommender by the name of a baseline or the folder of a run, and what it was set to.

    Raises:
        ConfigError: neither a baseline nor a folder, an unknown setting, or a baseline that is to rank as runs do.
        ModelError: the folder is no run.
    """
    import difflib

    from calrec.baselines import ALL_BASELINES, fit_baseline
    from calrec.errors import ConfigError

    known = [*ALL_BASELINES]
    if method in known:
        if how is not None:
            raise ConfigError(f"--method {how} says how a trained run ranks, and {method} is a baseline: leave it out")
        baseline = fit_baseline(method, domain, overrides)
        return baseline, baseline.described
    if not Path(method).is_dir():
        near = difflib.get_close_matches(method, known, n=1)
        mend = f"did you mean {near[0]}?" if near else f"baselines are {', '.join(known)}"
        raise ConfigError(f"{method} is neither a run's folder nor a baseline: {mend}")

    from calrec.pipeline import CALRec
    from calrec.pipeline.tuned import load_inference

    settings = load_inference(Path(method), with_method(how, overrides))
    recommender = CALRec.for_domain(method, domain, settings, "cpu" if use_cpu else None)
    return recommender, recommender.described
