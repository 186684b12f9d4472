"""Retrieval by vectors: exact inner products, or a graph of neighbours where items are very many."""

from calrec.retrieval.dense.index import DenseIndex, DenseSettings

__all__ = ["DenseIndex", "DenseSettings"]
