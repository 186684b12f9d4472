"""Checkpoints are whole or not taken for one; the last and the best are kept; a run goes on whatever stopped it."""

import errno
import json
import logging
import os
import resource
import signal
from contextlib import contextmanager

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerCallback, TrainerControl, TrainerState

from calrec.atomic import replace_text, room_for
from calrec.cli.main import main
from calrec.errors import ConfigError, ModelError, StorageError
from calrec.training import stages
from calrec.training.checkpoints import (
    checkpoints,
    kept,
    last_whole_checkpoint,
    publish,
    rotate,
)
from calrec.training.config import TrainingPlan
from calrec.training.resuming import Patience, SaveEvery
from calrec.training.run_folder import load_card
from calrec.training.stages import train

WEIGHTS = "model.safetensors"
RANDOM = {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 2, "heads": 2}}
STAGE = {"tokens_per_batch": 600, "epochs": 4, "validations": 4, "validation_users": 6, "learning_rate": 1e-2}


@pytest.fixture
def plan(tiny_domain):
    """A plan of one stage that the fixtures' domain can train in seconds."""

    def make(model=RANDOM, **stage):
        text = {"attributes": ["title"], "user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"}
        stage_two = {"domain": str(tiny_domain.path), **STAGE, **stage}
        return TrainingPlan.model_validate({"text": text, "model": model, "stage_two": stage_two})

    return make


