"""Filters of ``calrec recommend``, by the commands a user types."""

import json

import pytest

from calrec.cli.main import main

BEAM = ("--method", "beam", "--set", "likelihood=catalogue")


def recommend(run, *arguments):
    return main(["recommend", str(run), "--history", "i0", *BEAM, *map(str, arguments)])


def ids(capsys):
    return [place["item_id"] for place in json.loads(capsys.readouterr().out)]


def test_attributes_and_ids_narrow_the_ranking(tiny_run, capsys):
    assert recommend(tiny_run, "--where", "brand=farm", "--exclude", "i3", "-k", 9, "--json") == 0
    assert set(ids(capsys)) == {"i1", "i5", "i7"}
    assert recommend(tiny_run, "--allow", "i4", "--allow", "i2", "--json") == 0
    assert set(ids(capsys)) == {"i2", "i4"}


def test_a_filter_that_allows_nothing_says_so(tiny_run, capsys):
    assert recommend(tiny_run, "--allow", "i2", "--exclude", "i2", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == []
    assert "the filter allows no item" in shown.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--where", "brand"], "--where brand: write it as ATTRIBUTE=VALUE"),
        (["--where", "brnd=farm"], "did you mean 'brand'?"),
        (["--allow", "nope"], "'nope' is not in the catalogue"),
    ],
)
def test_a_filter_that_does_not_fit_is_one_line(tiny_run, capsys, arguments, said):
    assert recommend(tiny_run, *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_fitted_ranking_shows_its_reasons(tiny_run, tiny_domain, capsys, monkeypatch):
    monkeypatch.setattr("calrec.tuning.FITTED_FROM", 12)
    sources = ("--source", "beam", "--source", "item-knn", "--set", "beam.width=4")
    assert main(["tune", str(tiny_run), "--data", str(tiny_domain.path), *sources]) == 0
    assert "the model adds" in capsys.readouterr().out
    command = ["recommend", str(tiny_run), "--data", str(tiny_domain.path), "--history", "i0", "--explain"]
    assert main([*command, "--method", "fused"]) == 0
    assert "because" in capsys.readouterr().out
