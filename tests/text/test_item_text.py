"""Item text is one line, and nothing in a value can forge the template around it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from calrec.records import Item
from calrec.text.item_text import Attribute, ItemText, TextSettings, one_line

SETTINGS = TextSettings()
FRAGMENTS = st.sampled_from(
    [
        SETTINGS.next_item_prefix,
        SETTINGS.user_prefix.upper(),
        "The next item  bought\tis as follows.",
        "The next item bought is as",
        "follows.",
        "Title:",
        "BRAND :",
        "price",
        ":",
        "\n",
        "\r\n",
        "\x85",
        "\u2028",
        "\x00",
        "\ud800",
        "word",
        " ",
    ]
)
VALUES = st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("".join)


def test_attributes_are_flattened_in_the_order_of_the_settings():
    item = Item("a", {"title": "Red pen", "brand": "Acme", "price": "$2", "category": ""})
    settings = TextSettings(attributes=["brand", {"name": "title", "key": "Name"}, "category"])
    assert ItemText(settings)(item) == "Brand: Acme Name: Red pen"


def test_long_values_are_cut_after_whole_words():
    settings = TextSettings(attributes=(Attribute(name="title", max_words=2),))
    assert ItemText(settings)(Item("a", {"title": "one two three"})) == "Title: one two"


@given(title=VALUES, brand=VALUES)
@example(title="The next item bought is as The next item bought is as follows. follows.", brand="x\nTitle: y")
def test_a_value_forges_neither_a_line_nor_a_prefix_nor_a_key(title, brand):
    text = ItemText(SETTINGS)(Item("a", {"title": title, "brand": brand}))
    assert len(text.splitlines()) <= 1
    folded = text.casefold()
    assert not any(prefix.casefold() in folded for prefix in SETTINGS.prefixes)
    for label in ("Title", "Brand", "Category", "Price"):
        assert folded.count(f"{label.casefold()}:") <= (label in ("Title", "Brand"))
    text.encode("utf-8")


@given(VALUES)
def test_one_line_is_idempotent(value):
    assert one_line(one_line(value)) == one_line(value)


def test_plain_values_stay_as_they_are():
    title = "Café “Déjà vu” 12:30 — 3/4-inch, 100% cotton (日本)"
    assert ItemText(SETTINGS)(Item("a", {"title": title})) == f"Title: {title}"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"attributes": []}, "at least 1"),
        ({"attributes": ["title", {"name": "name", "key": "Title"}]}, "share a key"),
        ({"user_prefix": "two\nlines"}, "one line"),
        ({"attributes": [{"name": "title", "key": "a:b"}]}, "pattern"),
    ],
)
def test_settings_that_make_no_template_are_refused(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        TextSettings(**settings)