class At(TrainerCallback):
    """Does something after an update, before its checkpoint is written."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


@pytest.fixture
def at(monkeypatch):
    def during(step, action):
        callbacks = stages.stage_callbacks
        return monkeypatch.setattr(stages, "stage_callbacks", lambda settings: [*callbacks(settings), At(step, action)])

    with monkeypatch.context():
        yield during
        monkeypatch.undo()


class StoppedError(Exception):
    pass


def stop():
    raise StoppedError


def weights(run):
    return safetensors.torch.load_file(run / WEIGHTS)


def assert_equal(run, other):
    one, two = weights(run), weights(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def losses(run):
    history = json.loads((run / "stage-two" / "history.json").read_text())
    return [entry for entry in history if "loss" in entry or "eval_loss" in entry]


# Folders


def make_checkpoint(folder, step, best=None):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    safetensors.torch.save_file({"weight": torch.zeros(100)}, path / WEIGHTS)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"step": torch.tensor(step)}, path / name)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_global_step": best}))
    return path


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    "spoil",
    [
        *(
            lambda c, name=name: cut(c / name)
            for name in (WEIGHTS, "optimizer.pt", "rng_state.pth", "trainer_state.json")
        ),
        *(
            lambda c, name=name: (c / name).unlink()
            for name in (WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth")
        ),
        lambda c: (c / "trainer_state.json").write_text(""),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_said_to_be(tmp_path, spoil, caplog):
    for step in (5, 10):
        make_checkpoint(tmp_path, step, best=5)
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-10"
    assert not caplog.records
    spoil(tmp_path / "checkpoint-10")
    with caplog.at_level(logging.WARNING):
        assert last_whole_checkpoint(tmp_path).name == "checkpoint-5"
    assert [record.message.count("checkpoint-10") for record in caplog.records] == [2]


def test_without_its_best_checkpoint_none_is_gone_on_from(tmp_path):
    make_checkpoint(tmp_path, 5, best=5)
    make_checkpoint(tmp_path, 15, best=10)
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-5"


def test_nothing_to_go_on_from(tmp_path):
    make_checkpoint(tmp_path / ".unfinished", 5)
    assert last_whole_checkpoint(tmp_path) is None
    assert last_whole_checkpoint(tmp_path / "none") is None


@given(improves=st.lists(st.booleans(), min_size=1, max_size=30), limit=st.integers(1, 6))
def test_last_and_best_are_kept_and_each_kept_one_can_be_gone_on_from(improves, limit):
    there, best = {}, 0
    for step, better in enumerate(improves):
        best = step if better else best
        there[step] = best
        keep = kept(there, limit)
        assert {step, best} <= keep <= there.keys()
        assert len(keep) <= max(limit, len({step, best}))
        assert all(there[one] in keep for one in keep)
        if limit > 1 and len(set(there.values())) > 1:
            assert len(keep) > 1, "were the last one damaged, there would be none before it"
        there = {one: there[one] for one in keep}


def test_a_checkpoint_takes_the_place_of_a_damaged_one_and_what_is_newer_goes(tmp_path):
    for step in (5, 10, 20):
        make_checkpoint(tmp_path, step, best=5)
    cut(tmp_path / "checkpoint-10" / WEIGHTS)
    publish(make_checkpoint(tmp_path / ".unfinished", 10, best=5), tmp_path)
    rotate(tmp_path, last=10, limit=3)
    assert list(checkpoints(tmp_path)) == [5, 10]
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-10"
    assert not list((tmp_path / ".unfinished").iterdir())


# Whole runs


@pytest.mark.parametrize("limit", [1, 3])
def test_checkpoints_of_a_run(plan, tmp_path, limit):
    run = tmp_path / "run"
    train(plan(save_total_limit=limit, checkpoint_minutes=1e-9), run, use_cpu=True)
    folder = run / "stage-two"
    state = TrainerState.load_from_json(str(last_whole_checkpoint(folder) / "trainer_state.json"))
    assert state.best_model_checkpoint == str(folder / f"checkpoint-{state.best_global_step}")
    assert {state.global_step, state.best_global_step} <= checkpoints(folder).keys()
    assert state.global_step == state.max_steps
    assert len(checkpoints(folder)) == max(limit, len({state.global_step, state.best_global_step}))
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


def test_from_a_damaged_checkpoint_a_run_goes_back_and_ends_the_same(plan, tmp_path, at, monkeypatch):
    settings = plan()
    train(settings, tmp_path / "unbroken", use_cpu=True)
    at(7, stop)
    with pytest.raises(StoppedError):
        train(settings, tmp_path / "run", use_cpu=True)
    monkeypatch.undo()
    cut(last_whole_checkpoint(tmp_path / "run" / "stage-two") / "optimizer.pt")
    (tmp_path / "run").rename(tmp_path / "moved")
    train(settings, tmp_path / "moved", use_cpu=True)
    assert_equal(tmp_path / "unbroken", tmp_path / "moved")
    assert losses(tmp_path / "unbroken") == losses(tmp_path / "moved")


def test_after_the_last_update_only_the_model_is_left_to_write(plan, tmp_path, monkeypatch):
    settings = plan(patience=1, learning_rate=3.0, validations=8)
    train(settings, tmp_path / "run", use_cpu=True)
    folder = tmp_path / "run" / "stage-two"
    state = TrainerState.load_from_json(str(last_whole_checkpoint(folder) / "trainer_state.json"))
    assert state.global_step < state.max_steps, "patience did not end it"
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "moved" / "calrec.json").rename(tmp_path / "calrec.json")
    (tmp_path / "moved" / WEIGHTS).rename(tmp_path / WEIGHTS)
    monkeypatch.setattr(stages.CalrecTrainer, "train", lambda *_, **__: pytest.fail("it went on training"))
    train(settings, tmp_path / "moved", use_cpu=True)
    assert_equal(tmp_path, tmp_path / "moved")
    assert load_card(tmp_path) == load_card(tmp_path / "moved")


@pytest.mark.parametrize("step", [1, 6])
def test_chance_goes_on_where_it_stood(plan, tmp_path, at, monkeypatch, step):
    pytest.importorskip("peft")
    settings = plan({**RANDOM, "lora": {"rank": 2, "dropout": 0.5}}, accumulation=2, epochs=8)
    train(settings, tmp_path / "unbroken", use_cpu=True)
    at(step, stop)
    with pytest.raises(StoppedError):
        train(settings, tmp_path / "run", use_cpu=True)
    monkeypatch.undo()
    torch.rand(7)
    train(settings, tmp_path / "run", use_cpu=True)
    assert_equal(tmp_path / "unbroken", tmp_path / "run")


def test_a_pickle_is_not_run(plan, tmp_path, at, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    at(7, stop)
    with pytest.raises(StoppedError):
        train(plan(), tmp_path / "run", use_cpu=True)
    monkeypatch.undo()
    torch.save({"state": Evil()}, last_whole_checkpoint(tmp_path / "run" / "stage-two") / "optimizer.pt")
    with pytest.raises(ModelError, match="none of it was run"):
        train(plan(), tmp_path / "run", use_cpu=True)
    assert not (tmp_path / "evil").exists()


def test_what_does_not_decide_the_weights_may_change_on_the_way(plan, tmp_path, at, monkeypatch):
    at(7, stop)
    with pytest.raises(StoppedError):
        train(plan(), tmp_path / "run", use_cpu=True)
    monkeypatch.undo()
    path = tmp_path / "run" / "plan.json"
    written = json.loads(path.read_text())
    del written["stage_two"]["save_total_limit"]  # as before there was this setting
    path.write_text(json.dumps(written))
    train(plan(save_total_limit=1, checkpoint_minutes=3), tmp_path / "run", use_cpu=True)
    with pytest.raises(ConfigError, match=r"stage_two\.epochs 4\.0 there and 5\.0 here"):
        train(plan(epochs=5), tmp_path / "run", use_cpu=True)
    path.write_text('{"stage_three": 1}')
    with pytest.raises(ConfigError, match="no plan of a run"):
        train(plan(), tmp_path / "run", use_cpu=True)


# A full disk, and being told to stop


@contextmanager
def limited_files():
    """A function that limits the size of files until the block ends: as a full disk is to whoever writes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


