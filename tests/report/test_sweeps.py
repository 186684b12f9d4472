"""Results over the number of samples."""

from calrec.report.ledger import comparisons
from calrec.report.sweeps import families, samples
from calrec.report.tables import samples_table


def test_results_that_differ_in_their_samples_alone_are_a_family(results):
    (comparison,) = comparisons(results)
    (family,) = families(comparison.results)
    assert {number: result.path.name for number, result in family.items()} == {2: "samples-2", 4: "samples-4"}
    assert list(family) == [2, 4]
    table = samples_table(comparison)
    assert [(name, cells[0].text) for name, cells in table.rows] == [("samples-2", "2"), ("samples-4", "4")]


def test_baselines_and_single_results_are_none(results):
    (comparison,) = comparisons(results / "samples-4")
    assert families(comparison.results) == []
    assert samples_table(comparison) is None
    (comparison,) = comparisons(results / "markov")
    assert samples(comparison.results[0]) is None
