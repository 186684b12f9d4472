"""Groups of users in which methods differ: by target, by history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from calrec.data.store import Domain
from calrec.records import Example

_FREQUENCY = (
    (0, "target never in training"),
    (4, "1 to 4 times"),
    (19, "5 to 19 times"),
    (np.inf, "20 times and more"),
)
_LENGTH = ((2, "history of 1 or 2"), (5, "3 to 5"), (10, "6 to 10"), (np.inf, "11 and more"))


def slices_of(domain: Domain, examples: Sequence[Example]) -> Mapping[str, NDArray[np.bool_]]:
    """Name -> (U,) which users belong to the slice; slices without a user are left out."""
    frequency = np.array([domain.purchases[example.target] for example in examples])
    length = np.array([len(example.history) for example in examples])
    bought = np.array([example.target in example.history for example in examples])
    sharing = Counter(domain.text_groups.tolist())
    groups = domain.text_groups
    shared = np.array([sharing[groups[domain.catalogue.positions[e.target]]] > 1 for e in examples])
    slices = _binned(frequency, _FREQUENCY) | _binned(length, _LENGTH)
    slices |= {"target bought before": bought, "target not bought before": ~bought}
    slices |= {"target's text is shared": shared, "target's text is its own": ~shared}
    return {name: members for name, members in slices.items() if members.any()}


def _binned(values: NDArray[np.int64], bins: Sequence[tuple[float, str]]) -> dict[str, NDArray[np.bool_]]:
    members, low = {}, -1.0
    for high, name in bins:
        members[name] = (values > low) & (values <= high)
        low = high
    return members
