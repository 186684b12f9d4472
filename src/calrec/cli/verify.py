"""``calrec verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    result: Annotated[Path, typer.Argument(help="A result's folder.")],
    data: Annotated[
        Path | None, typer.Option(help="The domain; with it targets and ranks are checked as well.")
    ] = None,
) -> None:
    """Compute a result's metrics again from its per-user rankings, and fail on any difference.

    Example: calrec verify results/markov --data domains/PASTRY
    """
    from rich.console import Console

    from calrec.data.store import load_domain
    from calrec.errors import DataError
    from calrec.evaluation.result import load_result
    from calrec.evaluation.verify import faults

    loaded = load_result(result)
    found = faults(loaded, load_domain(data) if data is not None else None)
    if found:
        raise DataError(f"{result} does not verify: {'; '.join(found)}")
    Console().print(f"{result} verifies: {len(loaded.rankings):,} users, protocol {loaded.summary.protocol_hash[:12]}")
