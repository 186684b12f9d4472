"""QLoRA: four bits while adapters are trained, and nothing of it in what is kept."""

import copy

import pytest
import torch

from calrec.losses import ObjectiveSettings
from calrec.model.towers import Towers
from calrec.training.adapt import adapt, merge_adapters
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator
from calrec.training.config import ModelSettings
from calrec.training.sequences import all_target_windows
from calrec.training.weight_files import load_weights, save_weights

pytest.importorskip("peft", reason="needs peft: pip install 'calrec[peft]'")
bnb = pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install 'calrec[qlora]'")

SETTINGS = ModelSettings(lora={"rank": 3, "alpha": 5, "quantize": "nf4"})


@pytest.fixture
def lm(family_lm):
    return family_lm.float()


@pytest.fixture
def losses(make_view, tiny_domain, texts, plain):
    """The objective of a batch, as training computes it or as validation does."""
    windows = all_target_windows(make_view(), tiny_domain.training_sequences()[:4])
    batch = Collator(texts, pad_id=0)(windows)

    def of(lm, train=True):
        alignment = Alignment(Towers(lm), ObjectiveSettings()).to("cpu").train(train)
        with torch.set_grad_enabled(train):
            return plain(alignment, batch)[0]

    return of


def gradients(lm, loss):
    names, weights = zip(*((name, p) for name, p in lm.named_parameters() if p.requires_grad), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def update(lm, losses):
    optimizer = torch.optim.SGD([p for p in lm.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        losses(lm).backward()
        optimizer.step()


def test_linear_layers_of_the_decoder_and_nothing_else_are_four_bit(lm, losses):
    size = sum(p.numel() for p in lm.model.layers.parameters() if p.dim() > 1)
    adapt(lm, SETTINGS)
    losses(lm)
    small = {name for name, module in lm.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert len(small) == 4 * 7
    assert all(name.startswith("model.layers.") for name in small)
    packed = [p for p in lm.parameters() if p.dtype == torch.uint8]
    assert sum(p.numel() for p in packed) * 2 == size
    assert {name for name, p in lm.named_parameters() if p.requires_grad} == {
        name for name, _ in lm.named_parameters() if ".lora_" in name
    }


def test_gradients_are_those_of_lora_over_the_rounded_weights(lm, losses):
    rounded = copy.deepcopy(lm)
    adapt(lm, SETTINGS)
    losses(lm)
    with torch.no_grad():
        for name, module in lm.named_modules():
            if isinstance(module, bnb.nn.Linear4bit):
                weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
                rounded.get_submodule(name.removesuffix(".base_layer")).weight.copy_(weight)
    adapt(rounded, ModelSettings(lora={"rank": 3, "alpha": 5}))
    losses(lm, train=False)  # a validation in between must leave the weights as they are
    one, other = losses(lm), losses(rounded)
    torch.testing.assert_close(one, other)
    expected = gradients(rounded, other)
    for name, value in gradients(lm, one).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6)


def test_adapters_are_folded_into_the_weights_as_they_were(lm, losses):
    start = {name: p.detach().clone() for name, p in lm.named_parameters()}
    adapt(lm, SETTINGS)
    update(lm, losses)
    expected = dict(start)
    for name, module in lm.named_modules():
        if hasattr(module, "lora_A") and len(module.lora_A):
            product = module.lora_B["default"].weight @ module.lora_A["default"].weight
            assert product.any()
            expected[f"{name}.weight"] = start[f"{name}.weight"] + product.detach() * (5 / 3)
    merge_adapters(lm)
    assert {name for name, _ in lm.named_parameters()} == set(start)
    for name, value in expected.items():
        assert torch.equal(lm.get_parameter(name), value), name
    assert not any(isinstance(module, bnb.nn.Linear4bit) for module in lm.modules())


def test_layers_without_an_adapter_come_back_too(lm, losses):
    start = copy.deepcopy(lm)
    adapt(lm, ModelSettings(lora={"rank": 3, "target_modules": ["q_proj"], "quantize": "nf4"}))
    update(lm, losses)
    merge_adapters(lm)
    differ = {name for name, p in lm.named_parameters() if not torch.equal(p, start.get_parameter(name))}
    assert differ == {f"model.layers.{i}.self_attn.q_proj.weight" for i in range(4)}


def test_checkpointing_changes_no_gradient(lm, losses):
    results = []
    for checkpointing in (False, True):
        one = copy.deepcopy(lm)
        adapt(one, SETTINGS.model_copy(update={"gradient_checkpointing": checkpointing}))
        results.append(gradients(one, losses(one)))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)


def test_a_checkpoint_holds_the_adapters_alone(lm, losses, tmp_path):
    other = copy.deepcopy(lm)
    adapt(lm, SETTINGS)
    update(lm, losses)
    save_weights(lm, tmp_path)
    adapt(other, SETTINGS, seed=1)
    load_weights(other, tmp_path)
    assert torch.equal(losses(other), losses(lm))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 200_000
