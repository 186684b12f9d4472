"""What a plan says, against real runs, a counter of operations, and numbers by hand."""

import json
import tempfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from calrec.errors import ConfigError, DataError, ModelError
from calrec.losses import ObjectiveSettings
from calrec.model import backbones
from calrec.model.backbones import BackboneSettings, backbone_or_shape, load_backbone
from calrec.model.towers import Towers
from calrec.planning.costs import (
    ModelCost,
    contrast_operations,
    forward_operations,
    memory,
    model_cost,
    stage_operations,
    training_operations,
    trunk_operations,
)
from calrec.planning.counts import PassCounts, count_passes
from calrec.planning.devices import LAUNCH_S, SUSTAINED, DeviceClass, estimate
from calrec.planning.probe import chosen, spread
from calrec.planning.run_plan import plan_run
from calrec.training import alignment
from calrec.training.adapt import adapt
from calrec.training.alignment import Alignment
from calrec.training.batches import Collator
from calrec.training.config import ModelSettings, StageTwo, TrainingPlan
from calrec.training.contrast import contrast
from calrec.training.sequences import all_target_windows
from calrec.training.stages import train

RANDOM = {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 2, "heads": 2}}
STAGE = {"tokens_per_batch": 300, "epochs": 1.5, "validations": 2, "validation_users": 6, "learning_rate": 1e-2}


@pytest.fixture
def plan(tiny_domain):
    def make(model=(), stage=(), **changes):
        base = {
            "text": {"attributes": ["title"], "user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"},
            "model": RANDOM | dict(model),
            "stage_two": {"domain": str(tiny_domain.path), "targets": "all", **STAGE, **dict(stage)},
        }
        return TrainingPlan.model_validate(base | changes)

    return make


class Seen:
    """Counts what a real run computes with gradients: tokens through the towers, and tokens that meet the head."""

    def __init__(self, monkeypatch):
        self.tokens = self.labels = self.forward_tokens = 0
        states, nll = Towers.states, alignment.linear_nll

        def counted_states(towers, ids, trunk_states=None):
            if torch.is_grad_enabled():
                self.tokens += ids.numel()
            else:
                self.forward_tokens += ids.numel()
            return states(towers, ids, trunk_states)

        def counted_nll(predicting, head, labels):
            self.labels += len(labels) * torch.is_grad_enabled()
            return nll(predicting, head, labels)

        monkeypatch.setattr(Towers, "states", counted_states)
        monkeypatch.setattr(alignment, "linear_nll", counted_nll)


@pytest.mark.parametrize(
    ("model", "stage", "objective"),
    [
        ({}, {}, {}),
        ({"train_layers": 1}, {"cache_gb": 1}, {"item_weight": 0.1}),
        ({"train_layers": 1}, {"accumulation": 2, "targets": "last", "epochs": 3}, {}),
        ({}, {"catalogue_texts": 2}, {"item_weight": 0.1}),
        ({}, {"token_budget": 1500}, {"alpha": 0, "beta": 0}),
    ],
)
def test_counts_are_those_of_a_real_run(plan, tmp_path, monkeypatch, model, stage, objective):
    settings = plan(model, stage, objective=objective)
    (planned,) = plan_run(settings, use_cpu=True, probing=False).stages
    start = load_backbone(settings.model).lm.state_dict()
    seen, news = Seen(monkeypatch), []
    card = train(settings, tmp_path / "run", news.append, use_cpu=True)
    history = json.loads((tmp_path / "run" / "stage-two" / "history.json").read_text())
    counts = planned.counts

    assert counts.tokens == card.tokens["stage-two"]
    said = f"{counts.sequences:,} sequences, {counts.item_texts:,} item texts, {counts.tokens:,} tokens in"
    assert any(line.startswith(f"{said} {counts.batches:,} batches") for line in news)
    assert counts.updates == max(entry["step"] for entry in history)
    assert counts.batches == counts.updates * counts.accumulation
    assert counts.validations == sum("eval_loss" in entry for entry in history)
    assert counts.computed_tokens == seen.tokens
    again = counts.computed_tokens if planned.operations["first passes"] else 0
    assert seen.forward_tokens == counts.validations * counts.validation_tokens + again
    assert counts.target_tokens + counts.item_label_tokens == seen.labels
    end = safetensors.torch.load_file(tmp_path / "run" / "model.safetensors")
    assert planned.trained == sum(w.numel() for name, w in end.items() if not torch.equal(w, start[name]))
    assert planned.cache.used == bool(list((tmp_path / "run" / "stage-two" / "cache").glob("*.f16")))
    if planned.cache.used:
        (file,) = (tmp_path / "run" / "stage-two" / "cache").glob("*.f16")
        assert file.stat().st_size == round(planned.cache.size_gb * 1e9)


