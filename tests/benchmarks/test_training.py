"""That the benchmark of training runs and writes what is agreed on; how fast anything is, no test can say."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"
COMPARED = ("examples", "memory", "cache", "products", "sft")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What a quick run printed, and its JSON."""
    file = tmp_path_factory.mktemp("benchmark") / "training.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_every_claim_has_the_agreed_fields(quick):
    _, result = quick
    assert len(result["claims"]) >= len(COMPARED) - 1  # TRL may be missing
    for claim in result["claims"]:
        assert set(claim) == {"name", "ratio", "goal", "ours", "peer", "unit"}
        assert all(math.isfinite(claim[field]) and claim[field] > 0 for field in ("ratio", "goal", "ours", "peer"))


def test_the_ratio_is_above_one_where_we_are_better(quick):
    for claim in quick[1]["claims"]:
        more_is_better = claim["unit"].endswith("/s")
        better = claim["ours"] > claim["peer"] if more_is_better else claim["ours"] < claim["peer"]
        assert better == (claim["ratio"] > 1)


def test_what_was_measured_is_kept_beside_the_claims(quick):
    printed, result = quick
    assert {"processor", "cores", "threads", "memory_gb", "python", "torch"} <= set(result["machine"])
    assert set(result["details"]) == set(COMPARED)
    assert "losses of the first update" in printed
    assert sum(result["details"]["products"]["float32"]["shares"].values()) == pytest.approx(1, abs=0.1)


def test_growth_has_a_row_a_size(quick):
    growth = quick[1]["growth"]
    assert set(growth) == {"sequence length", "tokens a batch", "domains"}
    for rows in growth.values():
        assert len(rows) >= 3
        assert all(row["seconds_per_token"] > 0 for row in rows)
