"""The trunk's cached states give what the trunk gives, within the precision of the cache."""

import logging

import pytest
import torch

from calrec.losses import ObjectiveSettings
from calrec.model.layers import train_top_layers
from calrec.model.towers import Towers
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator
from calrec.training.sequences import all_target_windows
from calrec.training.trunk_cache import trunk_cache


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def windows(make_view, tiny_domain):
    return all_target_windows(make_view(), tiny_domain.training_sequences())


@pytest.fixture
def sequences(windows, texts):
    return [*(window.sequence for window in windows), *texts.items]


@pytest.fixture
def towers(tiny_lm):
    train_top_layers(tiny_lm, 1)
    return Towers(tiny_lm)


def test_cached_equals_uncached(towers, windows, sequences, texts, folder, plain):
    cache = trunk_cache(towers, sequences, folder, limit_gb=1, passes=2)
    alignment = Alignment(towers, ObjectiveSettings(item_weight=0.1))
    results = []
    for trunk in (None, cache):
        loss, terms = plain(alignment, Collator(texts, 0, item_labels=True, trunk=trunk)(windows))
        trained = [p for p in towers.parameters() if p.requires_grad]
        results.append((terms, torch.autograd.grad(loss, trained)))
    (uncached, uncached_grads), (cached, cached_grads) = results
    for name, value in uncached.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-3, atol=1e-4)
    for one, other in zip(cached_grads, uncached_grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)


def test_the_trunk_does_not_run_where_its_states_are_known(
    towers, windows, sequences, texts, folder, plain, monkeypatch
):
    cache = trunk_cache(towers, sequences, folder, limit_gb=1, passes=2)
    monkeypatch.setattr(Towers, "trunk", lambda *_: pytest.fail("the trunk ran"))
    plain(Alignment(towers, ObjectiveSettings()), Collator(texts, 0, trunk=cache)(windows))


def test_a_cache_is_found_again_and_other_weights_make_another(towers, sequences, folder):
    trunk_cache(towers, sequences, folder, limit_gb=1, passes=2)
    (first,) = folder.iterdir()
    written = first.stat().st_mtime_ns
    trunk_cache(towers, sequences, folder, limit_gb=1, passes=2)
    assert [(path, path.stat().st_mtime_ns) for path in folder.iterdir()] == [(first, written)]
    with torch.no_grad():
        towers.lm.model.embed_tokens.weight[0, 0] += 1
    trunk_cache(towers, sequences, folder, limit_gb=1, passes=2)
    # The one before is of no use any more, and may be large.
    (second,) = folder.iterdir()
    assert second != first


@pytest.mark.parametrize(
    ("limit_gb", "passes", "said"), [(0, 5, ""), (1, 1, "sees its data once"), (1e-9, 5, "cache_gb is 1e-09")]
)
def test_where_it_does_not_pay_or_fit_there_is_none(towers, sequences, folder, caplog, limit_gb, passes, said):
    assert trunk_cache(towers, sequences, folder, limit_gb, passes) is None
    assert not list(folder.glob("*"))
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_without_a_frozen_layer_there_is_nothing_to_keep(backbone, sequences, folder, caplog):
    with caplog.at_level(logging.INFO):
        assert trunk_cache(Towers(backbone.lm), sequences, folder, limit_gb=1, passes=5) is None
    (record,) = caplog.records
    assert "no layer is frozen" in record.message
    assert record.levelno == logging.INFO  # nothing is amiss


def test_states_beyond_float16_are_not_kept(towers, sequences, folder, monkeypatch, caplog):
    monkeypatch.setattr(Towers, "trunk", lambda self, ids: torch.full((*ids.shape, 16), 1e6))
    with caplog.at_level(logging.WARNING):
        assert trunk_cache(towers, sequences, folder, limit_gb=1, passes=2) is None
    assert "float16" in caplog.text
    assert not list(folder.glob("*"))