def test_an_epoch_is_counted_whole_and_padding_apart(plan, tiny_domain):
    (one,) = plan_run(plan(stage={"epochs": 1}), use_cpu=True, probing=False).stages
    (half,) = plan_run(plan(stage={"token_budget": 400}), use_cpu=True, probing=False).stages
    assert one.counts.tokens == one.counts.tokens_per_epoch == half.counts.tokens_per_epoch > half.counts.tokens
    unpadded = one.counts.computed_tokens * (1 - one.counts.padding)
    assert unpadded == pytest.approx(round(unpadded))
    assert one.counts.tokens < unpadded < one.counts.computed_tokens


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
def test_operations_are_those_that_torch_counts(windows, texts, settings, cached):
    if "lora" in settings:
        pytest.importorskip("peft")
    if cached and "train_layers" not in settings:
        pytest.skip("nothing is frozen")
    lm, objective = llama(), ObjectiveSettings(item_weight=0.1)
    model = ModelSettings.model_validate(RANDOM | settings)
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
            batch |= {"item_trunk_states": towers.trunk(batch["item_ids"])}
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


def passes_of(**counts):
    """One pass; what is not said is 0."""
    names = ("tokens", "cells", "item_tokens", "unpadded", "labels", "item_labels", "targets")
    return PassCounts(*(np.asarray([counts.get(name, 0)]) for name in names))


def cost_of(**changes):
    """A model of round numbers: 2 frozen and 1 trained layer of 1,000 weights each, width 10, 100 words."""
    shape = {
        "trunk": 2000,
        "top": 1000,
        "learnt": 1000,
        "trunk_layers": 2,
        "top_layers": 1,
        "attention": 10,
        "key_value": 5,
        "width": 10,
        "feed_forward": 20,
        "vocabulary": 100,
        "head_trained": False,
        "checkpointing": False,
        "trained": 1000,
        "parameters": 4000,
        "trained_bytes": 4000,
        "parameter_bytes": 16000,
        "weight_bytes": 4,
    }
    return ModelCost(**(shape | changes))


def test_operations_by_hand():
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
def test_negatives_of_an_update_cost_passes_without_the_vocabulary(negatives, accumulation, first, contrasted):
    one = passes_of(tokens=100, labels=5, targets=3)
    two = PassCounts(*(np.repeat(getattr(one, name), 2) for name in one.__dataclass_fields__))
    stage = StageTwo(domain="x", negatives=negatives, accumulation=accumulation)
    operations = stage_operations(cost_of(), two, one, stage, ObjectiveSettings(), 50, accumulation)
    assert operations.first_passes.sum() == (2 * 2 * 1000 * 100 if first else 0)
    assert operations.contrast == 2 * 6 * 10 * contrasted
    assert operations.trunk_once == 2 * 2000 * 50


def test_memory_by_hand():
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
def test_activations_are_those_that_autograd_keeps(autocast, key_value_heads):
    lm = llama(key_value_heads=key_value_heads)
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
    assert passes[1] - passes[0] - sums == pytest.approx(kept(150) - kept(50), rel=0.05)


def test_a_device_is_told_by_its_stated_rate():
    card = DeviceClass("card", "a card", 2, memory_gb=1, bfloat16=10, float32=1)
    passes = passes_of(tokens=10**9, labels=10)
    stage = StageTwo(domain="x", accumulation=2, negatives="pass")
    two = PassCounts(*(np.repeat(getattr(passes, name), 2) for name in passes.__dataclass_fields__))
    objective = ObjectiveSettings(alpha=0, beta=0)
    told = estimate(card, cost_of(top_layers=0), two, passes_of(), stage, objective, True, 0, 1)
    operations = (4 * 1000 + 2 * 1000 + 2 * 2000) * 1e9 + 4 * 100 * 10 * 10
    assert told.seconds == pytest.approx(operations / (SUSTAINED * 10e12))
    assert not told.fits
    assert "1 GB" in told.why_not
    small = passes_of(tokens=10, labels=1)
    alone = StageTwo(domain="x")
    one = DeviceClass("card", "a card", 1, memory_gb=1, bfloat16=10, float32=1)
    told = estimate(one, cost_of(), small, passes_of(), alone, objective, True, 0, 1)
    assert told.fits
    assert told.seconds == pytest.approx(3 * LAUNCH_S)
    told = estimate(card, cost_of(), small, small, alone, objective, True, 0, 1)
    assert told.seconds is None
    assert "no multiple of 2" in told.why_not


def test_what_was_timed_is_spread_along_the_operations():
    operations = np.asarray([10.0, 20.0, 30.0, 40.0, 5.0])
    assert chosen(operations, np.asarray([1, 2, 3, 4, 1])) == [3, 1, 4]
    measured = {3: 8.0, 1: 5.0, 4: 2.0}
    assert spread(measured, operations) == pytest.approx(3.0 + 5.0 + 6.5 + 8.0 + 2.0)
    assert spread({1: 5.0}, operations) == pytest.approx(5.0 * operations.sum() / 20)


