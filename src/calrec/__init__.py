"""CALRec: contrastive alignment of generative LLMs for sequential recommendation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CALRec", "__version__", "load_domain"]

if TYPE_CHECKING:
    from calrec.data.store import load_domain
    from calrec.pipeline import CALRec


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import calrec`` and ``calrec --help`` load neither torch nor polars."""
    if name == "CALRec":
        from calrec.pipeline import CALRec

        return CALRec
    if name == "load_domain":
        from calrec.data.store import load_domain

        return load_domain
    raise AttributeError(f"module 'calrec' has no attribute {name!r}")