RECIPE = """
text: {attributes: [title], user_prefix: U, first_item_prefix: F, next_item_prefix: N}
model: {backbone: bytes, init: random, random: {hidden_size: 16, layers: 2, heads: 2}}
stage_two: {domain: DOMAIN, epochs: 4, tokens_per_batch: 600, validations: 4, validation_users: 6, learning_rate: 0.01}
"""


@pytest.fixture
def command(tiny_domain, tmp_path):
    """`calrec train` in a folder of the given name."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("DOMAIN", str(tiny_domain.path)))
    return lambda name: main(["train", str(recipe), "--out", str(tmp_path / name), "--cpu"])


@pytest.mark.parametrize("written", [WEIGHTS, "optimizer.pt"])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(command, tmp_path, at, monkeypatch, capfd, written):
    assert command("unbroken") == 0
    step, last = checkpoints(tmp_path / "unbroken" / "stage-two").popitem()
    capfd.readouterr()
    with limited_files() as limit:
        at(step, lambda: limit((last / written).stat().st_size - 1))
        code = command("run")
    assert code == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("calrec: error: ")
    assert "no space left" in error
    assert error.endswith(f"for checkpoint-{step}; free some and call the same command again")
    folder = tmp_path / "run" / "stage-two"
    assert last_whole_checkpoint(folder) == list(checkpoints(folder).values())[-1]
    assert not list(folder.glob(".unfinished/*"))

    monkeypatch.undo()
    assert command("run") == 0
    assert_equal(tmp_path / "unbroken", tmp_path / "run")


def test_a_full_disk_while_the_trunk_is_cached(plan, tmp_path):
    settings = plan({**RANDOM, "train_layers": 1}, cache_gb=1)
    with limited_files() as limit:
        limit(20_000)
        with pytest.raises(StorageError, match=r"no space left .* for trunk-\w+.f16; free some"):
            train(settings, tmp_path / "run", use_cpu=True)
    assert not list((tmp_path / "run" / "stage-two" / "cache").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_stop_says_so_in_one_line(command, tmp_path, at, monkeypatch, capfd, number):
    assert command("unbroken") == 0
    at(7, lambda: os.kill(os.getpid(), number))
    capfd.readouterr()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    code = command("run")
    signal.signal(signal.SIGINT, before)
    assert code == 130
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("calrec: error: interrupted")
    monkeypatch.undo()
    assert command("run") == 0
    assert_equal(tmp_path / "unbroken", tmp_path / "run")


def test_a_file_keeps_its_content_where_there_is_no_room_for_the_new(tmp_path):
    path = tmp_path / "history.json"
    replace_text(path, "[]")
    with limited_files() as limit:
        limit(1000)
        with pytest.raises(StorageError, match=r"no space left .* for history.json; free some"):
            replace_text(path, " " * 2000)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("history.json", "[]")]


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied"), RuntimeError("out of memory"), OSError("odd")])
def test_other_failures_are_not_taken_for_a_full_disk(tmp_path, error):
    with pytest.raises(type(error), match=str(error.args[-1])), room_for("a checkpoint", tmp_path):
        raise error


# Callbacks


def test_patience_is_counted_in_the_log():
    log = [{"eval_loss": loss} for loss in (3.0, 2.0, 2.5, 2.0)] + [{"loss": 1.0}]
    assert [Patience(n).is_over(log) for n in (1, 2, 3)] == [True, True, False]
    assert not Patience(1).is_over([])


def test_a_checkpoint_every_few_minutes():
    now = 0.0
    callback = SaveEvery(2, clock=lambda: now)
    args = type("Args", (), {"world_size": 1})

    def saves():
        control = TrainerControl()
        callback.on_step_end(args, None, control)
        return control.should_save

    now = 119.0
    assert not saves()
    now = 120.0
    assert saves()
    callback.on_save(args, None, None)
    now = 239.0
    assert not saves()
