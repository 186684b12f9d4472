"""CALRec: contrastive alignment of generative LLMs for sequential recommendation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CALRec", "Filter", "__version__", "load_domain"]

if TYPE_CHECKING:
    from calrec.data.store import load_domain
    from calrec.pipeline import CALRec, Filter


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import calrec`` and ``calrec --help`` load neither torch nor polars."""
    if name in ("CALRec", "Filter"):
        from calrec import pipeline

        return getattr(pipeline, name)
    if name == "load_domain":
        from calrec.data.store import load_domain

        return load_domain
    raise AttributeError(f"module 'calrec' has no attribute {name!r}")
