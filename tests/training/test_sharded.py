"""FSDP2 over two processes on a CPU: what the sharded model computes, saves and loads is what the whole one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed

from calrec.errors import ConfigError
from calrec.training import stages
from calrec.training.config import TrainingPlan

WORKER = Path(__file__).with_name("sharded.py")


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
def test_sharded_equals_whole(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(WORKER)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    finished = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert finished.returncode == 0, finished.stderr[-4000:]


def test_adapters_are_not_sharded(monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    plan = TrainingPlan.model_validate({"model": {"lora": {}}, "stage_two": {"domain": "none"}})
    with pytest.raises(ConfigError, match=r"model\.lora is not trained under FSDP"):
        stages.train(plan, tmp_path, use_cpu=True)
