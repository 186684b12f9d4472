"""Methods without a generative model, each fitted from a domain's training sequences: the rows to beat."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from calrec.baselines.baseline import Baseline
from calrec.baselines.fused import FusedBaselines
from calrec.baselines.sequential import Bert4Rec, Gru4Rec, SasRec, UniSRec
from calrec.baselines.simple import BASELINES
from calrec.data.store import Domain
from calrec.errors import ConfigError
from calrec.settings import Settings, read_settings

__all__ = [
    "ALL_BASELINES",
    "BASELINES",
    "JOINED",
    "SEQUENTIAL",
    "Baseline",
    "baseline_of",
    "baseline_settings",
    "fit_baseline",
]

#: Made of several of `BASELINES`, so that they cannot be a part of what joins these.
JOINED: Mapping[str, type[Baseline[Any]]] = {FusedBaselines.name: FusedBaselines}
#: Neural ones, trained for minutes.
SEQUENTIAL: Mapping[str, type[Baseline[Any]]] = {method.name: method for method in (SasRec, Gru4Rec, Bert4Rec, UniSRec)}
#: All that can be fitted by name.
ALL_BASELINES: Mapping[str, type[Baseline[Any]]] = {**BASELINES, **JOINED, **SEQUENTIAL}


def fit_baseline(name: str, domain: Domain, overrides: Sequence[str] = ()) -> Baseline[Any]:
    """Fit a baseline by name.

    Args:
        name: one of :data:`ALL_BASELINES`.
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
    if name not in ALL_BASELINES:
        near = difflib.get_close_matches(name, ALL_BASELINES, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(ALL_BASELINES)}"
        raise ConfigError(f"{name!r} is no baseline: {mend}")
    return ALL_BASELINES[name]


def baseline_settings(name: str, overrides: Sequence[str] = ()) -> Settings:
    """The settings of a baseline. Arguments and errors as for `fit_baseline`."""
    return read_settings(baseline_of(name).settings_type, {}, overrides, f"baseline {name}")
