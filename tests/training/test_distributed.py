"""Two processes make the updates of one: the same losses, gradients and weights, to rounding."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
import yaml

from calrec.errors import ConfigError
from calrec.training.checkpoints import checkpoints
from calrec.training.config import TrainingPlan
from calrec.training.run_folder import CARD
from calrec.training.stages import train
from calrec.training.zero import require_whole_weights

CONFIGURATIONS = Path(__file__).parents[2] / "docs" / "accelerate"
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None or shutil.which("g++") is None or shutil.which("ninja") is None,
    reason="needs deepspeed, and g++ and ninja, by which it makes its exchange between processes on a CPU",
)


@pytest.fixture
def recipe(tiny_domain):
    """Both stages, several passes an update in the first and one a process in the second."""
    stage = {"tokens_per_batch": 300, "validations": 2, "validation_users": 6, "learning_rate": 1e-2, "targets": "all"}
    return {
        "text": {"attributes": ["title"], "user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"},
        "model": {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 2, "heads": 2}},
        "objective": {"alpha": 0.3, "beta": 0.1, "item_weight": 0.2},
        "stage_one": {"domains": [str(tiny_domain.path)] * 2, "epochs": 2, "accumulation": 4, **stage},
        "stage_two": {"domain": str(tiny_domain.path), "epochs": 3, "accumulation": 2, **stage},
    }


@pytest.fixture
def launched(recipe, tmp_path):
    """Trains the recipe in two processes on CPUs by a launcher; gives the finished process."""

    def launch(launcher, out, program=("-m", "calrec")):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        command = [sys.executable, "-m", *launcher, *program, "train", str(path), "--out", str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)

    return launch


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def accelerate(configuration, *options):
    """A configuration that the documentation gives, on two CPU processes instead of eight GPUs."""
    command = ["accelerate.commands.launch", "--config_file", str(CONFIGURATIONS / configuration)]
    return [*command, "--num_processes", "2", "--mixed_precision", "no", "--main_process_port", "0", *options]


def assert_same_training(one, two):
    for stage in ("stage-one", "stage-two"):
        logs = [json.loads((run / stage / "history.json").read_text()) for run in (one, two)]
        assert [entry["step"] for entry in logs[0]] == [entry["step"] for entry in logs[1]]
        for alone, shared in zip(*logs, strict=True):
            names = {"loss", "grad_norm", "nig", "catalogue", "catalogue_item", "tt", "ut", "item", "epoch"}
            for name in (names | {"eval_loss", "eval_tt", "eval_catalogue"}) & set(alone):
                assert shared[name] == pytest.approx(alone[name], rel=1e-3), (stage, alone["step"], name)
    assert_same_weights(one, two, atol=2e-3)


def assert_same_weights(one, two, atol=0.0):
    weights = [safetensors.torch.load_file(run / "model.safetensors") for run in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=atol)


def interrupted(run, copy):
    """A copy of a run as it was before its last update; gives the checkpoint to go on from."""
    shutil.copytree(run, copy)
    (copy / CARD).unlink()
    *_, before, last = checkpoints(copy / "stage-two").values()
    shutil.rmtree(last)
    return before


@pytest.mark.parametrize("next_item", [{}, {"next_item": "catalogue", "free_share": 0.3}], ids=["free", "both"])
def test_two_processes_make_the_updates_of_one(recipe, launched, tmp_path, next_item):
    recipe["objective"] |= next_item
    one, two = tmp_path / "one", tmp_path / "two"
    finished = launched(TORCHRUN, two, [str(Path(__file__).with_name("late_second.py"))])
    assert finished.returncode == 0, finished.stderr[-3000:]
    train(TrainingPlan.model_validate(recipe), one, use_cpu=True)
    assert_same_training(one, two)


def test_passes_that_cannot_be_shared_out_are_named(recipe, launched, tmp_path):
    recipe["stage_one"]["accumulation"] = 3
    finished = launched(TORCHRUN, tmp_path / "run")
    assert finished.returncode != 0
    assert "accumulation = 3 passes cannot be shared out among 2 processes: set it to a multiple" in finished.stderr


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
def test_fsdp2_makes_the_updates_of_one_process_and_goes_on(recipe, launched, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    launcher = accelerate("fsdp2.yaml", "--fsdp_transformer_layer_cls_to_wrap", "LlamaDecoderLayer")
    program = [str(Path(__file__).with_name("fsdp_on_cpu.py"))]
    finished = launched(launcher, two, program)
    assert finished.returncode == 0, finished.stderr[-3000:]
    train(TrainingPlan.model_validate(recipe), one, use_cpu=True)
    assert_same_training(one, two)
    sharded = interrupted(two, tmp_path / "again")
    assert (sharded / "pytorch_model_fsdp.bin").is_file()  # it was FSDP
    assert launched(launcher, tmp_path / "again", program).returncode == 0
    assert_same_weights(two, tmp_path / "again")


@needs_deepspeed
def test_zero_2_makes_the_updates_of_one_process_and_goes_on(recipe, launched, tmp_path):
    one, two, launcher = tmp_path / "one", tmp_path / "two", accelerate("deepspeed-zero2.yaml")
    finished = launched(launcher, two)
    assert finished.returncode == 0, finished.stderr[-3000:]
    train(TrainingPlan.model_validate(recipe), one, use_cpu=True)
    assert_same_training(one, two)
    interrupted(two, tmp_path / "again")
    assert launched(launcher, tmp_path / "again").returncode == 0
    assert_same_weights(two, tmp_path / "again")
    _assert_nothing_is_run(launched, launcher, interrupted(two, tmp_path / "evil"))


class _Evil:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def _assert_nothing_is_run(launched, launcher, checkpoint):
    run = checkpoint.parents[1]
    state = next(checkpoint.glob("global_step*/zero_pp_rank_0*.pt"))
    torch.save({"optimizer_state_dict": _Evil(str(run / "made"))}, state, pickle_module=pickle)
    finished = launched(launcher, run)
    assert finished.returncode != 0
    assert "holds more than tensors and numbers, and none of it was run" in finished.stderr
    assert not (run / "made").exists()


def test_weights_that_are_cut_up_by_deepspeed_are_refused():
    require_whole_weights(None)
    require_whole_weights(SimpleNamespace(zero_stage=2))
    with pytest.raises(ConfigError, match=r"ZeRO-3 cuts up the weights themselves.*set zero_stage: 2"):
        require_whole_weights(SimpleNamespace(zero_stage=3))
