"""Two processes make the updates of one: the same losses, gradients and weights, to rounding."""

import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch
import yaml

from calrec.training.config import TrainingPlan
from calrec.training.stages import train


@pytest.fixture
def recipe(tiny_domain):
    """Both stages, several passes an update in the first; top layers over a cached trunk in the second."""
    stage = {"tokens_per_batch": 300, "validations": 2, "validation_users": 6, "learning_rate": 1e-2, "targets": "all"}
    return {
        "text": {"attributes": ["title"], "user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"},
        "model": {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 2, "heads": 2}},
        "objective": {"alpha": 0.3, "beta": 0.1, "item_weight": 0.2},
        "stage_one": {"domains": [str(tiny_domain.path)] * 2, "epochs": 2, "accumulation": 4, **stage},
        "stage_two": {"domain": str(tiny_domain.path), "epochs": 3, "accumulation": 2, **stage},
    }


def torchrun(tmp_path, recipe, out, processes=2):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += ["-m", "calrec", "train", str(path), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_two_processes_make_the_updates_of_one(recipe, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    finished = torchrun(tmp_path, recipe, two)
    assert finished.returncode == 0, finished.stderr[-3000:]
    train(TrainingPlan.model_validate(recipe), one, use_cpu=True)
    for stage in ("stage-one", "stage-two"):
        logs = [json.loads((run / stage / "history.json").read_text()) for run in (one, two)]
        assert [entry["step"] for entry in logs[0]] == [entry["step"] for entry in logs[1]]
        for alone, shared in zip(*logs, strict=True):
            for name in {"loss", "grad_norm", "nig", "tt", "ut", "item", "eval_loss", "eval_tt", "epoch"} & set(alone):
                assert shared[name] == pytest.approx(alone[name], rel=1e-3), (stage, alone["step"], name)
    weights = [safetensors.torch.load_file(run / "model.safetensors") for run in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=2e-3)


def test_passes_that_cannot_be_shared_out_are_named(recipe, tmp_path):
    recipe["stage_one"]["accumulation"] = 3
    finished = torchrun(tmp_path, recipe, tmp_path / "run")
    assert finished.returncode != 0
    assert "accumulation = 3 passes cannot be shared out among 2 processes: set it to a multiple" in finished.stderr
