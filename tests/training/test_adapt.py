"""Each way of training less than everything trains what it says, in every family of backbones."""

import copy

import pytest
import torch

from calrec.errors import ConfigError
from calrec.losses import ObjectiveSettings
from calrec.model.layers import decoder_of
from calrec.model.towers import Towers
from calrec.training import adapt as adapt_module
from calrec.training.adapt import adapt, merge_adapters, require_adapters
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator
from calrec.training.config import ModelSettings
from calrec.training.sequences import all_target_windows
from calrec.training.weight_files import ADAPTERS, load_weights, save_weights

pytest.importorskip("peft", reason="needs peft: pip install 'calrec[peft]'")

LORA = {"rank": 3, "alpha": 5}
WAYS = [{}, {"train_layers": 2}, {"lora": LORA}]


@pytest.fixture
def batch(make_view, tiny_domain, texts):
    windows = all_target_windows(make_view(), tiny_domain.training_sequences()[:4])
    return Collator(texts, pad_id=0, item_labels=True)(windows)


@pytest.fixture
def gradients(batch, plain):
    """Gradients of the objective by name, the model in training mode."""

    def of(lm):
        lm.zero_grad()
        alignment = Alignment(Towers(lm), ObjectiveSettings(item_weight=0.1)).to("cpu").train()
        plain(alignment, batch)[0].backward()
        return {name: p.grad.clone() for name, p in lm.named_parameters() if p.grad is not None}

    return of


def snapshot(lm):
    return {name: p.detach().clone() for name, p in lm.named_parameters()}


def changed(before, lm):
    return {name for name, p in lm.named_parameters() if not torch.equal(before[name], p)}


def update(lm, gradients):
    """One step that moves whatever has a gradient."""
    optimizer = torch.optim.SGD([p for p in lm.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):  # an adapter's B is zero at first, and so is the gradient of A
        gradients(lm)
        optimizer.step()


@pytest.mark.parametrize("way", WAYS, ids=["all", "top", "lora"])
def test_checkpointing_changes_no_gradient(family_lm, gradients, way):
    other = copy.deepcopy(family_lm)
    adapt(family_lm, ModelSettings(**way))
    adapt(other, ModelSettings(**way, gradient_checkpointing=True))
    plain, checkpointed = gradients(family_lm), gradients(other)
    assert any(layer.gradient_checkpointing for layer in decoder_of(other).layers)
    assert plain.keys() == checkpointed.keys() != set()
    for name, value in plain.items():
        torch.testing.assert_close(checkpointed[name], value, rtol=1e-9, atol=1e-12)


def test_top_layers_alone_change(family_lm, gradients):
    adapt(family_lm, ModelSettings(train_layers=2))
    before = snapshot(family_lm)
    update(family_lm, gradients)
    tied = family_lm.lm_head.weight is family_lm.get_input_embeddings().weight
    top = ("model.layers.2.", "model.layers.3.", "model.norm.") + (() if tied else ("lm_head.",))
    assert changed(before, family_lm) == {name for name in before if name.startswith(top)}


def test_adapters_alone_change_and_are_then_folded_in(family_lm, gradients):
    start = snapshot(family_lm)
    adapt(family_lm, ModelSettings(lora=LORA))
    before = snapshot(family_lm)
    update(family_lm, gradients)
    moved = changed(before, family_lm)
    assert moved == {name for name in before if ".lora_A." in name or ".lora_B." in name}
    expected = by_hand(family_lm, start)
    merge_adapters(family_lm)
    assert {name for name, _ in family_lm.named_parameters()} == set(start)
    assert not hasattr(family_lm, "peft_config")
    for name, value in expected.items():
        assert torch.equal(family_lm.get_parameter(name), value), name


def by_hand(lm, start):
    """W + alpha / rank · B · A of every linear layer of the decoder's layers, and all else as it was."""
    linear = (".q_proj.", ".k_proj.", ".v_proj.", ".o_proj.", ".gate_proj.", ".up_proj.", ".down_proj.")
    expected = dict(start)
    for name in start:
        if any(part in name for part in linear):
            module = lm.get_submodule(name.removesuffix(".weight"))
            product = module.lora_B["default"].weight @ module.lora_A["default"].weight
            expected[name] = start[name] + product.detach() * (5 / 3)
    assert len([name for name in start if not torch.equal(expected[name], start[name])]) == 4 * 7
    return expected


def test_adapters_begin_as_their_seed_says(tiny_lm):
    weights = []
    for seed in (1, 1, 2):
        lm = copy.deepcopy(tiny_lm)
        torch.rand(3)
        adapt(lm, ModelSettings(lora=LORA), seed)
        weights.append(lm.model.layers[0].mlp.up_proj.lora_A["default"].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_adapters_of_a_narrow_model_are_float32(tiny_lm):
    adapt(tiny_lm.bfloat16(), ModelSettings(lora=LORA, dtype="bfloat16"))
    assert {p.dtype for p in tiny_lm.parameters() if p.requires_grad} == {torch.float32}
    merge_adapters(tiny_lm)
    assert {p.dtype for p in tiny_lm.parameters()} == {torch.bfloat16}


def test_a_checkpoint_of_adapters_is_one_that_peft_reads(tiny_lm, gradients, tmp_path):
    from peft import PeftModel

    plain = copy.deepcopy(tiny_lm)
    adapt(tiny_lm, ModelSettings(lora=LORA))
    update(tiny_lm, gradients)
    save_weights(tiny_lm, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} >= {ADAPTERS, "adapter_config.json"}
    ids = torch.arange(9)[None]
    loaded = PeftModel.from_pretrained(copy.deepcopy(plain), tmp_path)
    torch.testing.assert_close(loaded(input_ids=ids).logits, tiny_lm.eval()(input_ids=ids).logits, rtol=0, atol=0)
    adapt(plain, ModelSettings(lora=LORA), seed=1)
    load_weights(plain, tmp_path)
    for name, weight in tiny_lm.named_parameters():
        assert torch.equal(plain.get_parameter(name), weight)


@pytest.mark.parametrize("package", ["peft", "bitsandbytes"])
def test_a_missing_package_is_named_with_the_mend(monkeypatch, package):
    monkeypatch.setattr(adapt_module, "find_spec", lambda name: None if name == package else object())
    extra = {"peft": "peft", "bitsandbytes": "qlora"}[package]
    with pytest.raises(ConfigError, match=rf"needs {package}: pip install 'calrec\[{extra}\]'"):
        require_adapters(ModelSettings(lora={"quantize": "nf4"}))


def test_layers_and_adapters_exclude_each_other():
    with pytest.raises(ValueError, match="train_layers and lora exclude each other"):
        ModelSettings(train_layers=1, lora={})
