"""Methods without a generative model, each fitted from a domain's training sequences: the rows to beat."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from calrec.baselines.baseline import Baseline
from calrec.baselines.item_knn import ItemKnn
from calrec.baselines.last_item_bm25 import LastItemBm25
from calrec.baselines.markov import Markov
from calrec.baselines.popularity import Popularity
from calrec.baselines.sequential import Bert4Rec, Gru4Rec, SasRec, UniSRec
from calrec.baselines.user_history import UserHistory
from calrec.data.store import Domain
from calrec.errors import ConfigError
from calrec.settings import Settings, read_settings

__all__ = ["BASELINES", "SEQUENTIAL", "Baseline", "baseline_of", "baseline_settings", "fit_baseline"]

#: Fitted in seconds.
BASELINES: Mapping[str, type[Baseline[Any]]] = {
    method.name: method for method in (Popularity, UserHistory, Markov, ItemKnn, LastItemBm25)
}
#: Neural ones, trained for minutes.
SEQUENTIAL: Mapping[str, type[Baseline[Any]]] = {method.name: method for method in (SasRec, Gru4Rec, Bert4Rec, UniSRec)}


def fit_baseline(name: str, domain: Domain, overrides: Sequence[str] = ()) -> Baseline[Any]:
    """Fit a baseline by name.

    Args:
        name: one of :data:`BASELINES` or :data:`SEQUENTIAL`.
        domain: what it learns from: every sequence without its last two items.
        overrides: ``KEY=VALUE`` for settings that differ from the defaults.

    Raises:
        ConfigError: there is no such baseline, or it has no such setting, or not with this value.
    """
    return baseline_of(name)(domain, baseline_settings(name, overrides))


def baseline_of(name: str) -> type[Baseline[Any]]:
    """The class of a baseline.

    Raises:
        ConfigError: there is no such baseline.
    """
    known = {**BASELINES, **SEQUENTIAL}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise ConfigError(f"{name!r} is no baseline: {mend}")
    return known[name]


def baseline_settings(name: str, overrides: Sequence[str] = ()) -> Settings:
    """The settings of a baseline. Arguments and errors as for `fit_baseline`."""
    return read_settings(baseline_of(name).settings_type, {}, overrides, f"baseline {name}")
