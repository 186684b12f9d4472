"""``calrec plan``, as a user types it."""

import json

import pytest

from calrec.cli.main import main

RECIPE = """
text: {attributes: [title]}
model: {backbone: bytes, init: random, random: {hidden_size: 16, layers: 2, heads: 2}, train_layers: 1}
stage_one: {domains: [DOMAIN], epochs: 1, tokens_per_batch: 2000, validations: 1, validation_users: 4}
stage_two: {domain: DOMAIN, epochs: 2, tokens_per_batch: 2000, validations: 1, validation_users: 4}
"""


@pytest.fixture
def recipe(tiny_domain, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("DOMAIN", str(tiny_domain.path)))
    return str(path)


def test_a_plan_for_people(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    before = sorted(tmp_path.rglob("*"))
    assert main(["plan", recipe, "--cpu"]) == 0
    out, err = capsys.readouterr()
    for said in (
        "stage-one",
        "stage-two",
        "tokens an epoch",
        "parameters trained",
        "peak memory here",
        "8 x 80 GB GPUs",
    ):
        assert said in out
    assert "estimates, not measured" in out
    assert "Here: " in out
    assert "stage-two: set cache_gb=" in out
    assert "running a few passes" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_for_programs(recipe, capsys):
    arguments = ["plan", recipe, "--cpu", "--json", "--set", "stage_one=null", "--set", "stage_two.cache_gb=1"]
    assert main(arguments) == 0
    planned = json.loads(capsys.readouterr().out)
    (stage,) = planned["stages"]
    assert planned["seconds"] > sum(stage["here"]["seconds"].values()) > 0
    assert stage["cache"]["used"]
    assert stage["counts"]["tokens"] == 2 * stage["counts"]["tokens_per_epoch"]
    assert {estimate["device"] for estimate in stage["elsewhere"]} >= {"one 24 GB GPU", "one 80 GB GPU"}


def test_counts_alone(recipe, capsys):
    assert main(["plan", recipe, "--cpu", "--no-probe"]) == 0
    out, err = capsys.readouterr()
    assert "not probed" in out
    assert "Here: " not in out
    assert "running" not in err
    assert main(["plan", recipe, "--cpu", "--no-probe", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no such file"),
        (["RECIPE", "--set", "stage_two.epoch=3"], "did you mean 'epochs'?"),
        (["RECIPE", "--set", "stage_two.domain=nowhere"], "nowhere is no domain"),
    ],
)
def test_a_mistake_is_one_line(recipe, capsys, arguments, said):
    assert main(["plan", *(recipe if argument == "RECIPE" else argument for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("calrec: error: ")
    assert said in err
    assert err.count("\n") == 1
