"""From texts to items: BM25 over the catalogue, and the paper's way to join the rankings of several predictions."""

from calrec.retrieval.bm25 import Bm25Index, Bm25Settings
from calrec.retrieval.round_robin import min_max, quasi_round_robin

__all__ = ["Bm25Index", "Bm25Settings", "min_max", "quasi_round_robin"]
