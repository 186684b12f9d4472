"""BM25 of short texts over a catalogue: exact, memory-mapped, and kept up when items come and go.

A library was there before (bm25s); it cannot change an index, and looks at every item for every query.
"""

from calrec.retrieval.bm25.index import Bm25Index, Bm25Settings

__all__ = ["Bm25Index", "Bm25Settings"]