@pytest.mark.parametrize("model", [{}, {"train_layers": 1}, {"lora": {"rank": 2}}])
def test_a_probe_tells_everything_and_leaves_nothing(plan, tmp_path, tiny_domain, monkeypatch, model):
    if "lora" in model:
        pytest.importorskip("peft")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = {path: path.stat().st_mtime_ns for path in tiny_domain.path.rglob("*")}
    stage = {**STAGE, "targets": "all", "cache_gb": 1, "accumulation": 2}
    path = str(tiny_domain.path)
    settings = plan(model, stage, stage_one={"domains": [path, path], **stage})
    planned = plan_run(settings, use_cpu=True)
    assert [stage.name for stage in planned.stages] == ["stage-one", "stage-two"]
    for stage in planned.stages:
        assert stage.cache.used == ("train_layers" in model)
        assert (stage.here.seconds["trunk"] > 0) == stage.cache.used
        assert all(stage.here.seconds[part] > 0 for part in ("passes", "forward passes", "updates", "disk"))
        assert stage.here.peak_gb > 0.1
        assert stage.here.passes_timed >= 1
    assert planned.seconds > planned.preparation_s > 0
    assert planned.peak_gb == max(stage.here.peak_gb for stage in planned.stages)
    assert not list(temporary.iterdir())
    assert before == {path: path.stat().st_mtime_ns for path in tiny_domain.path.rglob("*")}


def test_the_weights_stay_what_they_are(plan, monkeypatch):
    loaded = load_backbone(plan().model)
    before = {name: weight.clone() for name, weight in loaded.lm.state_dict().items()}
    monkeypatch.setattr("calrec.planning.run_plan.backbone_or_shape", lambda *_, **__: loaded)
    plan_run(plan(stage={"weight_decay": 0.1}), use_cpu=True)
    assert all(torch.equal(before[name], weight) for name, weight in loaded.lm.state_dict().items())


def test_advice(plan, monkeypatch):
    frozen = {"train_layers": 1}
    (line,) = plan_run(plan(frozen), use_cpu=True, probing=False).advice
    assert "stage-two: set cache_gb=" in line
    (line,) = plan_run(plan(frozen, {"epochs": 1, "cache_gb": 1}), use_cpu=True, probing=False).advice
    assert "cache_gb does nothing: the stage sees its data once" in line
    assert not plan_run(plan(frozen, {"cache_gb": 1}), use_cpu=True, probing=False).advice
    monkeypatch.setattr("calrec.planning.run_plan._free_bytes", lambda _: 1000)
    planned = plan_run(plan(), use_cpu=True)
    assert "lower tokens_per_batch" in planned.advice[0]
    assert planned.stages[0].here is None  # nothing is run that would not fit
    assert planned.seconds is None


def test_mistakes_are_those_of_training(plan, tmp_path):
    with pytest.raises(DataError, match="is no domain"):
        plan_run(plan(stage={"domain": str(tmp_path / "none")}))
    with pytest.raises(ConfigError, match="the backbone has 2 layers"):
        plan_run(plan({"train_layers": 9}), use_cpu=True)


class TestShapes:
    @pytest.fixture(autouse=True)
    def hub(self, backbone, monkeypatch):
        """A hub that has a model of which nothing but its configuration and tokenizer may be read."""

        def refuse(name, revision, fetch=True):
            assert not fetch
            raise ModelError("not in the cache")

        monkeypatch.setattr(backbones, "from_hub", refuse)
        monkeypatch.setattr(backbones.AutoTokenizer, "from_pretrained", lambda *_, **__: backbone.tokenizer)
        monkeypatch.setattr(backbones.AutoConfig, "from_pretrained", lambda *_, **__: backbone.lm.config)

    @pytest.mark.parametrize("empty", [False, True])
    def test_weights_are_not_fetched(self, backbone, empty):
        shape = backbone_or_shape(BackboneSettings(backbone="someone/tiny"), empty)
        assert shape.source == "the shape of someone/tiny"
        assert shape.lm.num_parameters() == backbone.lm.num_parameters()
        assert shape.lm.lm_head.weight.is_meta == empty

    @pytest.mark.parametrize("probing", [False, True])
    @pytest.mark.parametrize("model", [{}, {"train_layers": 1}, {"lora": {"rank": 2}}])
    def test_a_plan_needs_no_more(self, plan, probing, model):
        if "lora" in model:
            pytest.importorskip("peft")
        hub = {"backbone": "someone/tiny", "init": "pretrained"}
        theirs = plan_run(plan(model | hub), use_cpu=True, probing=probing)
        ours = plan_run(plan(model), use_cpu=True, probing=probing)
        assert theirs.stages[0].counts == ours.stages[0].counts
        assert theirs.stages[0].operations == ours.stages[0].operations
        assert theirs.stages[0].memory == ours.stages[0].memory
