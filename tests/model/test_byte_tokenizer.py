from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from calrec.model.byte_tokenizer import SPECIALS, byte_tokenizer

TOKENIZER = byte_tokenizer()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(lambda text: "<" not in text))
def test_one_token_a_byte_and_back(text):
    ids = TOKENIZER(text).input_ids
    assert len(ids) == len(text.encode())
    assert TOKENIZER.decode(ids) == text


def test_vocabulary():
    assert len(TOKENIZER) == 256 + len(SPECIALS)
    assert (TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id) == (0, 1, 2)
    assert len(TOKENIZER("\n").input_ids) == 1


def test_saved_and_loaded_it_is_the_same(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    text = "Title: Süße  Äpfel\nPrice: 1.99\n"
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == TOKENIZER(text).input_ids
