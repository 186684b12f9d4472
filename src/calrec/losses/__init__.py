"""The paper's losses, as functions of tensors."""

from calrec.losses.catalogue import Choices, catalogue_nll
from calrec.losses.info_nce import info_nce
from calrec.losses.next_item import linear_nll, next_item_nll
from calrec.losses.objective import ObjectiveSettings, contrastive_terms, objective

__all__ = [
    "Choices",
    "ObjectiveSettings",
    "catalogue_nll",
    "contrastive_terms",
    "info_nce",
    "linear_nll",
    "next_item_nll",
    "objective",
]
