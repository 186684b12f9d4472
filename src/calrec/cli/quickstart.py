"""``calrec quickstart``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    out: Annotated[Path, typer.Option(help="Where everything goes; a second call goes on there.")] = Path("quickstart"),
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave an accelerator alone.")] = False,
) -> None:
    """See the whole of it in minutes: real purchases, a real model, both stages, baselines, recommendations.

    Example: calrec quickstart --out /tmp/quickstart
    """
    from rich.console import Console

    from calrec.quickstart import run_quickstart

    run_quickstart(out, Console(), cpu)
