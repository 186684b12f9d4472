"""The published results say what their rankings give."""

from pathlib import Path

import pytest

from calrec.evaluation import load_result
from calrec.evaluation.compare import require_one_protocol
from calrec.evaluation.verify import faults

LEDGER = Path(__file__).parents[1] / "docs" / "results" / "ledger"
TABLES = sorted({path.parents[1] for path in LEDGER.rglob("result.json")})


@pytest.mark.parametrize("table", TABLES, ids=lambda path: str(path.relative_to(LEDGER)))
def test_the_results_of_a_table_verify_and_can_be_compared(table):
    results = [load_result(path.parent) for path in sorted(table.glob("*/result.json"))]
    assert {result.path.name: found for result in results if (found := faults(result))} == {}
    require_one_protocol(results)


def test_there_are_some():
    assert len(TABLES) > 4
