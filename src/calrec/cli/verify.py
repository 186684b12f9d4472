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

    Its metrics are computed again from the rankings of every user, and any difference is an error.

    Example: calrec verify results/markov --data domains/PASTRY
    """
    from calrec.data.store import load_domain
    from calrec.errors import DataError
    from calrec.evaluation.result import load_result
    from calrec.evaluation.verify import faults

    loaded = load_result(result)
    found = faults(loaded, load_domain(data) if data is not None else None)
    if found:
        raise DataError(f"{result} does not verify: {'; '.join(found)}")
    typer.echo(f"{result} verifies: {len(loaded.rankings):,} users, protocol {loaded.summary.protocol_hash[:12]}")
