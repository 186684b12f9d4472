"""That the benchmark of generation runs and writes what is agreed on; how fast anything is, no test can say."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rank_bm25")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "generation.py"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    file = tmp_path_factory.mktemp("benchmark") / "generation.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


def test_every_claim_has_the_agreed_fields(quick):
    assert len(quick["claims"]) == 15
    for claim in quick["claims"]:
        assert set(claim) == {"name", "ratio", "goal", "ours", "peer", "unit"}
        assert all(math.isfinite(claim[field]) and claim[field] > 0 for field in ("ratio", "goal", "ours", "peer"))


def test_the_samples_of_all_modes_are_equal(quick):
    assert set(quick["details"]["equality"]) == {"tree", "draft", "tree, bound", "draft, bound"}
    for mode in quick["details"]["equality"].values():
        assert mode["tokens"] > 0
        assert not mode["differences"]


def test_what_was_computed_stands_beside_the_seconds(quick):
    per_user = quick["details"]["speed"]["per_user"]
    assert set(per_user) == set(quick["details"]["speed"]["seconds"])
    assert per_user["tree"]["tokens"] < per_user["generate + rank_bm25"]["tokens"]


def test_growth_has_a_row_a_size(quick):
    assert set(quick["growth"]) == {
        "samples",
        "items in the history",
        "users in a batch",
        "items in the catalogue",
    }
    assert all(len(rows) == 2 for rows in quick["growth"].values())
