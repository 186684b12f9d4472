"""What a stage leaves for people to look at: events for TensorBoard, a picture of the curves."""

import importlib.util
import json
import sys

import pytest

from calrec.cli.main import main
from calrec.errors import ConfigError
from calrec.training import trackers
from calrec.training.config import TrainingPlan
from calrec.training.stages import train
from calrec.training.trackers import require_trackers


def a_plan(domain, *names):
    stage = {"epochs": 2, "tokens_per_batch": 400, "validations": 2, "validation_users": 6, "trackers": names}
    return TrainingPlan.model_validate(
        {
            "text": {"attributes": ["title"], "user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"},
            "model": {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 2, "heads": 2}},
            "objective": {"item_weight": 0.1},
            "stage_two": {"domain": str(domain), **stage},
        }
    )


def test_tensorboard_gets_every_term_offline(tiny_domain, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(a_plan(tiny_domain.path, "tensorboard"), tmp_path / "run", use_cpu=True)
    stage = tmp_path / "run" / "stage-two"
    (events,) = {file.parent for file in stage.rglob("events.out.tfevents.*")}
    read = accumulator.EventAccumulator(str(events)).Reload()
    terms = {"loss", "nig", "tt", "ut", "item"}
    wanted = {f"train/{name}" for name in (*terms, "learning_rate", "grad_norm", "epoch")}
    assert wanted | {f"eval/{name}" for name in terms} <= set(read.Tags()["scalars"])
    history = json.loads((stage / "history.json").read_text())
    for tag, key in (("train/nig", "nig"), ("eval/tt", "eval_tt")):
        seen = [(event.step, pytest.approx(event.value, rel=1e-5)) for event in read.Scalars(tag)]
        assert [(entry["step"], entry[key]) for entry in history if key in entry] == seen


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_the_curves_are_a_picture_in_the_stages_folder(tiny_domain, tmp_path):
    train(a_plan(tiny_domain.path), tmp_path / "run", use_cpu=True)
    assert (tmp_path / "run" / "stage-two" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "run").rglob("events.out.tfevents.*"))


def test_without_matplotlib_it_says_what_to_install(tiny_domain, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    news = []
    train(a_plan(tiny_domain.path), tmp_path / "run", tell=news.append, use_cpu=True)
    assert "no curves.png, as matplotlib is not installed: pip install 'calrec[plot]'" in news


def test_an_unknown_tracker_is_one_line_before_any_work(tiny_domain, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(a_plan(tiny_domain.path, "tensorbord").model_dump_json())
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), "--cpu"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("calrec: error: stage_two.trackers: 'tensorbord' is none: choose of tensorboard, wandb")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "package"), [("tensorboard", r"'calrec\[track\]'"), ("wandb", "wandb")])
def test_a_missing_tracker_says_what_to_install(monkeypatch, name, package):
    monkeypatch.setattr(
        "transformers.integrations.integration_utils.get_available_reporting_integrations", lambda: ["mlflow"]
    )
    with pytest.raises(ConfigError, match=f"stage_two.trackers: {name} is not installed: pip install {package}"):
        require_trackers(a_plan("tiny", "mlflow", name))


@pytest.mark.parametrize("offline", [True, False])
def test_weights_and_biases_stays_local_where_the_network_is_kept_out(monkeypatch, offline):
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(trackers, "offline", lambda: offline)
    require_trackers(a_plan("tiny"))
    assert trackers.os.environ.get("WANDB_MODE") == ("offline" if offline else None)
