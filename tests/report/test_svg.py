"""Plots that stand in a page."""

from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")

from calrec.report.svg import COLOURS, MARKERS, key, plot, series

HOSTILE = "<script>alert(1)</script> $x^2$ \u65e5\u672c"


def drawn(name="a", label=HOSTILE):
    def draw(axes):
        axes.errorbar([1, 2], [0, 1], xerr=[0.1, 0.2], **series(1))
        axes.set_yticks([0, 1], [label, "plain"])

    return plot(name, "Title <b>", (4.0, 3.0), draw).svg


def test_text_stays_text_whatever_it_says(recwarn):
    root = ElementTree.fromstring(drawn())
    assert HOSTILE in "".join(root.itertext())
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert root.get("aria-label") == "Title <b>"
    assert not recwarn.list


def test_it_refers_to_nothing_but_itself_and_two_plots_share_no_id():
    one, other = (ElementTree.fromstring(drawn(name)) for name in ("a", "b"))
    ids = [{e.get("id") for e in root.iter() if e.get("id")} for root in (one, other)]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])
    for root, own in zip((one, other), ids, strict=True):
        for element in root.iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value[0] == "#"
                    assert value[1:] in own
                if "url(" in value:
                    assert value.removeprefix("url(#").removesuffix(")") in own


def test_colours_are_the_pages():
    svg = drawn() + key("k", 0)
    assert "var(--series-1)" in svg
    assert "var(--series-0)" in svg
    assert "currentColor" in svg
    assert not [colour for colour in (*COLOURS, "#000000") if colour in svg]


def test_the_same_data_gives_the_same_picture():
    assert drawn() == drawn()


def test_many_series_differ():
    looks = {tuple(series(number).values()) for number in range(len(COLOURS) * len(MARKERS))}
    assert len(looks) == len(COLOURS) * len(MARKERS)
