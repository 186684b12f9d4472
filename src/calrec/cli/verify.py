"""``calrec verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A result's folder.")],
    data: Annotated[
        Path | None, typer.Option(help="The domain; with it targets and ranks are checked as well.")
    ] = None,
) -> None:
    """Check a result against its own rankings.

    Its metrics are computed again from the rankings of every user, and any difference is an error. With the domain, so
    are its users, targets and slices, and what a model wrote is grounded again.

    Example: calrec verify results/markov --data domains/PASTRY
    """
    from calrec.data.store import load_domain
    from calrec.evaluation.result import load_result
    from calrec.evaluation.verify import require_verified
    from calrec.pipeline.regrounded import Regrounded

    loaded, domain = load_result(result), load_domain(data) if data is not None else None
    again = Regrounded.of_result(loaded.rankings, loaded.summary.settings, domain) if domain else None
    require_verified(loaded, domain, again)
    checked = f"{len(loaded.rankings):,} users" + (", their texts grounded again" if again else "")
    typer.echo(f"{result} verifies: {checked}, protocol {loaded.summary.protocol_hash[:12]}")
