"""A real process, killed again and again, ends with the weights of one that never was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from calrec.training.run_folder import load_card

RECIPE = """
text: {attributes: [title], user_prefix: U, first_item_prefix: F, next_item_prefix: N}
model: {backbone: bytes, init: random, random: {hidden_size: 16, layers: 2, heads: 2}}
stage_one:
  domains: [DOMAIN, DOMAIN]
  targets: all
  epochs: 7
  tokens_per_batch: 600
  accumulation: 2
  learning_rate: 0.01
  validations: 6
  validation_users: 6
  checkpoint_minutes: 1.0e-9  # after every update
stage_two:
  domain: DOMAIN
  epochs: 16
  tokens_per_batch: 600
  learning_rate: 0.01
  validations: 5
  validation_users: 6
  checkpoint_minutes: 1.0e-9
"""


@pytest.mark.parametrize("seed", [0])
def test_killed_at_any_moment_it_ends_as_the_unbroken_run(tiny_domain, tmp_path, seed):
    recipe, log, unbroken, run = (tmp_path / name for name in ("recipe.yaml", "log", "unbroken", "run"))
    recipe.write_text(RECIPE.replace("DOMAIN", str(tiny_domain.path)))
    script = Path(__file__).with_name("killing.py")
    arguments = [sys.executable, script, recipe, unbroken, run, log, str(seed)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr + log.read_text()[-2000:]
    kills = json.loads(done.stdout.splitlines()[-1])["kills"]  # libraries may have printed before it
    assert len(kills) >= 10, kills
    assert any(kill["unfinished"] for kill in kills)

    for folder in (".", "stage-one/model"):
        one, other = (safetensors.torch.load_file(root / folder / "model.safetensors") for root in (unbroken, run))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert load_card(unbroken / folder) == load_card(run / folder)
    hidden = [path for path in run.rglob(".*") if path.is_file() and path.name != ".lock"]
    assert not [*hidden, *run.rglob(".saving-*"), *run.rglob(".unfinished/*")]
    for stage in ("stage-one", "stage-two"):
        assert len(list((run / stage).glob("checkpoint-*"))) <= 2
