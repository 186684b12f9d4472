"""One file a source; each yields the same two frames. ``open_source`` recognises the form."""

from calrec.data.sources.opening import open_source
from calrec.data.sources.options import SourceOptions
from calrec.data.sources.source import Source

__all__ = ["Source", "SourceOptions", "open_source"]
