"""From texts and vectors to items, and the ways to join several rankings into one."""

from calrec.retrieval.bm25 import Bm25Index, Bm25Settings
from calrec.retrieval.dense import DenseIndex, DenseSettings
from calrec.retrieval.fusion import FusionSettings, fuse, gains
from calrec.retrieval.round_robin import min_max, quasi_round_robin

__all__ = [
    "Bm25Index",
    "Bm25Settings",
    "DenseIndex",
    "DenseSettings",
    "FusionSettings",
    "fuse",
    "gains",
    "min_max",
    "quasi_round_robin",
]
