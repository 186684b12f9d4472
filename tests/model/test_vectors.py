"""The retrieval vectors against the towers as training runs them, one example at a time."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from calrec.errors import ConfigError, DataError, ModelError
from calrec.model.batching import halved
from calrec.model.layers import train_top_layers
from calrec.model.towers import Towers
from calrec.model.vectors import item_vectors, user_vectors
from calrec.text.encode import EncodedSequence, LengthSettings, SequenceEncoder
from calrec.text.item_text import ItemText, TextSettings
from calrec.training.batches import Collator
from calrec.training.sequences import example_windows

NOT_TENSORS = ("labels", "target_key", "users")


@pytest.fixture
def view(make_view):
    return make_view()


def encoded(rng, length, start=0):
    tokens = rng.integers(0, 250, length).astype(np.int32)
    return EncodedSequence(tokens, np.asarray([(start, length)], dtype=np.int32), np.zeros(1, dtype=np.int32))


@pytest.fixture
def texts_of_all_lengths():
    rng = np.random.default_rng(5)
    return [encoded(rng, length) for length in (3, 70, 12, 1, 41, 12, 200, 7)]


@pytest.mark.parametrize("train_layers", [None, 1])
def test_they_are_what_the_losses_compare(view, texts, tiny_domain, tiny_lm, train_layers):
    lm = tiny_lm.double()
    train_top_layers(lm, train_layers)
    for example in tiny_domain.split("valid"):
        batch = Collator(texts, pad_id=0)(example_windows(view, [example]))
        with torch.no_grad():
            states = Towers(lm)(**{name: value for name, value in batch.items() if name not in NOT_TENSORS})
        history = [view.positions[item_id] for item_id in example.history]
        user = user_vectors(lm, [view.encoder.prompt(history)])
        item = item_vectors(lm, [view.encoder.item(view.positions[example.target])])
        for ours, trained in ((user, states.user), (item, states.target)):
            torch.testing.assert_close(ours, torch.nn.functional.normalize(trained).float().numpy(), rtol=0, atol=1e-7)
        cosine = torch.cosine_similarity(states.user, states.target).item()
        assert (user @ item.T).item() == pytest.approx(cosine, abs=1e-6)


def test_a_token_that_begins_every_text_counts_for_users_and_not_for_items(tiny_domain, byte_tokens, tiny_lm):
    """Gemma's tokenizer writes <bos> before everything; here any token does it."""
    text = TextSettings(attributes=["title"])
    encoder = SequenceEncoder(byte_tokens, text, tiny_domain.catalogue_with_texts(ItemText(text)), LengthSettings())
    encoder.bos = np.asarray([7], dtype=np.int32)
    item = encoder.item(0)
    with torch.no_grad():
        states = tiny_lm.model(torch.from_numpy(item.token_ids[None].astype(np.int64))).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states[1:].mean(dim=0), dim=0).numpy()
    np.testing.assert_allclose(item_vectors(tiny_lm, [item])[0], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_batch_changes_nothing_but_rounding(tiny_lm, texts_of_all_lengths, dtype):
    lm = tiny_lm.to(dtype)
    alone = np.concatenate([item_vectors(lm, [text]) for text in texts_of_all_lengths])
    for tokens_per_batch in (1, 90, 10_000):
        together = item_vectors(lm, texts_of_all_lengths, tokens_per_batch)
        assert together.dtype == np.float32
        np.testing.assert_allclose(together, alone, atol=1e-6 if dtype == torch.float32 else 1e-2)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_equal_texts_have_equal_vectors_to_the_bit(tiny_lm, texts_of_all_lengths):
    doubled = [*texts_of_all_lengths, *texts_of_all_lengths]
    done = []
    vectors = item_vectors(tiny_lm, doubled, tokens_per_batch=90, progress=done.append)
    assert (vectors[: len(texts_of_all_lengths)] == vectors[len(texts_of_all_lengths) :]).all()
    assert done == sorted(done)
    assert done[-1] == len(doubled)


def test_every_family_of_models(family_lm, texts_of_all_lengths):
    """Gemma3's windows slide over what is padded, too."""
    for text, vector in zip(texts_of_all_lengths, item_vectors(family_lm, texts_of_all_lengths), strict=True):
        with torch.no_grad():
            ids = torch.from_numpy(text.token_ids[None].astype(np.int64))
            states = family_lm(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(states.mean(0), dim=0), atol=1e-7)


def test_the_model_is_left_as_it_was_and_makes_no_logits(tiny_lm, texts_of_all_lengths, monkeypatch):
    tiny_lm.train()
    monkeypatch.setattr(tiny_lm.lm_head, "forward", None)
    item_vectors(tiny_lm, texts_of_all_lengths)
    assert tiny_lm.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in tiny_lm.parameters())


def test_dropout_is_off(texts_of_all_lengths):
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    lm = LlamaForCausalLM(LlamaConfig(vocab_size=259, attention_dropout=0.5, **shape)).train()
    assert (item_vectors(lm, texts_of_all_lengths) == item_vectors(lm, texts_of_all_lengths)).all()


def test_out_of_memory_halves_the_batch(tiny_lm, texts_of_all_lengths, monkeypatch, caplog):
    expected = item_vectors(tiny_lm, texts_of_all_lengths)
    whole = Towers.states

    def at_most_two_rows(towers, input_ids):
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("none left")
        return whole(towers, input_ids)

    monkeypatch.setattr(Towers, "states", at_most_two_rows)
    np.testing.assert_allclose(item_vectors(tiny_lm, texts_of_all_lengths), expected, atol=1e-6)
    assert "out of memory with a batch of 8; going on with 4" in caplog.text

    monkeypatch.setattr(Towers, "states", lambda towers, input_ids: at_most_two_rows(towers, [1, 2, 3]))
    with pytest.raises(ConfigError, match="memory ran out with one text or user alone"):
        item_vectors(tiny_lm, texts_of_all_lengths)


def test_a_processors_memory_ends_too(caplog):
    def compute(batch):
        return torch.empty(10**15 if len(batch) > 1 else 1).tolist()

    assert len(halved([0, 1], compute)) == 2
    assert "out of memory with a batch of 2" in caplog.text
    with pytest.raises(RuntimeError, match="invalid for input of size 1"):
        halved([0, 1], lambda batch: torch.empty(1).view(2))


def test_no_sequences_no_vectors(tiny_lm):
    assert user_vectors(tiny_lm, []).shape == item_vectors(tiny_lm, []).shape == (0, 16)


def test_what_cannot_be_used(view, tiny_lm, texts_of_all_lengths):
    with pytest.raises(DataError, match="prompt 1 holds no item"):
        user_vectors(tiny_lm, [view.encoder.prompt([0]), view.encoder.prompt([])])
    tiny_lm.config.max_position_embeddings = 100
    with pytest.raises(ModelError, match="item 6 has 200 tokens, and the model 100 positions"):
        item_vectors(tiny_lm, texts_of_all_lengths)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_vectors_that_are_no_numbers(tiny_lm, texts_of_all_lengths, value):
    with torch.no_grad():
        tiny_lm.model.norm.weight.fill_(value)
    with pytest.raises(ModelError, match=r"item 0 has no finite vector \(8 of 8"):
        item_vectors(tiny_lm, texts_of_all_lengths)
