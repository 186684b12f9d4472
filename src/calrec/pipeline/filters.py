"""Which items may be recommended in a request."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calrec.errors import DataError
from calrec.records import Catalogue, History

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Filter:
    """A request's allowed items: those that pass all three conditions.

    Attributes:
        allow: ids; None allows all.
        exclude: ids that are left out; ids that the catalogue does not have are no error, since nothing is lost.
        where: attribute -> values, one of which an item must have, in any case.
    """

    allow: Collection[str] | None = None
    exclude: Collection[str] = ()
    where: Mapping[str, Collection[str]] = field(default_factory=dict)

    def mask(self, catalogue: Catalogue) -> Mask:
        """(I,) whether each item passes.

        Raises:
            DataError: an id in ``allow`` that the catalogue does not have, or an attribute that no item has.
        """
        passes = np.ones(len(catalogue), dtype=bool)
        if self.allow is not None:
            unknown = [item_id for item_id in self.allow if item_id not in catalogue.positions]
            if unknown:
                raise DataError(f"allow: item {unknown[0]!r} is not in the catalogue")
            passes[:] = False
            passes[catalogue.columns(list(self.allow))] = True
        passes[catalogue.columns(list(self.exclude))] = False
        for name, values in self.where.items():
            known = {attribute for item in catalogue.items for attribute in item.attributes}
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1) or sorted(known)
                raise DataError(f"where: no item has the attribute {name!r}; did you mean {near[0]!r}?")
            wanted = {value.casefold() for value in values}
            passes &= [item.attributes.get(name, "").casefold() in wanted for item in catalogue.items]
        return passes


def allowed_items(
    catalogue: Catalogue, histories: Sequence[History], filters: Filter | Sequence[Filter] | None, exclude_last: bool
) -> list[Mask | None]:
    """For each history the items that may be recommended, (I,); None allows all.

    Args:
        filters: one for all histories, or one for each.
        exclude_last: whether a history's last item is left out too.

    Raises:
        DataError: as `Filter.mask`, or not as many filters as histories.
    """
    if filters is None or isinstance(filters, Filter):
        shared = None if filters is None else filters.mask(catalogue)
        masks: list[Mask | None] = [shared] * len(histories)
    else:
        if len(filters) != len(histories):
            raise DataError(f"{len(filters)} filters for {len(histories)} histories: give one, or one for each")
        masks = [of_one.mask(catalogue) for of_one in filters]
    if not exclude_last:
        return masks
    without_last: list[Mask | None] = []
    for mask, history in zip(masks, histories, strict=True):
        allowed = np.ones(len(catalogue), dtype=bool) if mask is None else mask.copy()
        allowed[catalogue.columns(history.item_ids[-1:])] = False
        without_last.append(allowed)
    return without_last
