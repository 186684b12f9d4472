"""Towers and objective on batches against slow code that takes one example at a time."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from calrec.losses import ObjectiveSettings, info_nce, next_item_nll
from calrec.model.layers import keeps_texts_apart, train_top_layers
from calrec.model.towers import Towers
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator
from calrec.training.sequences import all_target_windows, example_windows

SETTINGS = ObjectiveSettings(item_weight=0.3)


def separate_examples(windows):
    """Every (sequence up to the target, end of history, span, key) on its own, as the paper writes an example."""
    for window in windows:
        for place in range(window.first_target, len(window.sequence.spans)):
            start, end = window.sequence.spans[place]
            yield window.sequence.token_ids[:end], window.sequence.spans[place - 1, 1], (start, end), window.keys[place]


def slow_terms(lm, texts, windows):
    """The paper's terms with no batching at all."""
    users, givens, targets, keys, nll, tokens = [], [], [], [], 0.0, 0
    for token_ids, history_end, (start, end), key in separate_examples(windows):
        ids = torch.tensor(token_ids[None].astype("int64"))
        out = lm(input_ids=ids, output_hidden_states=True)
        states = out.hidden_states[-1][0]
        users.append(states[:history_end].mean(0))
        givens.append(states[start:end].mean(0))
        labels = torch.full_like(ids, -100)
        labels[0, start:end] = ids[0, start:end]
        nll = nll + next_item_nll(out.logits, labels) * (end - start)
        tokens += int(end - start)
        item = texts.items[key]
        alone = torch.tensor(item.token_ids[None].astype("int64"))
        a, b = item.spans[0]
        targets.append(lm(input_ids=alone, output_hidden_states=True).hidden_states[-1][0][a:b].mean(0))
        keys.append(int(key))
    same = torch.tensor(keys)[:, None] == torch.tensor(keys)[None]
    user, given, target = map(torch.stack, (users, givens, targets))
    return {"nig": nll / tokens, "tt": info_nce(target, given, 0.5, same), "ut": info_nce(target, user, 0.5, same)}


@pytest.mark.parametrize("targets", ["last", "all"])
@pytest.mark.parametrize("train_layers", [None, 1])
def test_a_batch_equals_separate_examples(make_view, texts, tiny_domain, tiny_lm, plain, targets, train_layers):
    view, lm = make_view(), tiny_lm.double()
    if targets == "last":
        windows = example_windows(view, tiny_domain.split("train"))
    else:
        windows = all_target_windows(view, tiny_domain.training_sequences())
    train_top_layers(lm, train_layers)
    alignment = Alignment(Towers(lm), ObjectiveSettings())
    loss, terms = plain(alignment, Collator(texts, pad_id=0)(windows))
    expected = slow_terms(lm, texts, windows)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-9, atol=1e-9)

    trained = [p for p in lm.parameters() if p.requires_grad]
    total = 0.85 * expected["nig"] + 0.125 * expected["tt"] + 0.025 * expected["ut"]
    for one, other in zip(torch.autograd.grad(loss, trained), torch.autograd.grad(total, trained), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)  # RMSNorm works in float32


def test_texts_that_share_a_row_do_not_see_each_other(make_view, texts, tiny_domain, family_lm):
    windows = all_target_windows(make_view(), tiny_domain.training_sequences())
    batch = Collator(texts, pad_id=0)(windows)
    towers = Towers(family_lm)
    assert len(batch["item_ids"]) < len(batch["item_row"])
    states = towers.states(batch["item_ids"], None, batch["item_positions"])
    for key in sorted(set(batch["target_key"].tolist())):
        place = int(batch["target_item"][batch["target_key"] == key][0])
        row, start, end = (int(batch[name][place]) for name in ("item_row", "item_start", "item_end"))
        alone = towers.states(torch.tensor(texts.items[key].token_ids[None].astype("int64")))
        torch.testing.assert_close(states[row, start:end], alone[0, : end - start], rtol=1e-9, atol=1e-9)


def test_where_a_family_mixes_what_shares_a_row_each_text_has_its_own(make_view, texts, tiny_domain, family_lm):
    config = AutoConfig.for_model("qwen3_next", num_hidden_layers=1, hidden_size=16, vocab_size=16)
    with torch.device("meta"):
        assert not keeps_texts_apart(AutoModelForCausalLM.from_config(config))
    assert keeps_texts_apart(family_lm)
    windows = all_target_windows(make_view(), tiny_domain.training_sequences())
    shared, alone = (Collator(texts, pad_id=0, shared_rows=share)(windows) for share in (True, False))
    assert len(alone["item_ids"]) == len(alone["item_row"]) > len(shared["item_ids"])
    assert (alone["item_positions"] == torch.arange(alone["item_ids"].shape[1])).all()
    with torch.no_grad():
        ours, theirs = (Towers(family_lm)(**tensors_of(batch)).target for batch in (shared, alone))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def tensors_of(batch):
    return {name: value for name, value in batch.items() if name not in ("labels", "target_key", "users")}


def test_the_items_own_loss_is_that_of_their_texts(make_view, texts, tiny_domain, tiny_lm, plain):
    view, lm = make_view(), tiny_lm.double()
    windows = example_windows(view, tiny_domain.split("train"))
    _, terms = plain(Alignment(Towers(lm), SETTINGS), Collator(texts, pad_id=0, item_labels=True)(windows))
    keys = sorted({int(window.keys[-1]) for window in windows})
    total, tokens = 0.0, 0
    for key in keys:
        ids = torch.tensor(texts.items[key].token_ids[None].astype("int64"))
        total += next_item_nll(lm(input_ids=ids).logits, ids).item() * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert terms["item"].item() == pytest.approx(total / tokens, rel=1e-9)


def test_more_texts_of_the_catalogue_are_learnt_and_contrast_with_nothing(
    make_view, texts, tiny_domain, tiny_lm, plain
):
    view, lm = make_view(), tiny_lm.double()
    windows = example_windows(view, tiny_domain.split("train"))[:2]
    keys = {int(window.keys[-1]) for window in windows}
    alignment, collator = Alignment(Towers(lm), SETTINGS), Collator(texts, pad_id=0, item_labels=True)
    _, without = plain(alignment, collator(windows))
    batch = collator([*windows, *range(len(texts.items))])
    _, with_all = plain(alignment, batch)
    assert len(batch["item_row"]) == len(texts.items) > len(keys)
    for name in ("nig", "tt", "ut"):
        torch.testing.assert_close(with_all[name], without[name], rtol=1e-9, atol=0)
    whole = [torch.tensor(item.token_ids[None].astype("int64")) for item in texts.items]
    total = sum(next_item_nll(lm(input_ids=ids).logits, ids).item() * (ids.shape[1] - 1) for ids in whole)
    assert with_all["item"].item() == pytest.approx(total / sum(ids.shape[1] - 1 for ids in whole), rel=1e-6)
