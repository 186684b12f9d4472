"""Evaluation by the commands a user types."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from calrec.cli.main import main
from calrec.evaluation.compare import labels


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def results(tiny_domain, tmp_path, capsys):
    made = []
    for name in ("popularity", "markov"):
        made.append(tmp_path / name)
        assert run("evaluate", name, "--data", tiny_domain.path, "--split", "test", "--out", made[-1]) == 0
    assert "recall@10" in capsys.readouterr().out
    return made


def test_compare_prints_one_table_and_the_tests(results, capsys):
    assert run("compare", *results) == 0
    shown = capsys.readouterr().out
    assert "markov" in shown
    assert "paired over users" in shown
    assert run("compare", *results, "--json", "--metric", "mrr", "--reference", results[0]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["reference"] == str(results[0])
    assert "p_holm" in said["results"][1]["against_reference"]


def test_names_are_whole_where_errors_would_leave_them_no_room(results, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert run("compare", *results) == 0
    first = capsys.readouterr().out.partition("paired over users")[0]
    assert "\n popularity " in first
    assert "±" not in first
    monkeypatch.setenv("COLUMNS", "120")
    assert run("compare", *results) == 0
    assert "±" in capsys.readouterr().out


def test_a_folder_of_results_says_how_to_name_them(results, capsys):
    assert run("compare", results[0].parent) == 2
    assert f"it holds some: name them, as {results[0].parent}/*" in capsys.readouterr().err


def test_results_of_one_method_are_told_apart_by_their_folders(tiny_domain, tmp_path, capsys):
    for name, window in (("near", 1), ("far", 3)):
        settings = ("--set", f"window={window}")
        run("evaluate", "item-knn", "--data", tiny_domain.path, "--out", tmp_path / name, *settings)
    assert run("compare", tmp_path / "near", tmp_path / "far", "--reference", tmp_path / "far") == 0
    shown = capsys.readouterr().out
    assert "\n near " in shown
    assert "against far, paired" in shown


def test_labels_are_the_shortest_that_tell_results_apart():
    def labelled(*results):
        return labels([SimpleNamespace(name=name, path=Path(path)) for name, path in results])

    assert labelled(("markov", "a/x"), ("bm25", "b/x")) == ["markov", "bm25"]
    assert labelled(("bm25", "a/x"), ("bm25", "a/y"), ("markov", "a/z")) == ["x", "y", "markov"]
    assert labelled(("bm25", "a/x"), ("bm25", "b/x"), ("bm25", "b/y")) == ["a/x", "b/x", "y"]
    assert labelled(("bm25", "a/x"), ("bm25", "a/x")) == ["a/x", "a/x"]


def test_results_of_different_protocols_are_refused(results, tiny_domain, tmp_path, capsys):
    run("evaluate", "markov", "--data", tiny_domain.path, "--out", tmp_path / "few", "--users", 5, "--include-last")
    capsys.readouterr()
    assert run("compare", *results, tmp_path / "few") == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith(f"calrec: error: {results[0]} and {tmp_path / 'few'} follow different protocols (users: 12")
    assert "exclude_last: True and False" in error


def test_verify(results, tiny_domain, capsys):
    assert run("verify", results[0], "--data", tiny_domain.path) == 0
    said = json.loads((results[0] / "result.json").read_text())
    said["metrics"]["by_id"]["mrr"] = 0.99
    (results[0] / "result.json").write_text(json.dumps(said))
    assert run("verify", results[0]) == 2
    assert "by_id.mrr is 0.99" in capsys.readouterr().err


def test_a_result_that_does_not_verify_is_not_compared(results, capsys):
    said = json.loads((results[0] / "result.json").read_text())
    said["metrics"]["by_id"]["ndcg@10"] = 0.99
    (results[0] / "result.json").write_text(json.dumps(said))
    assert run("compare", *results) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith(f"calrec: error: {results[0]} does not verify: metrics.by_id.ndcg@10 is 0.99")


def test_settings_of_a_method(tiny_domain, tmp_path, capsys):
    arguments = ("evaluate", "item-knn", "--data", tiny_domain.path, "--out", tmp_path / "r", "--json")
    assert run(*arguments, "--set", "window=2", "--users", 5) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["settings"]["window"] == 2
    assert said["protocol"]["users"] == 5


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("nothing", (), "neither a run's folder nor a baseline: baselines are popularity"),
        ("markov", ("--split", "tset"), "choose test or valid"),
        ("item-knn", ("--set", "windwo=2"), "did you mean 'window'?"),
        ("markov", ("--users", "99"), "the split has 12 users"),
        ("markov", ("--method", "beam"), "--method beam says how a trained run ranks, and markov is a baseline"),
        ("item-knn", ("--set", "windwo=2", "--set", "windoe=2"), "did you mean 'window'? unknown key 'windoe'"),
    ],
)
def test_a_mistake_is_one_line(tiny_domain, tmp_path, capsys, method, options, said):
    assert run("evaluate", method, "--data", tiny_domain.path, "--out", tmp_path / "r", *options) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("calrec: error: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "r").exists()
