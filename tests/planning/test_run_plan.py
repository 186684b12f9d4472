"""Advice, mistakes, and plans of a model whose weights are not here."""

from dataclasses import replace

import polars as pl
import pytest

from calrec.data.store import save, split_hash
from calrec.errors import ConfigError, DataError, ModelError
from calrec.model import backbones
from calrec.model.backbones import BackboneSettings, backbone_or_shape
from calrec.planning.run_plan import plan_run


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No other work on the machine, whatever there is."""
    monkeypatch.setattr("psutil.getloadavg", lambda: (0.0, 0.0, 0.0))


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


def test_no_pass_is_run_that_would_take_forever(plan, monkeypatch):
    monkeypatch.setattr("calrec.planning.run_plan.slowdown", lambda dtype, _: 30.0 if dtype == "bfloat16" else 1.0)
    assert plan_run(plan({"compute": "float32"}), use_cpu=True).stages[0].here is not None
    for name in ("compute", "dtype"):
        narrow = {name: "bfloat16"}
        planned = plan_run(plan(narrow), use_cpu=True)
        assert planned.stages[0].here is None
        assert "in bfloat16 take about 30 times as long as in float32 here" in planned.advice[0]
        assert planned.advice[0].endswith(f": set model.{name}=float32")


@pytest.mark.parametrize(("load", "said"), [(0.2, 0), (1e3, 1)])
def test_a_busy_machine_is_told(plan, monkeypatch, load, said):
    monkeypatch.setattr("psutil.getloadavg", lambda: (load, 0.0, 0.0))
    planned = plan_run(plan({}), use_cpu=True)
    assert len([line for line in planned.advice if "plan again when it is quiet" in line]) == said


def test_items_that_the_recipe_writes_alike_are_counted(plan, tiny_domain, tmp_path):
    items = tiny_domain.items.with_columns(title="the " + pl.col("title"))
    changed = {"split_hash": split_hash(items, tiny_domain.sequences)}
    manifest = tiny_domain.manifest.model_copy(update=changed)
    save(replace(tiny_domain, path=tmp_path / "the", items=items, manifest=manifest))
    for words, alike in ((1, 1), (2, 0)):
        recipe = plan(
            stage={"domain": str(tmp_path / "the")}, text={"attributes": [{"name": "title", "max_words": words}]}
        )
        advice = plan_run(recipe, use_cpu=True, probing=False).advice
        assert len([line for line in advice if "9 of 9 items of tiny read like another one" in line]) == alike
