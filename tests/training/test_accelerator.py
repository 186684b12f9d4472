"""Training on an accelerator: what a CPU learns in float32, and whole runs in bfloat16 that serve from there."""

import json
import math

import pytest
import torch

from calrec.cli.main import main
from calrec.training.config import TrainingPlan
from calrec.training.stages import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

SMALL = {"tokens_per_batch": 600, "epochs": 2, "validations": 2, "validation_users": 6, "learning_rate": 1e-3}


@pytest.fixture
def plan(tiny_domain):
    """Both stages, updates of two passes, and every term of the objective."""

    def make(**model):
        shape = {"hidden_size": 32, "layers": 3, "heads": 2}
        return TrainingPlan.model_validate(
            {
                "text": {"attributes": ["title"]},
                "model": {"backbone": "bytes", "init": "random", "random": shape, **model},
                "objective": {"item_weight": 0.3},
                "stage_one": {"domains": [str(tiny_domain.path)], "targets": "all", "accumulation": 2, **SMALL},
                "stage_two": {"domain": str(tiny_domain.path), "targets": "all", "catalogue_texts": 2, **SMALL},
            }
        )

    return make


def losses(run):
    """By stage, those that training and validation logged."""
    entries = [json.loads((run / stage / "history.json").read_text()) for stage in ("stage-one", "stage-two")]
    return [entry[name] for stage in entries for entry in stage for name in ("loss", "eval_loss") if name in entry]


@pytest.mark.parametrize("layers", [None, 2])
def test_in_float32_it_learns_what_a_cpu_learns(plan, tmp_path, layers):
    wanted = plan(compute="float32", train_layers=layers)
    train(wanted, tmp_path / "there")
    train(wanted, tmp_path / "here", use_cpu=True)
    assert losses(tmp_path / "there") == pytest.approx(losses(tmp_path / "here"), rel=1e-3)


def test_in_bfloat16_a_run_trains_and_is_evaluated_by_the_commands(plan, tmp_path, tiny_domain, capsys):
    train(plan(gradient_checkpointing=True), tmp_path / "run")
    assert all(map(math.isfinite, losses(tmp_path / "run")))
    data = ["--data", str(tiny_domain.path), "--split", "valid"]
    for method in ("samples", "beam", "towers"):
        out = tmp_path / f"by-{method}"
        asked = ["evaluate", str(tmp_path / "run"), *data, "--method", method, "--out", str(out)]
        assert main([*asked, "--set", "dtype=bfloat16", "--set", "sampling.max_new_tokens=8"]) == 0, capsys.readouterr()
        assert json.loads((out / "result.json").read_text())["metrics"]["by_id"]
    assert main(["plan", str(tmp_path / "run" / "plan.json")]) == 0, capsys.readouterr()
