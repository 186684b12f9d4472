import hashlib
import json

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from calrec.errors import ModelError
from calrec.model.backbones import BackboneSettings, RandomSettings, load_backbone


@pytest.fixture
def saved(backbone, tmp_path):
    """A folder with the tiny backbone's weights and tokenizer."""
    folder = tmp_path / "saved"
    backbone.lm.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder


def test_a_folder_gives_back_what_was_saved(saved, backbone):
    loaded = load_backbone(BackboneSettings(backbone=str(saved)))
    assert loaded.fingerprint == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert loaded.source == str(saved)
    assert not loaded.lm.training
    ids = torch.tensor([loaded.tokenizer("Title: figs\n").input_ids])
    torch.testing.assert_close(loaded.lm(ids).logits, backbone.lm(ids).logits)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype(saved, dtype):
    assert load_backbone(BackboneSettings(backbone=str(saved), dtype=dtype)).lm.dtype == getattr(torch, dtype)


def test_a_random_model_depends_on_its_seed_alone():
    def made(seed):
        shape = RandomSettings(hidden_size=16, heads=2, seed=seed)
        return load_backbone(BackboneSettings(backbone="bytes", init="random", random=shape))

    state = torch.get_rng_state()
    first = made(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert made(0).fingerprint == first.fingerprint
    assert made(1).fingerprint != first.fingerprint


def test_a_random_model_over_a_folders_vocabulary(saved):
    made = load_backbone(BackboneSettings(backbone=str(saved), init="random", random=RandomSettings(layers=3)))
    assert made.lm.config.num_hidden_layers == 3
    assert made.lm.config.vocab_size == len(made.tokenizer) == 259


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"backbone": "bytes"}, "set init to 'random'"),
        ({"random": {"hidden_size": 10, "heads": 3}}, "multiple of 2 x heads"),
        ({"dtype": "float8"}, "float32"),
        ({"backbone": ""}, "at least 1 character"),
    ],
)
def test_settings_are_checked_when_they_are_made(settings, complaint):
    with pytest.raises(ValidationError, match=complaint):
        BackboneSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no/such/folder", "no folder, GGUF file or hub id"),
        ("nothing.gguf", "no folder, GGUF file or hub id"),
        ("someone/something", "the hub gave nothing"),
    ],
)
def test_what_cannot_be_found(name, complaint):
    with pytest.raises(ModelError, match=complaint) as error:
        load_backbone(BackboneSettings(backbone=name))
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json and \*\.safetensors"):
        load_backbone(BackboneSettings(backbone=str(tmp_path)))


def test_only_a_hub_id_has_revisions(saved):
    with pytest.raises(ModelError, match="only a hub id"):
        load_backbone(BackboneSettings(backbone=str(saved), revision="main"))


def test_missing_weights_are_not_made_up(saved):
    weights = load_file(saved / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing, such as model\.layers\.1\.mlp\.up_proj"):
        load_backbone(BackboneSettings(backbone=str(saved)))


def test_damaged_weights(saved):
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be loaded") as error:
        load_backbone(BackboneSettings(backbone=str(saved)))
    assert "\n" not in str(error.value)


def test_code_in_a_folder_is_not_run(saved):
    (saved / "evil.py").write_text("raise SystemExit('ran')\n")
    config = json.loads((saved / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load_backbone(BackboneSettings(backbone=str(saved)))
