"""The loss over catalogues in training against walking through every target's text by plain passes."""

import numpy as np
import pytest
import torch

from calrec.losses import ObjectiveSettings
from calrec.model.towers import Towers
from calrec.records import Catalogue, History
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator
from calrec.training.choices import DomainDecisions
from calrec.training.sequences import DomainTexts, all_target_windows

CATALOGUE = ObjectiveSettings(next_item="catalogue")


@pytest.fixture
def two_domains(make_view, texts):
    """The tiny domain whole, and again with five of its nine items on sale, so that fewer decisions are left."""
    whole = make_view()
    columns = np.arange(0, 9, 2)
    fewer = whole.encoder.changed(columns, Catalogue(()))
    return [
        whole,
        DomainTexts(1, fewer, {f"i{column}": place for place, column in enumerate(columns)}, whole.keys[columns]),
    ]


def plain_sums(lm, views, windows):
    """(nats, decisions) of all targets: a softmax over what the catalogue allows, wherever that is several."""
    total, decisions = torch.zeros((), dtype=torch.float64), 0
    for window in windows:
        known = [tuple(item.tolist()) for item in views[window.domain].encoder.items]
        ids = torch.tensor(window.sequence.token_ids[None].astype("int64"))
        logits = lm(input_ids=ids).logits[0]
        for start, end in window.sequence.spans[window.first_target :].tolist():
            text = tuple(ids[0, start:end].tolist())
            for depth, token in enumerate(text):
                allowed = sorted({other[depth] for other in known if other[:depth] == text[:depth]})
                if len(allowed) > 1:
                    log_probs = logits[start + depth - 1, allowed].log_softmax(-1)
                    total, decisions = total - log_probs[allowed.index(token)], decisions + 1
    return total, decisions


@pytest.mark.parametrize("settings", [CATALOGUE, CATALOGUE.model_copy(update={"free_share": 0.25})])
def test_a_batch_equals_plain_passes(two_domains, texts, tiny_domain, tiny_lm, plain, settings):
    lm = tiny_lm.double()
    windows = all_target_windows(two_domains[0], tiny_domain.training_sequences())
    sold = two_domains[1].positions
    fewer = [History(h.user_id, tuple(i for i in h.item_ids if i in sold)) for h in tiny_domain.training_sequences()]
    windows += all_target_windows(two_domains[1], fewer)
    assert {window.domain for window in windows} == {0, 1}
    decisions = [DomainDecisions(view.encoder, view.keys) for view in two_domains]
    collator = Collator(texts, pad_id=0, decisions=decisions, free="nig" in settings.weights)
    loss, terms = plain(Alignment(Towers(lm), settings), collator(windows))
    total, count = plain_sums(lm, two_domains, windows)
    torch.testing.assert_close(terms["catalogue"], total / count, rtol=1e-9, atol=1e-9)
    weights = settings.weights
    expected = weights["catalogue"] * total / count
    others = sum(weights[name] * terms[name] for name in weights if name != "catalogue")
    for ours, theirs in zip(
        torch.autograd.grad(loss, lm.lm_head.weight, retain_graph=True),
        torch.autograd.grad(expected + others, lm.lm_head.weight),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)  # RMSNorm works in float32


def test_without_the_free_loss_decisions_alone_are_predicted(two_domains, texts, tiny_domain):
    windows = all_target_windows(two_domains[0], tiny_domain.training_sequences())
    decisions = [DomainDecisions(two_domains[0].encoder, two_domains[0].keys)]
    with_free, without = (Collator(texts, pad_id=0, decisions=decisions, free=free)(windows) for free in (True, False))
    assert len(without["labels"]) == len(without["choices"]["place"]) < len(with_free["labels"])
    chosen = with_free["choices"]["place"]
    for name in ("labels", "label_row", "label_position"):
        assert torch.equal(with_free[name][chosen], without[name])
