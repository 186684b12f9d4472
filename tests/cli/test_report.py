"""The report by the command a user types."""

import sys

import pytest

from calrec.cli.main import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def results(tiny_domain, tmp_path):
    for name in ("popularity", "markov"):
        assert run("evaluate", name, "--data", tiny_domain.path, "--out", tmp_path / "results" / name) == 0
    return tmp_path / "results"


def test_a_page_is_written_beside_the_results(results, tiny_domain, capsys):
    capsys.readouterr()
    assert run("report", results, "--data", tiny_domain.path) == 0
    assert capsys.readouterr().out == f"The page is {results / 'report.html'}: results: 2, protocols: 1.\n"
    html = (results / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert f"calrec report {results} --data {tiny_domain.path}" in html
    assert run("report", results) == 0


def test_without_matplotlib_it_says_what_to_install(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("report", results, "--out", tmp_path / "page.html") == 0
    assert "pip install 'calrec[plot]'" in capsys.readouterr().err


def test_mistakes_are_one_line(results, tiny_run, tmp_path, capsys):
    (tmp_path / "thesis.html").write_text("years of work")
    for arguments, said in (
        ((tmp_path / "nothing",), "holds no result: make one with `calrec evaluate"),
        ((results, "--run", tmp_path), "is no run"),
        ((results, "--run", tiny_run), "has no history.json of a stage"),
        ((results, "--out", tmp_path / "thesis.html"), "is no report: choose another --out"),
        ((results, "--data", results), "is no domain"),
    ):
        capsys.readouterr()
        assert run("report", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("calrec: error: ")
        assert said in error
        assert error.count("\n") == 1
