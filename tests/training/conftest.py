"""A tiny domain, encoded for training in float64, and the objective of one batch in the plainest way."""

import pytest

from calrec.losses import contrastive_terms, objective
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


@pytest.fixture
def plain():
    """The terms of a batch that is a whole update, and their weighted sum, by nothing but autograd."""

    def terms_of(alignment, batch):
        keys = batch["target_key"]
        inputs = {name: value for name, value in batch.items() if name not in ("target_key", "users")}
        output, settings = alignment(**inputs), alignment.settings
        terms = {"nig": output.next_item, "item": output.item}
        counts = {"nig": "labels", "item": "item_labels"}
        terms = {name: term / batch[counts[name]].numel() for name, term in terms.items() if term is not None}
        if output.vectors is not None:
            terms |= contrastive_terms(settings, *output.vectors, same_target=keys[:, None] == keys[None, :])
        return objective(settings, terms), terms

    return terms_of
