"""Which results stand together, and which are refused."""

import json
import shutil

import pytest

from calrec.baselines import fit_baseline
from calrec.errors import ConfigError, DataError
from calrec.evaluation import evaluate
from calrec.report.ledger import MAIN, comparisons


def test_results_of_one_protocol_stand_together_the_best_first(results, domain):
    valid = fit_baseline("markov", domain)
    evaluate(valid, domain, "valid", results / "deeper" / "valid")
    apart, together = sorted(comparisons(results), key=lambda c: len(c.results))
    assert apart.protocol.split == "valid"
    assert sorted(together.names) == ["markov", "popularity", "samples-2", "samples-4"]
    reached = [result.summary.metrics.by_id[MAIN] for result in together.results]
    assert reached == sorted(reached, reverse=True)


def test_paths_say_where_below_the_folder_a_result_lies(results):
    (comparison,) = comparisons(results)
    assert {str(result.path) for result in comparison.results} == {
        f"results/{name}" for name in ("markov", "popularity", "samples-2", "samples-4")
    }


def test_a_result_alone_is_a_comparison(results):
    (comparison,) = comparisons(results / "markov")
    assert comparison.names == ("markov",)


def test_what_is_hidden_is_left_out(results):
    shutil.copytree(results / "markov", results / ".parts" / "markov")
    (comparison,) = comparisons(results)
    assert len(comparison.results) == 4


def test_a_result_that_does_not_verify_is_refused(results):
    said = json.loads((results / "markov" / "result.json").read_text())
    said["metrics"]["by_id"]["mrr"] = 0.99
    (results / "markov" / "result.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"results/markov does not verify: metrics.by_id.mrr is 0.99"):
        comparisons(results)


def test_slices_are_verified_against_the_domain(results, domain):
    said = json.loads((results / "markov" / "result.json").read_text())
    next(iter(said["slices"].values()))["by_id"]["mrr"] = 0.99
    (results / "markov" / "result.json").write_text(json.dumps(said))
    assert comparisons(results)
    with pytest.raises(DataError, match=r"results/markov does not verify: slices\."):
        comparisons(results, domain)


def test_a_folder_without_results_and_a_strange_domain_are_mistakes(results, tiny_domain, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no result: make one with `calrec evaluate"):
        comparisons(tmp_path / "empty")
    with pytest.raises(ConfigError, match="no result below"):
        comparisons(results, tiny_domain)
