"""Operations and memory against torch's own counters, and numbers by hand."""

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from calrec.losses import ObjectiveSettings
from calrec.model.towers import Towers
from calrec.planning.costs import (
    contrast_operations,
    forward_operations,
    memory,
    model_cost,
    stage_operations,
    training_operations,
    trunk_operations,
)
from calrec.planning.counts import PassCounts, count_passes
from calrec.training.adapt import adapt
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator
from calrec.training.config import StageTwo
from calrec.training.contrast import contrast
from calrec.training.sequences import all_target_windows


def llama(layers=4, key_value_heads=1):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=key_value_heads,
        tie_word_embeddings=True,
        # torch's counter knows plain matrix products; fused attention it counts on some devices only.
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config).train()


@pytest.fixture
def windows(make_view, tiny_domain):
    return all_target_windows(make_view(), tiny_domain.training_sequences())[:6]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"train_layers": 3},
        {"train_layers": 2, "gradient_checkpointing": True},
        {"lora": {"rank": 4}},
    ],
)
def test_operations_are_those_that_torch_counts(plan, windows, texts, settings, cached):
    if "lora" in settings:
        pytest.importorskip("peft")
    if cached and "train_layers" not in settings:
        pytest.skip("nothing is frozen")
    lm, objective = llama(), ObjectiveSettings(item_weight=0.1)
    model = plan(settings).model
    adapt(lm, model)
    towers = Towers(lm)
    cost = model_cost(towers, model.gradient_checkpointing)
    collator = Collator(texts, 0, item_labels=True)
    passes = count_passes([list(range(len(windows)))], windows, collator)
    batch = collator(windows)
    keys = batch.pop("target_key")
    del batch["users"]
    if cached:
        with FlopCounterMode(display=False) as counter:
            batch |= {"trunk_states": towers.trunk(batch["input_ids"])}
            batch |= {"item_trunk_states": towers.trunk(batch["item_ids"], batch["item_positions"])}
        assert trunk_operations(cost, passes).sum() == pytest.approx(counter.get_total_flops(), rel=0.01)
    module = Alignment(towers, objective)
    with FlopCounterMode(display=False) as counter:
        output = module(**batch)
        part = contrast(objective, [output.vectors], [keys])[0].through(output.vectors)
        (output.next_item + output.item + part).backward()
    stage = StageTwo(domain="x")
    planned = training_operations(cost, passes, cached) + contrast_operations(cost, passes, stage, objective)
    # On the way back torch stops a layer's second pass before its last product, which is counted here.
    tolerance = 0.1 if model.gradient_checkpointing else 0.04
    assert planned.sum() == pytest.approx(counter.get_total_flops(), rel=tolerance)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(**batch)
    assert forward_operations(cost, passes, cached).sum() == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_operations_by_hand(passes_of, cost_of):
    passes = passes_of(tokens=100, labels=7, item_labels=3)
    head = 2 * 100 * 10 * 10
    assert trunk_operations(cost_of(), passes) == 2 * 2000 * 100
    assert forward_operations(cost_of(), passes, cached=True) == 2 * 1000 * 100 + head
    assert forward_operations(cost_of(), passes, cached=False, vocabulary=False) == 2 * 3000 * 100
    assert training_operations(cost_of(), passes, cached=True) == 6 * 1000 * 100 + 2 * head
    assert training_operations(cost_of(head_trained=True), passes, cached=True) == 6 * 1000 * 100 + 3 * head
    # Adapters: no gradients of the 900 weights below them. Checkpoints: once more forward.
    assert training_operations(cost_of(learnt=100), passes, cached=True) == (4 * 1000 + 2 * 100) * 100 + 2 * head
    assert training_operations(cost_of(checkpointing=True), passes, cached=True) == 8 * 1000 * 100 + 2 * head
    # Attention compares cells with all 10 columns, twice forward and four times back.
    cells = passes_of(cells=50)
    assert training_operations(cost_of(), cells, cached=True) == 6 * 2 * 10 * 50


