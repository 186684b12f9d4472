"""A stage's learning curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from calrec.atomic import replacing

_NAMES = {
    "loss": "objective",
    "nig": "L_NIG, nats a token",
    "tt": "L_TT",
    "ut": "L_UT",
    "item": "items' own text, nats a token",
}


def plot_curves(log_history: Sequence[Mapping[str, float]], path: Path) -> bool:
    """Draw every term over the updates, training as a line and validation as points.

    Args:
        log_history: of transformers' Trainer; ``tt`` is training, ``eval_tt`` validation.
        path: of a PNG or SVG.

    Returns:
        False where matplotlib is not installed, and nothing was drawn.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    terms = [name for name in _NAMES if any(name in entry for entry in log_history)]
    figure = Figure(figsize=(4 * len(terms), 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
        for key, style, label in ((name, "-", "training"), (f"eval_{name}", "o--", "validation")):
            points = [(entry["step"], entry[key]) for entry in log_history if key in entry and "step" in entry]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1.2)
        axes.set_title(_NAMES[name], fontsize=10)
        axes.set_xlabel("update")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    with replacing(path) as part:
        figure.savefig(part, dpi=150)
    return True
