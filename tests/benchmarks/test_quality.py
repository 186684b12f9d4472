"""That the table of quality and cost is made; what stands in it, no test can say."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality.py"


def test_every_way_has_its_row(tmp_path):
    file = tmp_path / "quality.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(file.read_text())
    assert said["claims"] == []
    assert set(said["quality"]) == {"1 samples", "2 samples", "beam 4", "beam 10", "towers", "likelihood", "fused"}
    for row in said["quality"].values():
        assert {"recall@1", "recall@10", "ndcg@10", "mrr", "seconds", "passes", "tokens"} <= set(row)
        assert row["tokens"] > 0
