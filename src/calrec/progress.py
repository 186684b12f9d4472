"""The bar of long work: on standard error, since results belong on standard output; and how long it took."""

from __future__ import annotations

import sys
from typing import Any

# In a log, which keeps every state of a bar, short work shows none and long work now and then one.
_IN_A_LOG = {"delay": 10, "mininterval": 30}


def progress_bar(what: str, total: int, done: int = 0, stays: bool = False) -> Any:
    """A tqdm bar.

    Args:
        what: is done. total: steps of it, of which ``done`` are done already.
        stays: whether the bar is still to be seen at the end.
    """
    from tqdm import tqdm  # no command's start waits for it

    seldom = {} if sys.stderr.isatty() else _IN_A_LOG
    return tqdm(desc=what, total=total, initial=done, leave=stays, dynamic_ncols=True, file=sys.stderr, **seldom)


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``8 s``, ``51 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
