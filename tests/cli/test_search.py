"""A search by the command a user types, and the command that it names."""

import json
import shlex

import pytest

from calrec.cli.main import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_search_then_evaluate_what_was_chosen(tiny_domain, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = ("--data", tiny_domain.path, "--out", "found", "--grid", "window=[1, 2]", "--set", "decay=0.5")
    assert run("search", "item-knn", *place) == 0
    shown = capsys.readouterr()
    assert "window=2" in shown.out
    assert "[2 of 2] window=2" in shown.err
    following = shown.err.rpartition("Next: calrec ")[2].strip()
    assert run(*shlex.split(following), "--json") == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert run("search", "item-knn", *place, "--json") == 0
    assert settings == {"decay": 0.5, **json.loads(capsys.readouterr().out)["chosen"]}


@pytest.mark.parametrize("text", ["window", "window=3", "=[1, 2]", "window=[1, 2", "window=[]"])
def test_a_grid_that_is_none(tiny_domain, tmp_path, capsys, text):
    assert run("search", "item-knn", "--data", tiny_domain.path, "--out", tmp_path / "out", "--grid", text) == 2
    assert "write KEY=[A, B]" in capsys.readouterr().err


def test_a_key_is_given_once(tiny_domain, tmp_path, capsys):
    twice = ("--grid", "window=[1, 2]", "--grid", "window=[3, 4]")
    assert run("search", "item-knn", "--data", tiny_domain.path, "--out", tmp_path / "out", *twice) == 2
    assert "window has values already" in capsys.readouterr().err
