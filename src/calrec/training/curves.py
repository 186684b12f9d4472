"""A stage's learning curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calrec.atomic import replacing

#: What a stage minimises and its terms: name in the log -> name for people.
TERMS = {
    "loss": "objective",
    "nig": "L_NIG, nats a token",
    "catalogue": "over the catalogue, nats a decision",
    "catalogue_item": "over the catalogue, nats an item",
    "tt": "L_TT",
    "ut": "L_UT",
    "item": "items' own text, nats a token",
}

History = Sequence[Mapping[str, float]]


def terms_of(log_history: History) -> list[str]:
    """The terms that a log has, in the order of ``TERMS``."""
    return [name for name in TERMS if any(name in entry for entry in log_history)]


def draw_term(axes: Any, log_history: History, name: str) -> None:
    """One term over the updates: training as a line, validation as points.

    Args:
        axes: of matplotlib.
        log_history: of transformers' Trainer; ``tt`` is training, ``eval_tt`` validation.
        name: of the term.
    """
    for key, style, label in ((name, "-", "training"), (f"eval_{name}", "o--", "validation")):
        points = [(entry["step"], entry[key]) for entry in log_history if key in entry and "step" in entry]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1.2)
    axes.set_xlabel("update")


def plot_curves(log_history: History, path: Path) -> bool:
    """Draw every term beside the others.

    Args:
        log_history: as for ``draw_term``.
        path: of a PNG or SVG.

    Returns:
        False where matplotlib is not installed, and nothing was drawn.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    terms = terms_of(log_history)
    figure = Figure(figsize=(4 * len(terms), 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
        draw_term(axes, log_history, name)
        axes.set_title(TERMS[name], fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    with replacing(path) as part:
        figure.savefig(part, dpi=150)
    return True
