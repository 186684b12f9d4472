"""The commands that a page gives make the same results."""

import shlex
from itertools import pairwise

import pytest

from calrec.baselines import SEQUENTIAL, fit_baseline
from calrec.cli.main import main
from calrec.evaluation import load_result
from calrec.pipeline.settings import InferenceSettings
from calrec.report.ledger import comparisons
from calrec.report.reproducing import command, environments
from calrec.settings import read_settings


@pytest.mark.parametrize("users", [5, None])
def test_the_command_of_a_baseline_makes_its_result_again(domain, tmp_path, monkeypatch, capsys, users):
    made = ["evaluate", "item-knn", "--data", str(domain.path), "--out", str(tmp_path / "mine"), "--set", "window=2"]
    assert main([*made, "--include-last", *(("--users", str(users)) if users else ())]) == 0
    (comparison,) = comparisons(tmp_path / "mine")
    (result,) = comparison.results
    program, *arguments = shlex.split(command(result, str(domain.path)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (program, main(arguments)) == ("calrec", 0)
    again = load_result(tmp_path / "elsewhere" / "mine")
    assert again.rankings.equals(result.rankings)
    assert again.summary.protocol == result.summary.protocol
    assert again.summary.settings == result.summary.settings


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_command_of_a_neural_baseline_sets_it_as_it_was(domain, results, name):
    (comparison,) = comparisons(results / "samples-2")
    result = comparison.results[0]
    settings = fit_baseline(name, domain, ["epochs=3", "seed=1"]).settings
    described = settings.model_dump(mode="json") | {"backbone_weights": "e3b0"}
    said = result.summary.model_copy(update={"settings": described, "method": name})
    words = shlex.split(command(type(result)(result.path, said, result.rankings), "domains/x"))
    assert words[:3] == ["calrec", "evaluate", name]
    overrides = [word for flag, word in pairwise(words) if flag == "--set"]
    assert fit_baseline(name, domain, overrides).settings == settings


def test_the_command_of_a_run_sets_inference_as_it_was(results):
    (comparison,) = comparisons(results / "samples-2")
    words = shlex.split(command(comparison.results[0], "domains/x"))
    assert words[:5] == ["calrec", "evaluate", "RUN", "--data", "domains/x"]
    overrides = [word for flag, word in pairwise(words) if flag == "--set"]
    described = read_settings(InferenceSettings, {}, overrides).described()
    assert described == comparison.results[0].summary.settings["inference"]


def test_no_command_is_given_where_none_makes_the_result(results):
    (comparison,) = comparisons(results / "samples-2")
    result = comparison.results[0]
    settings = dict(result.summary.settings)
    settings["inference"] = {**settings["inference"], "grounded": "the most probable text alone"}
    other = result.summary.model_copy(update={"settings": settings})
    assert command(type(result)(result.path, other, result.rankings), "x") == ""
    own = result.summary.model_copy(update={"settings": {}, "method": "my method"})
    assert command(type(result)(result.path, own, result.rankings), "x") == ""


def test_results_of_one_machine_share_a_line(results):
    (comparison,) = comparisons(results)
    ((names, versions, machine),) = environments(comparison)
    assert sorted(names) == sorted(comparison.names)
    assert "polars " in versions
    assert machine
