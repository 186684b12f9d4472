"""From a recipe to recommendations, by the commands a user types."""

import json
import shlex

import pytest

from calrec.cli.main import main

RECIPE = """
text: {attributes: [title]}
model: {backbone: bytes, init: random, random: {hidden_size: 16, layers: 2, heads: 2}}
stage_two: {domain: DOMAIN, epochs: 1, tokens_per_batch: 2000, validations: 1, validation_users: 4}
"""


@pytest.fixture
def recipe(tiny_domain, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("DOMAIN", str(tiny_domain.path)))
    return path


def test_train_then_recommend(recipe, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", str(recipe), "--out", run, "--cpu", "--json", "--set", "objective.alpha=0.2"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["plan"]["objective"]["alpha"] == 0.2

    few = ["--set", "sampling.n=3", "--set", "sampling.max_new_tokens=8"]
    assert main(["recommend", run, "--history", "i0", "--history", "bread 1", "-k", "2", "--json", *few]) == 0
    for place in json.loads(capsys.readouterr().out):
        assert {"item_id", "score", "rank", "text", "trace"} <= set(place)
    assert main(["recommend", run, "--history", "i0", "--explain", *few]) == 0
    assert "the model wrote" in capsys.readouterr().out


def test_what_train_says_comes_next_does(recipe, tmp_path, capsys, monkeypatch):
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), "--cpu"]) == 0
    following = capsys.readouterr().err.partition("Next: calrec ")[2]
    monkeypatch.chdir(tmp_path)
    few = ["--users", "3", "--cpu", "--set", "sampling.n=2", "--set", "sampling.max_new_tokens=4"]
    assert main([*shlex.split(following), *few]) == 0
    assert (tmp_path / "results" / "run" / "result.json").is_file()
    assert "was not trained on" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "stage_two.epoch=3"], "did you mean 'epochs'?"),
        (["--set", "stage_two.domain=nowhere"], "nowhere is no domain"),
        (["--set", "model.train_layers=9"], "the backbone has 2 layers"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line(recipe, tmp_path, capsys, arguments, said):
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), "--cpu", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("calrec: error: ")
    assert said in error


def test_recommending_from_what_is_no_run(tmp_path, capsys):
    assert main(["recommend", str(tmp_path), "--history", "i0"]) == 2
    assert capsys.readouterr().err.startswith("calrec: error: ")
