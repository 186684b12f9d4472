"""What a plan times on this device; nothing of it stays."""

import tempfile

import numpy as np
import pytest
import torch

from calrec.model.backbones import load_backbone
from calrec.planning.probe import chosen, spread
from calrec.planning.run_plan import plan_run


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
    changes = {"cache_gb": 1, "accumulation": 2}
    stage = plan(model, changes).stage_two.model_dump(exclude={"domain"})
    settings = plan(model, changes, stage_one={"domains": [str(tiny_domain.path)] * 2, **stage})
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
