import json

import numpy as np
import pytest
import torch
from gguf import GGUFWriter

from calrec.errors import ModelError
from calrec.model.backbones import BackboneSettings, load_backbone
from calrec.model.weights import CONVERSION, from_gguf, models_folder, sha256


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """Converted copies of these tests go nowhere else."""
    monkeypatch.setenv("CALREC_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def gguf(backbone, tmp_path):
    """The tiny backbone as a GGUF file, written by GGUF's own library."""
    config, state = backbone.lm.config, backbone.lm.state_dict()
    file = tmp_path / "tiny.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    tokens = sorted(backbone.tokenizer.get_vocab(), key=backbone.tokenizer.get_vocab().get)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {"embed_tokens": "token_embd", "norm": "output_norm"}
    parts = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    names |= {f"layers.{n}.{ours}": f"blk.{n}.{theirs}" for n in range(2) for ours, theirs in parts.items()}
    for ours, theirs in names.items():
        weight = state[f"model.{ours}.weight"]
        if ours.endswith(("q_proj", "k_proj")):
            weight = _interleaved(weight, config.num_attention_heads)
        writer.add_tensor(f"{theirs}.weight", np.ascontiguousarray(weight.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _interleaved(weight, heads):
    """llama.cpp pairs neighbouring rows for its rotary positions, transformers the two halves of a head."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape).contiguous()


def test_a_gguf_file_is_the_model_it_was_made_of(gguf, backbone):
    loaded = load_backbone(BackboneSettings(backbone=str(gguf)))
    ids = torch.tensor([backbone.tokenizer("figs\n").input_ids])
    assert torch.tensor([loaded.tokenizer("figs\n").input_ids]).equal(ids)
    torch.testing.assert_close(loaded.lm(ids).logits, backbone.lm(ids).logits)


def test_a_gguf_file_is_converted_once(gguf, models, monkeypatch):
    first = from_gguf(gguf)
    assert list(models.iterdir()) == [first.folder]
    assert json.loads((first.folder / CONVERSION).read_text())["sha256"] == sha256(gguf)
    monkeypatch.setattr("calrec.model.weights._convert", lambda *_: pytest.fail("converted again"))
    assert from_gguf(gguf) == first


def test_a_wrong_checksum_converts_nothing(gguf, models):
    with pytest.raises(ModelError, match="SHA-256"):
        from_gguf(gguf, checksum="0" * 64)
    assert not models.exists()


def test_a_file_that_is_no_gguf_leaves_nothing(tmp_path, models):
    file = tmp_path / "not.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="cannot be converted"):
        from_gguf(file)
    assert list(models.iterdir()) == []


def test_a_changed_copy_is_refused(gguf):
    folder = from_gguf(gguf).folder
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="delete the folder"):
        from_gguf(gguf)


def test_a_damaged_record_is_refused(gguf):
    folder = from_gguf(gguf).folder
    (folder / CONVERSION).write_text("[]")
    with pytest.raises(ModelError, match="not a record of a conversion"):
        from_gguf(gguf)


def test_where_models_lie(monkeypatch, tmp_path, models):
    assert models_folder() == models
    monkeypatch.delenv("CALREC_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "calrec" / "models"
