"""A tiny domain, encoded for training in float64."""

import pytest

from calrec.text.encode import LengthSettings, SequenceEncoder
from calrec.text.item_text import ItemText, TextSettings
from calrec.training.sequences import DomainTexts, Texts

TEXT = TextSettings(attributes=["title"], user_prefix="U", first_item_prefix="F", next_item_prefix="N")


@pytest.fixture
def texts():
    return Texts()


@pytest.fixture
def make_view(tiny_domain, byte_tokens, texts):
    """Encodes the tiny domain under given limits of length."""

    def make(**lengths):
        catalogue = tiny_domain.catalogue_with_texts(ItemText(TEXT))
        encoder = SequenceEncoder(byte_tokens, TEXT, catalogue, LengthSettings(**lengths))
        return DomainTexts(0, encoder, dict(catalogue.positions), texts.keys(encoder))

    return make
