"""Whole runs: both stages, either alone, resumed, refused."""

import json
from dataclasses import replace

import polars as pl
import pytest
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from calrec.data.learnt import LEARNT, LearntPurchases
from calrec.data.store import save, split_hash
from calrec.errors import ConfigError, DataError, ModelError
from calrec.model.backbones import load_backbone
from calrec.training import stages
from calrec.training.alignment import Alignment
from calrec.training.config import TrainingPlan
from calrec.training.run_folder import load_card
from calrec.training.stages import train
from calrec.training.untrained import save_untrained

SMALL = {"tokens_per_batch": 600, "epochs": 2, "validations": 4, "validation_users": 6, "learning_rate": 1e-2}
RANDOM = {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 2, "heads": 2}}


@pytest.fixture
def plan(tiny_domain):
    """A plan that the fixtures' domain can train in seconds."""

    def make(**changes):
        path = str(tiny_domain.path)
        base = {
            "text": {"attributes": ["title"], "user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"},
            "model": RANDOM,
            "stage_one": {"domains": [path, path], "targets": "all", **SMALL},
            "stage_two": {"domain": path, **SMALL},
        }
        return TrainingPlan.model_validate(base | changes)

    return make


def weights(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_both_stages_leave_a_plain_folder(plan, tmp_path, tiny_domain):
    run = tmp_path / "run"
    card = train(plan(), run, use_cpu=True)
    lm = AutoModelForCausalLM.from_pretrained(run)
    assert lm.config.num_hidden_layers == 2
    assert card == load_card(run)
    assert set(card.best) == set(card.tokens) == {"stage-one", "stage-two"}
    assert card.domains["stage-two"][0].split_hash == tiny_domain.split_hash
    assert {"nig", "tt", "ut", "loss", "step"} <= set(card.best["stage-two"])
    first, second = weights(run / "stage-one" / "model"), weights(run)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert not list(run.rglob("*.bin"))
    assert len({path.stat().st_mode for path in run.iterdir() if path.is_file() and path.name != ".lock"}) == 1
    assert LearntPurchases.load(run).fingerprint == LearntPurchases.of([tiny_domain]).fingerprint
    assert (run / "stage-one" / "curves.png").stat().st_size > 1000


def test_the_loss_falls_and_the_best_validation_is_kept(plan, tmp_path):
    run = tmp_path / "run"
    card = train(plan(stage_one=None), run, use_cpu=True)
    history = json.loads((run / "stage-two" / "history.json").read_text())
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert card.best["stage-two"]["loss"] == min(losses)
    assert min(losses) < losses[0] or len(losses) == 1
    best = run / "stage-two" / f"checkpoint-{int(card.best['stage-two']['step'])}"
    for name, value in weights(best).items():
        assert torch.equal(value, weights(run)[name])


class InterruptionError(Exception):
    pass


class InterruptAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise InterruptionError


@pytest.mark.parametrize(
    "way",
    [{}, {"lora": {"rank": 2, "dropout": 0.2}}, {"lora": {"rank": 2, "quantize": "nf4"}}],
    ids=["all", "lora", "qlora"],
)
def test_a_resumed_run_equals_an_unbroken_one(plan, tmp_path, monkeypatch, way):
    for package, needed in {"peft": "lora" in way, "bitsandbytes": "quantize" in way.get("lora", {})}.items():
        if needed:
            pytest.importorskip(package)
    settings = plan(stage_one=None, model=RANDOM | way)
    train(settings, tmp_path / "unbroken", use_cpu=True)
    with monkeypatch.context() as broken:
        broken.setattr(stages, "stage_callbacks", lambda _: [InterruptAt(4)])
        with pytest.raises(InterruptionError):
            train(settings, tmp_path / "resumed", use_cpu=True)
    assert list((tmp_path / "resumed" / "stage-two").glob("checkpoint-*"))
    train(settings, tmp_path / "resumed", use_cpu=True)
    one, other = weights(tmp_path / "unbroken"), weights(tmp_path / "resumed")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_run_is_not_trained_again(plan, tmp_path, monkeypatch):
    settings = plan(stage_two=None)
    train(settings, tmp_path / "run", use_cpu=True)
    monkeypatch.setattr(stages, "train_stage", lambda *_: pytest.fail("trained again"))
    assert train(settings, tmp_path / "run", use_cpu=True).stage == "stage-one"


def test_stage_two_from_a_finished_stage_one_equals_both_in_one_go(plan, tmp_path, monkeypatch):
    train(plan(), tmp_path / "both", use_cpu=True)
    train(plan(stage_two=None), tmp_path / "first", use_cpu=True)
    train_stage, trained = stages.train_stage, []
    monkeypatch.setattr(stages, "train_stage", lambda *given: (trained.append(given[4].name), train_stage(*given))[1])
    card = train(plan(), tmp_path / "second", use_cpu=True, stage_one=tmp_path / "first")
    assert trained == ["stage-two"]
    assert card == load_card(tmp_path / "both")
    one, other = weights(tmp_path / "both"), weights(tmp_path / "second")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_stage_two_begins_from_no_other_stage_one(plan, tmp_path):
    train(plan(stage_two=None), tmp_path / "first", use_cpu=True)
    for other in (plan(objective={"beta": 0}), plan(stage_one=None)):
        with pytest.raises(ConfigError, match="first is no run of this recipe's Stage I alone"):
            train(other, tmp_path / "second", use_cpu=True, stage_one=tmp_path / "first")
    with pytest.raises(ModelError, match="is no run"):
        train(plan(), tmp_path / "second", use_cpu=True, stage_one=tmp_path / "none")
    assert not (tmp_path / "second").exists()


def with_users_of_another_name(domain, path):
    sequences = domain.sequences.with_columns(user_id="other " + pl.col("user_id"))
    manifest = domain.manifest.model_copy(update={"split_hash": split_hash(domain.items, sequences)})
    return replace(domain, path=path, sequences=sequences, manifest=manifest)


def test_a_stage_does_not_go_on_from_other_data(plan, tmp_path, tiny_domain):
    save(with_users_of_another_name(tiny_domain, tmp_path / "mix"))
    stage_one = {"domains": [str(tmp_path / "mix")], "targets": "all", **SMALL}
    train(plan(stage_one=stage_one, stage_two=None), tmp_path / "first", use_cpu=True)
    save(replace(tiny_domain, path=tmp_path / "mix"), replace=True)
    with pytest.raises(ConfigError, match="mix is not what stage-one was trained on"):
        train(plan(stage_one=stage_one), tmp_path / "second", use_cpu=True, stage_one=tmp_path / "first")


def test_a_run_as_a_backbone_hands_on_what_it_learnt(plan, tmp_path, tiny_domain):
    other = with_users_of_another_name(tiny_domain, tmp_path / "other")
    save(other)
    first, second = tmp_path / "first", tmp_path / "second"
    train(plan(stage_one=None, stage_two={"domain": str(other.path), **SMALL}), first, use_cpu=True)
    model = {"backbone": str(first)}
    card = train(plan(stage_one=None, model=model), second, use_cpu=True)
    assert [domain.split_hash for domain in card.domains["backbone"]] == [other.split_hash]
    assert LearntPurchases.load(second).fingerprint == LearntPurchases.of([other, tiny_domain]).fingerprint
    untrained = save_untrained(plan(stage_one=None, model=model), tiny_domain, tmp_path / "untrained")
    assert untrained.domains == {"backbone": card.domains["backbone"]}
    (first / LEARNT).unlink()
    train(plan(stage_one=None, model=model), tmp_path / "third", use_cpu=True)
    assert LearntPurchases.load(tmp_path / "third") is None


def test_another_recipe_in_the_same_folder_is_refused(plan, tmp_path):
    train(plan(stage_two=None), tmp_path / "run", use_cpu=True)
    with pytest.raises(ConfigError, match=r"another recipe \(objective.alpha 0.125 there and 0.0 here\)"):
        train(plan(stage_two=None, objective={"alpha": 0}), tmp_path / "run", use_cpu=True)


def test_top_layers_train_over_a_cached_trunk(plan, tmp_path):
    model = {**RANDOM, "train_layers": 1}
    stage = {**plan().stage_two.model_dump(), "cache_gb": 1.0}
    settings = plan(stage_one=None, model=model, stage_two=stage)
    train(settings, tmp_path / "run", use_cpu=True)
    start, end = load_backbone(settings.model).lm.state_dict(), weights(tmp_path / "run")
    changed = {name for name in end if not torch.equal(start[name], end[name])}
    assert changed
    assert all(name.startswith(("model.layers.1.", "model.norm.")) for name in changed)


def test_adapters_are_merged_into_a_plain_folder(plan, tmp_path):
    pytest.importorskip("peft")
    model = {**RANDOM, "lora": {"rank": 2}}
    train(plan(stage_one=None, model=model), tmp_path / "run", use_cpu=True)
    assert not any("lora" in name for name in weights(tmp_path / "run"))
    AutoModelForCausalLM.from_pretrained(tmp_path / "run")


def test_a_stage_whose_domain_is_missing_says_so(plan, tmp_path):
    with pytest.raises(DataError, match="no domain"):
        train(plan(stage_one=None, stage_two={"domain": str(tmp_path / "none"), **SMALL}), tmp_path / "run")


def test_a_domain_with_nothing_to_learn_from_is_named(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "training_windows", lambda *_: [])
    with pytest.raises(DataError, match="tiny: no user has two items to train on"):
        train(plan(stage_one=None), tmp_path / "run", use_cpu=True)


def test_a_mended_recipe_may_be_tried_again_in_the_same_folder(plan, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with pytest.raises(DataError, match="no domain"):
        train(plan(stage_one=None, stage_two={"domain": str(tmp_path / "none"), **SMALL}), run, use_cpu=True)
    with pytest.raises(ConfigError, match="train_layers"):
        train(plan(stage_one=None, model={**RANDOM, "train_layers": 9}), run, use_cpu=True)
    with monkeypatch.context() as broken:
        broken.setattr(stages, "stage_callbacks", lambda _: [InterruptAt(1)])
        with pytest.raises(InterruptionError):
            train(plan(), run, use_cpu=True)
    assert train(plan(stage_one=None), run, use_cpu=True).stage == "stage-two"


def test_a_recipe_is_fixed_once_something_is_learnt(plan, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as broken:
        broken.setattr(stages, "stage_callbacks", lambda _: [InterruptAt(4)])
        with pytest.raises(InterruptionError):
            train(plan(stage_one=None), run, use_cpu=True)
    with pytest.raises(ConfigError, match="another recipe"):
        train(plan(stage_one=None, objective={"alpha": 0}), run, use_cpu=True)


def test_a_plan_that_cannot_be_read_is_named(plan, tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match="no plan of a run"):
        train(plan(), tmp_path, use_cpu=True)


def test_a_plan_without_a_stage_is_refused(plan):
    with pytest.raises(ValueError, match="stage_one, stage_two or both"):
        plan(stage_one=None, stage_two=None)


def test_an_attribute_that_no_item_has_is_told(plan, tmp_path, caplog):
    train(plan(stage_one=None, text={"attributes": ["title", "brnad"]}), tmp_path / "run", use_cpu=True)
    assert "text.attributes: items of tiny have no brnad" in caplog.messages


def test_texts_of_the_catalogue_need_a_weight(plan):
    stage = {**plan().stage_two.model_dump(), "catalogue_texts": 2}
    with pytest.raises(ValueError, match="catalogue_texts needs an objective"):
        plan(stage_two=stage)
    assert plan(stage_two=stage, objective={"item_weight": 0.1}).stage_two.catalogue_texts == 2


def test_a_loss_that_is_no_number_names_the_users_and_reaches_no_checkpoint(plan, tmp_path, monkeypatch):
    forward, passes = Alignment.forward, []

    def broken(self, *args, **batch):
        output = forward(self, *args, **batch)
        passes.append(self.training)
        return output._replace(next_item=output.next_item * float("nan")) if sum(passes) > 2 else output

    with monkeypatch.context() as change:
        change.setattr(Alignment, "forward", broken)
        with pytest.raises(ModelError, match=r"update 3: the loss of \d+ users is nan; users 'u\d\d'"):
            train(plan(stage_one=None), tmp_path / "run", use_cpu=True)
    kept = list((tmp_path / "run" / "stage-two").glob("checkpoint-*"))
    assert kept
    assert all(torch.isfinite(value).all() for folder in kept for value in weights(folder).values())


def test_a_processor_that_is_slow_in_the_recipes_dtype_is_warned_of(plan, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("calrec.model.precision.slowdown", lambda dtype, _: 30.0 if dtype == "bfloat16" else 1.0)
    train(plan(stage_one=None, model={**RANDOM, "compute": "bfloat16"}), tmp_path / "run", use_cpu=True)
    (message,) = [message for message in caplog.messages if "matrix products" in message]
    assert "in bfloat16 take about 30 times as long as in float32 here: set model.compute=float32" in message