@pytest.mark.parametrize(
    ("negatives", "accumulation", "first", "contrasted"),
    [("update", 1, False, 2 * 3**2), ("update", 2, True, 6**2), ("pass", 2, False, 2 * 3**2)],
)
def test_negatives_of_an_update_cost_passes_without_the_vocabulary(
    passes_of, cost_of, negatives, accumulation, first, contrasted
):
    one = passes_of(tokens=100, labels=5, targets=3)
    two = PassCounts(*(np.repeat(getattr(one, name), 2) for name in one.__dataclass_fields__))
    stage = StageTwo(domain="x", negatives=negatives, accumulation=accumulation)
    operations = stage_operations(cost_of(), two, one, stage, ObjectiveSettings(), 50, accumulation)
    assert operations.first_passes.sum() == (2 * 2 * 1000 * 100 if first else 0)
    assert operations.contrast == 2 * 6 * 10 * contrasted
    assert operations.trunk_once == 2 * 2000 * 50


def test_memory_by_hand(passes_of, cost_of):
    need = memory(cost_of(), passes_of(tokens=100, labels=7), autocast=False, passes_per_update=1)
    assert (need.weights, need.gradients, need.optimizer, need.copies) == (16000, 4000, 8000, 0)
    assert need.logits == 7 * 100 * 8  # float32 logits and log-probabilities
    layer = 6 * 10 + (3 * 10 + 2 * 5) + 4 * 20
    assert need.activations == 100 * 4 * (layer + 5 * 10)
    back = 100 * 4 * 3 * 20
    assert need.peak == 16000 + 8000 + need.activations + max(need.logits, back)
    several = memory(cost_of(), passes_of(tokens=100, labels=7), autocast=False, passes_per_update=2)
    assert several.peak == need.peak + 4000  # gradients wait while passes run
    long = memory(cost_of(), passes_of(tokens=100, labels=5000), autocast=False, passes_per_update=1)
    assert long.logits == 1024 * 100 * 8  # of one chunk
    narrow = memory(cost_of(), passes_of(tokens=100, labels=7), autocast=True, passes_per_update=1)
    assert narrow.copies == 2 * (1000 + 100 * 10)
    assert narrow.activations < need.activations
    less = memory(cost_of(checkpointing=True, top_layers=9), passes_of(tokens=100), False, 1)
    assert less.activations < memory(cost_of(top_layers=9), passes_of(tokens=100), False, 1).activations / 3


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("key_value_heads", [1, 2])
def test_activations_are_those_that_autograd_keeps(passes_of, autocast, key_value_heads):
    require_activations(llama(key_value_heads=key_value_heads), passes_of, autocast, 0.05)


def test_activations_of_models_with_more_norms(passes_of, family_lm):
    """Qwen3 has norms of queries and keys, Gemma3 also of what its blocks give."""
    require_activations(family_lm.float(), passes_of, True, 0.1)


def require_activations(lm, passes_of, autocast, tolerance):
    lm.set_attn_implementation("sdpa")
    towers, weights = Towers(lm), {p.untyped_storage().data_ptr() for p in lm.parameters()}

    def kept(tokens):
        storages = {}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autocast("cpu", torch.bfloat16, enabled=autocast), saved_tensors_hooks(pack, lambda tensor: tensor):
            states = towers.states(torch.zeros((2, tokens), dtype=torch.long))
        assert states.requires_grad
        return sum(size for place, size in storages.items() if place not in weights)

    passes = [memory(model_cost(towers), passes_of(tokens=n), autocast, 1).activations for n in (100, 300)]
    sums = 5 * 64 * 4 * 200  # of the spans' means, which come after the layers
    assert passes[1] - passes[0] - sums == pytest.approx(kept(150) - kept(50), rel=tolerance)
