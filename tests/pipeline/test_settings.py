"""Settings of inference: which methods ask which, what is said in results, and what is refused."""

import pytest

from calrec.errors import ConfigError
from calrec.pipeline import InferenceSettings
from calrec.settings import read_settings


def made(**values):
    return InferenceSettings.model_validate(values)


def test_only_what_is_asked_is_used():
    assert made().used() == ("samples",)
    fused = made(method="fused", fusion={"weights": {"samples": 1, "beam": 0, "likelihood": 2, "item-knn": 1}})
    assert fused.used() == ("fused", "samples", "likelihood", "towers", "item-knn")


def test_results_say_what_decides_the_scores_and_nothing_else():
    assert made(beam={"width": 7}).described() == made().described()
    assert made(sampling={"mode": "rows", "batch_users": 1}).described() == made().described()
    assert made(sampling={"n": 7}).described() != made().described()
    beam = made(method="beam").described()
    assert beam == {
        "method": "beam",
        "beam": {"width": 32},
        "correction": {"prior": 0.0, "length": 0.0},
        "dtype": "float32",
    }
    assert "weights" in made(method="fused").described()["fusion"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "best"}, "method"),
        ({"fusion": {"weights": {}}}, "one of them more"),
        ({"fusion": {"weights": {"samples": 0}}}, "one of them more"),
        ({"fusion": {"weights": {"samples": 1, "beam": -1}}}, ">= 0"),
        ({"fusion": {"weights": {"tower": 1}}}, "did you mean towers"),
        ({"candidates": {"sources": []}}, "at least one source"),
        ({"candidates": {"sources": ["likelihood"]}}, "no method that can be asked here"),
        ({"beam": {"width": 0}}, "beam.width"),
        ({"correction": {"prior": 3}}, "correction.prior"),
        ({"fusion": {"weights": {"samples": float("nan")}}}, "fusion.weights.samples: .*finite"),
        ({"fusion": {"weights": {"samples": float("inf")}}}, "fusion.weights.samples: .*finite"),
        ({"fusion": {"k": float("inf")}}, "fusion.k: .*finite"),
        ({"epsilon": float("inf")}, "epsilon: .*finite"),
        ({"bm25": {"k1": float("inf")}}, "bm25.k1: .*finite"),
    ],
)
def test_wrong_settings(values, said):
    with pytest.raises(ConfigError, match=said):
        read_settings(InferenceSettings, values)
