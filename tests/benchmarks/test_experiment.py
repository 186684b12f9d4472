"""That the comparison runs from end to end; what its numbers are on a random model, nobody wants to know."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "experiment.py"


def test_a_run_stands_beside_the_baselines(tmp_path):
    file = tmp_path / "experiment.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "calrec" in done.stdout
    assert "markov" in done.stdout
    claims = json.loads(file.read_text())["claims"]
    assert [(claim["name"].split(",")[0], claim["goal"]) for claim in claims] == [("recall@1", 1.37), ("ndcg@10", 1.24)]
