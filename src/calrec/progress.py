"""The bar of long work: on standard error, since results belong on standard output."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

# In a log, which keeps every state of a bar, short work shows none and long work now and then one.
_IN_A_LOG = {"delay": 10, "mininterval": 30}


def progress_bar(what: str, total: int, done: int = 0, stays: bool = False) -> Any:
    """A tqdm bar.

    Args:
        what: is done. total: steps of it, of which ``done`` are done already.
        stays: whether the bar is still to be seen at the end.
    """
    seldom = {} if sys.stderr.isatty() else _IN_A_LOG
    return tqdm(desc=what, total=total, initial=done, leave=stays, dynamic_ncols=True, file=sys.stderr, **seldom)
