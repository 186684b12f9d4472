"""A baseline's settings, chosen on validation users."""

import json

import pytest

from calrec.baselines import BASELINES, SEQUENTIAL, fit_baseline
from calrec.errors import ConfigError, DataError
from calrec.evaluation import evaluate, load_result
from calrec.search import GOAL, SEARCH, search


def test_the_best_of_all_combinations_is_first_and_written_down(tiny_domain, tmp_path):
    told = []
    grid = {"window": [1, 3], "decay": [0.1, 0.9]}
    tried = search("item-knn", tiny_domain, tmp_path / "out", grid=grid, users=8, tell=told.append)
    reached = [one.result.summary.metrics.by_id[GOAL] for one in tried]
    assert len(tried) == 4
    assert reached == sorted(reached, reverse=True)
    assert told[0] == "[1 of 4] window=1, decay=0.1"
    said = json.loads((tmp_path / "out" / SEARCH).read_bytes())
    assert said["chosen"] == tried[0].settings
    assert [one[GOAL] for one in said["tried"]] == reached
    assert (said["grid"], said["validation_users"]) == (grid, 8)
    assert {one.result.summary.protocol.split for one in tried} == {"valid"}

    best = fit_baseline("item-knn", tiny_domain, tried[0].overrides)
    same = evaluate(best, tiny_domain, "valid", tmp_path / "same", users=8)
    assert same.rankings.equals(tried[0].result.rankings)


def test_what_is_done_is_not_done_again(tiny_domain, tmp_path, monkeypatch):
    first = search("item-knn", tiny_domain, tmp_path / "out", grid={"window": [1, 3]})
    monkeypatch.setattr(BASELINES["item-knn"], "score", lambda *_: pytest.fail("scored again"))
    again = search("item-knn", tiny_domain, tmp_path / "out", grid={"window": [1, 3]})
    assert [one.result.summary for one in again] == [one.result.summary for one in first]


def test_a_key_may_be_dotted_and_others_fixed(tiny_domain, tmp_path):
    tried = search("bm25", tiny_domain, tmp_path / "out", grid={"bm25.k1": [0.5, 3.0]}, fixed=["itself=false"])
    for one in tried:
        settings = load_result(one.result.path).summary.settings
        assert (settings["itself"], settings["bm25"]["k1"]) == (False, one.settings["bm25.k1"])


@pytest.mark.parametrize("name", [name for name, method in {**BASELINES, **SEQUENTIAL}.items() if method.grid])
def test_every_grid_is_of_settings_there_are_and_has_the_defaults(name):
    method = {**BASELINES, **SEQUENTIAL}[name]
    defaults = method.settings_type()
    for key, values in method.grid.items():
        default = defaults
        for part in key.split("."):
            default = getattr(default, part)
        assert default in values


def test_a_wrong_value_shows_before_anything_is_evaluated(tiny_domain, tmp_path):
    with pytest.raises(ConfigError, match="decay: Input should be less than or equal to 1"):
        search("item-knn", tiny_domain, tmp_path / "out", grid={"decay": [0.5, 1.0, 2.0]})
    assert not (tmp_path / "out").exists()


def test_a_folder_is_that_of_one_search(tiny_domain, tmp_path):
    search("item-knn", tiny_domain, tmp_path / "out", grid={"window": [1, 3]})
    with pytest.raises(ConfigError, match=r"holds another search \(fixed: \[\] and \['decay=0.5'\]\)"):
        search("item-knn", tiny_domain, tmp_path / "out", grid={"window": [1, 3]}, fixed=["decay=0.5"])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(DataError, match="exists and is no search"):
        search("item-knn", tiny_domain, tmp_path / "thesis", grid={"window": [1, 3]})


@pytest.mark.parametrize(
    ("name", "grid", "said"),
    [
        ("popularity", None, "popularity has no grid of its own"),
        ("item-knn", {"window": [1]}, "give one, such as --grid"),
        ("item-kn", None, "did you mean 'item-knn'"),
        ("item-knn", {"windo": [1, 2]}, "did you mean 'window'"),
    ],
)
def test_what_cannot_be_searched(tiny_domain, tmp_path, name, grid, said):
    with pytest.raises(ConfigError, match=said):
        search(name, tiny_domain, tmp_path / "out", grid=grid)
