"""Tokens: exact spans, whole items, and a target that never reaches its prompt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.errors import ConfigError, DataError
from calrec.records import Catalogue, Item
from calrec.text.encode import LengthSettings, SequenceEncoder, end_of_item
from calrec.text.item_text import ItemText, TextSettings
from calrec.text.prompt import render

SETTINGS = TextSettings(attributes=["title"], user_prefix="U", first_item_prefix="F", next_item_prefix="N")
TITLES = ("pen", "a longer title", "x", "<|end|> special", "naïve ☕")


def make_encoder(tokenizer, titles=TITLES, settings=SETTINGS, **lengths):
    items = tuple(Item(f"i{place}", {"title": title}) for place, title in enumerate(titles))
    catalogue = Catalogue(items, tuple(map(ItemText(settings), items)))
    return SequenceEncoder(tokenizer, settings, catalogue, LengthSettings(**lengths)), catalogue.texts


@given(columns=st.lists(st.integers(0, len(TITLES) - 1), min_size=2, max_size=8))
def test_spans_are_the_items_and_the_whole_is_the_template(byte_tokens, columns):
    encoder, texts = make_encoder(byte_tokens)
    sequence = encoder.sequence(columns[:-1], columns[-1])
    assert byte_tokens.decode(sequence.token_ids) == render(
        SETTINGS, [texts[c] for c in columns[:-1]], texts[columns[-1]]
    )
    assert sequence.items.tolist() == columns
    for column, (start, end) in zip(columns, sequence.spans, strict=True):
        assert byte_tokens.decode(sequence.token_ids[start:end]) == texts[column] + "\n"


@given(
    history=st.lists(st.integers(0, len(TITLES) - 1), min_size=1, max_size=12),
    targets=st.tuples(st.integers(0, len(TITLES) - 1), st.integers(0, len(TITLES) - 1)),
    max_tokens=st.integers(60, 160),
    max_history=st.integers(1, 6),
)
def test_the_target_never_reaches_the_prompt(byte_tokens, history, targets, max_tokens, max_history):
    encoder, _ = make_encoder(byte_tokens, max_tokens=max_tokens, max_history=max_history)
    prompt = encoder.prompt(history)
    for target in targets:
        sequence = encoder.sequence(history, target)
        assert sequence.token_ids[: len(prompt.token_ids)].tolist() == prompt.token_ids.tolist()
        assert sequence.token_ids[len(prompt.token_ids) :].tolist() == encoder.items[target].tolist()
        assert len(sequence.token_ids) <= max_tokens


@given(history=st.lists(st.integers(0, len(TITLES) - 1), min_size=1, max_size=12), max_tokens=st.integers(60, 160))
def test_a_long_history_loses_whole_oldest_items(byte_tokens, history, max_tokens):
    encoder, _ = make_encoder(byte_tokens, max_tokens=max_tokens, max_history=5)
    kept = encoder.prompt(history).items.tolist()
    assert 1 <= len(kept) <= 5
    assert kept == history[-len(kept) :]


def test_a_title_is_never_a_special_token(byte_tokens):
    special = byte_tokens.eos_token
    encoder, _ = make_encoder(byte_tokens, titles=(f"a {special} b",))
    assert byte_tokens.eos_token_id not in encoder.items[0].tolist()
    assert special in byte_tokens.decode(encoder.items[0])


def test_a_changed_catalogue_is_encoded_as_one_made_anew(byte_tokens):
    encoder, _ = make_encoder(byte_tokens)
    added, texts = make_encoder(byte_tokens, titles=("another", "and a last, longer than all of them"))
    changed = encoder.changed(np.array([-1, 0, 3, -1]), Catalogue((Item("a", {}), Item("z", {})), texts))
    expected = [added.items[0], encoder.items[0], encoder.items[3], added.items[1]]
    assert all(map(np.array_equal, changed.items, expected))


def test_prefixes_can_be_switched_off(byte_tokens):
    bare = TextSettings(attributes=["title"], user_prefix="", first_item_prefix="", next_item_prefix="")
    encoder, texts = make_encoder(byte_tokens, settings=bare)
    assert byte_tokens.decode(encoder.prompt([0, 1]).token_ids) == f"{texts[0]}\n{texts[1]}\n"


def test_the_target_tower_reads_the_item_alone(byte_tokens):
    encoder, texts = make_encoder(byte_tokens)
    item = encoder.item(1)
    start, end = item.spans[0]
    assert byte_tokens.decode(item.token_ids[start:end]) == texts[1] + "\n"
    assert np.array_equal(item.token_ids[start:end], encoder.items[1])


def test_an_item_without_text_is_named(byte_tokens):
    with pytest.raises(DataError, match=r"item i1: its text '' \(of title\)"):
        make_encoder(byte_tokens, titles=("pen", ""))


def test_an_item_too_long_for_a_sequence_is_named(byte_tokens):
    with pytest.raises(DataError, match=r"item i1: .* lower the attributes' max_words or raise max_tokens"):
        make_encoder(byte_tokens, titles=("pen", "x" * 100), max_tokens=64)


def test_an_item_ends_with_a_line_break_or_the_end_of_text(byte_tokens):
    class NoLineBreak:
        eos_token_id = 7

        def __call__(self, text, **_):
            return {"input_ids": [1, 2]}

    assert end_of_item(NoLineBreak()) == 7
    NoLineBreak.eos_token_id = None
    with pytest.raises(ConfigError, match="line break"):
        end_of_item(NoLineBreak())
