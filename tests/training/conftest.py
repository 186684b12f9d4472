"""The objective of one batch in the plainest way."""

import pytest

from calrec.losses import contrastive_terms, objective


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
        if output.catalogue is not None:
            terms["catalogue"] = output.catalogue / len(batch["choices"]["place"])
        if output.vectors is not None:
            terms |= contrastive_terms(settings, *output.vectors, same_target=keys[:, None] == keys[None, :])
        return objective(settings, terms), terms

    return terms_of
