import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.data.sources.source import clean_text


def cleaned(text):
    return pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(clean_text(pl.col("text"))).item()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (None, ""),
        (" a\r\n\tb\x00c\u2028d\x85e ", "a b c d e"),
        ("Tom &amp; Jerry&#39;s &lt;3&#10;more", "Tom & Jerry's <3 more"),
        ("fish & chips", "fish & chips"),
        ("Tom &amp;amp; Jerry&amp;#39;s", "Tom & Jerry's"),
        ("&amp;lt;3 &amp;copy", "<3 &copy"),
    ],
)
def test_text_is_cleaned(raw, clean):
    assert cleaned(raw) == clean


@given(st.text())
def test_clean_text_is_one_line(text):
    clean = cleaned(text)
    assert len(clean.splitlines()) <= 1
    assert clean == clean.strip()
