"""Choosing settings of inference, and using them, by the commands a user types."""

import json

import pytest

from calrec.cli.main import main

FEW = ("--set", "sampling.n=3", "--set", "sampling.max_new_tokens=8", "--set", "beam.width=4")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_tune_then_evaluate_and_recommend(tiny_run, tiny_domain, tmp_path, capsys):
    sources = ("--source", "beam", "--source", "item-knn")
    assert run("tune", tiny_run, "--data", tiny_domain.path, *sources, *FEW) == 0
    shown = capsys.readouterr()
    assert "12 validation users" in shown.out
    assert "weights: beam " in shown.out
    kept = json.loads((tiny_run / "inference.json").read_bytes())
    assert set(kept["settings"]["fusion"]["weights"]) == {"beam", "item-knn"}
    assert kept["chosen_by"]["split_hash"] == tiny_domain.split_hash

    out = tmp_path / "result"
    assert run("evaluate", tiny_run, "--data", tiny_domain.path, "--out", out, "--method", "fused", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == "calrec-fused"
    assert said["settings"]["inference"]["beam"]["width"] == 4
    place = ("--data", tiny_domain.path, "-k", 2, "--json")
    assert run("recommend", tiny_run, "--history", "i0", "--method", "fused", *place) == 0
    assert [place["rank"] for place in json.loads(capsys.readouterr().out)] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "beam"], "name two sources or more"),
        (
            ["--source", "beam", "--source", "item-kn"],
            "--source: 'item-kn' is no method that can be asked here: did you mean item-knn?",
        ),
        (["--source", "beam", "--source", "samples", "--users", "99"], "the split has 12 users"),
        (
            ["--source", "beam", "--source", "samples", "--set", "beam.with=3"],
            "error: --set: unknown key 'beam.with': did you mean 'width'?",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tiny_run, tiny_domain, capsys, arguments, said):
    assert run("tune", tiny_run, "--data", tiny_domain.path, *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("calrec: error: ")
    assert said in error
    assert not (tiny_run / "inference.json").exists()


def test_the_file_and_the_command_line_are_told_apart(tiny_run, tiny_domain, capsys):
    (tiny_run / "inference.json").write_text('{"settings": {"epsilon": 0.5}}')
    assert run("recommend", tiny_run, "--history", "i0", "--set", "epsilom=1") == 2
    assert "error: --set: unknown key 'epsilom'" in capsys.readouterr().err
    (tiny_run / "inference.json").write_text('{"settings": {"epsilom": 0.5}}')
    assert run("recommend", tiny_run, "--history", "i0") == 2
    assert "inference.json: unknown key 'epsilom'" in capsys.readouterr().err


def test_an_unknown_method_is_named(tiny_run, tiny_domain, tmp_path, capsys):
    where = ("--data", tiny_domain.path, "--out", tmp_path / "result")
    assert run("evaluate", tiny_run, *where, "--method", "tower") == 2
    assert "method" in capsys.readouterr().err


def test_a_baseline_in_the_fusion_needs_the_domain(tiny_run, capsys):
    weights = ("--set", "fusion.weights={markov: 1}")
    assert run("recommend", tiny_run, "--history", "i0", "--method", "fused", *weights) == 2
    assert "name the domain with --data" in capsys.readouterr().err
