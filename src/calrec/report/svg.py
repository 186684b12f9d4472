"""Plots as SVG that stands in a page: its text stays text, its colours are the page's, light or dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_UNUSED = (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")
_HREF = f"{{{_XLINK}}}href"
_URL = re.compile(r"(?<=url\(#)[^)]+")
#: Colours of series: matplotlib draws with these stand-ins, the page's style sheet says what they are.
COLOURS = tuple(f"#c0ffe{number}" for number in range(8))
#: Eight colours and seven markers make 56 series that differ.
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "calrec",
    "text.parse_math": False,
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "black",
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "lines.markersize": 5.0,
}


@dataclass(frozen=True)
class Plot:
    """A title and its picture, an ``<svg>`` with the title as its name."""

    title: str
    svg: Markup


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def series(number: int) -> dict[str, Any]:
    """Colour and marker of the n-th series."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def plot(name: str, title: str, size: tuple[float, float], draw: Callable[[Any], None]) -> Plot:
    """Draw on axes, and make the picture part of a page.

    Args:
        name: its own in the page; the picture's ids begin with it.
        title: what it shows.
        size: in inches of 72 units; text is 10 units high.
        draw: gets matplotlib's axes.
    """
    root = _drawn(size, draw)
    root.set("role", "img")
    root.set("aria-label", title)
    return Plot(title, _for_page(root, name))


def key(name: str, number: int) -> Markup:
    """The marker of the n-th series alone, for a legend; ``name`` as for ``plot``."""

    def draw(axes: Any) -> None:
        axes.scatter([0], [0], clip_on=False, **series(number))
        axes.set_axis_off()

    root = _drawn((0.2, 0.2), draw)
    root.set("aria-hidden", "true")
    return _for_page(root, name)


def _drawn(size: tuple[float, float], draw: Callable[[Any], None]) -> ElementTree.Element:
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    written = io.BytesIO()
    style = {**_STYLE, "axes.prop_cycle": cycler(color=COLOURS)}
    with rc_context(style), warnings.catch_warnings():
        # Letters that matplotlib's font lacks are no loss: the reader's browser draws the text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(written, format="svg", transparent=True)
    return ElementTree.fromstring(written.getvalue())


def _for_page(root: ElementTree.Element, name: str) -> Markup:
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    used = {id_ for element in root.iter() for value in element.attrib.values() for id_ in _referred(value)}
    for element in list(root.iter()):
        for child in [child for child in element if child.tag in _UNUSED]:
            element.remove(child)
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for attribute, value in element.attrib.items():
            element.set(attribute, _attribute(attribute, value, name))
    root.set("width", root.attrib["viewBox"].split()[2])
    del root.attrib["height"]
    # All of it is matplotlib's own, which escapes every text, and so does this.
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _referred(value: str) -> list[str]:
    return [value[1:]] if value.startswith("#") else _URL.findall(value)


def _attribute(attribute: str, value: str, name: str) -> str:
    if attribute == "id":
        return f"{name}-{value}"
    if attribute == _HREF:
        return f"#{name}-{value[1:]}"
    if attribute == "style":
        value = re.sub(r"font-family: [^;]*; ?", "", value).replace("#000000", "currentColor")
        for number, colour in enumerate(COLOURS):
            value = value.replace(colour, f"var(--series-{number})")
    return _URL.sub(lambda found: f"{name}-{found[0]}", value)
