"""Weights and corrections that are chosen on validation, and that evaluation then reaches."""

import numpy as np
import pytest

from calrec import CALRec
from calrec.errors import ConfigError
from calrec.evaluation import evaluate
from calrec.pipeline import InferenceSettings
from calrec.pipeline.methods import Request, Scored
from calrec.pipeline.settings import CorrectionSettings
from calrec.pipeline.tuned import load_inference, save_inference
from calrec.tuning import chosen_by, tune

SOURCES = ("samples", "beam", "likelihood", "item-knn")


@pytest.fixture
def recommender(tiny_run, tiny_domain):
    values = {
        "method": "fused",
        "sampling": {"n": 4, "max_new_tokens": 12},
        "beam": {"width": 5},
        "fusion": {"weights": dict.fromkeys(SOURCES, 1.0)},
    }
    return CALRec.for_domain(tiny_run, tiny_domain, InferenceSettings.model_validate(values))


def test_what_was_reached_is_what_evaluation_then_finds(recommender, tiny_run, tiny_domain, tmp_path):
    tuned = tune(recommender, tiny_domain, SOURCES)
    reached = {row.method: row.metrics for row in tuned.rows}
    assert {"samples", "beam", "likelihood", "item-knn", "fused"} <= set(reached)
    assert reached["fused"]["ndcg@10"] >= max(metrics["ndcg@10"] for metrics in reached.values())
    save_inference(tiny_run, tuned.settings, chosen_by(tuned, tiny_domain))
    settings = load_inference(tiny_run)
    assert settings == tuned.settings
    for method in ("fused", "samples", "beam"):
        chosen = CALRec.for_domain(tiny_run, tiny_domain, settings.model_copy(update={"method": method}))
        result = evaluate(chosen, tiny_domain, "valid", tmp_path / method)
        plain = method if settings.correction == CorrectionSettings() or method != "beam" else f"{method}, corrected"
        assert result.summary.metrics.by_id["ndcg@10"] == pytest.approx(reached[plain]["ndcg@10"])


@pytest.mark.parametrize("how", ["reciprocal-rank", "weighted"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_joined_is_what_evaluation_joins(recommender, tiny_domain, tmp_path, monkeypatch, how, seed):
    """Sources that also rank the last item, which evaluation takes out after joining, and leave some items out."""

    def made_up(source):
        def scored(request):
            draws = [np.random.default_rng((seed, source, int(h.user_id[1:]))) for h in request.histories]
            return Scored(np.stack([np.where(d.random(9) < 0.3, -np.inf, d.random(9)) for d in draws]))

        return scored

    monkeypatch.setattr(Request, "_samples", made_up(0))
    monkeypatch.setattr(Request, "_towers", made_up(1))
    values = {"method": "fused", "fusion": {"how": how, "weights": {"samples": 1, "towers": 1}}}
    recommender.settings = InferenceSettings.model_validate(values)
    tuned = tune(recommender, tiny_domain, ["samples", "towers"])
    recommender.settings = tuned.settings
    found = evaluate(recommender, tiny_domain, "valid", tmp_path / "out").summary.metrics.by_id
    assert tuned.rows[-1].metrics["ndcg@10"] == pytest.approx(found["ndcg@10"], abs=1e-12)


@pytest.fixture
def knowing(monkeypatch, recommender):
    """Made-up sources: ``samples`` never knows, ``towers`` always does, ``beam`` after the right correction."""
    index = recommender.index
    priors = np.linspace(-9, -1, len(index.catalogue))
    vars(index)["priors"] = priors

    def uncorrected(request, source):
        scores = np.zeros((len(request.histories), len(index.catalogue)))
        for row, history in zip(scores, request.histories, strict=True):
            # The tiny domain's users walk a ring with a step of their own.
            step = 1 + int(history.user_id[1:]) % 2
            target = (int(history.item_ids[-1][1:]) + step) % len(row)
            row[target] = -2 if source == "samples" else 1
            if source == "beam":
                row += 0.5 * priors
        return scores

    monkeypatch.setattr(Request, "uncorrected", uncorrected)


def test_the_source_that_knows_is_trusted(knowing, recommender, tiny_domain):
    tuned = tune(recommender, tiny_domain, ["samples", "towers"])
    weights = tuned.settings.fusion.weights
    assert weights["towers"] > weights["samples"]
    assert {row.method: row.metrics["recall@1"] for row in tuned.rows}["fused"] == 1


def test_the_correction_that_was_missing_is_found(knowing, recommender, tiny_domain):
    tuned = tune(recommender, tiny_domain, ["beam", "samples"])
    assert tuned.settings.correction.prior == 0.5
    reached = {row.method: row.metrics["recall@1"] for row in tuned.rows}
    assert reached["beam"] < reached["beam, corrected"] == 1


def test_joined_is_never_worse_than_a_source_alone(recommender, tiny_domain):
    tuned = tune(recommender, tiny_domain, ["samples", "beam", "towers"])
    *alone, fused = [row.metrics["ndcg@10"] for row in tuned.rows]
    assert fused >= max(alone)


def test_nothing_better_leaves_everything_as_it_was(monkeypatch, recommender, tiny_domain):
    monkeypatch.setattr(Request, "uncorrected", lambda request, source: np.full((len(request.histories), 9), -np.inf))
    vars(recommender.index)["priors"] = np.zeros(9)
    tuned = tune(recommender, tiny_domain, ["beam", "samples"])
    assert tuned.settings.correction == CorrectionSettings()
    assert dict(tuned.settings.fusion.weights) == {"beam": 1.0, "samples": 1.0}


def test_a_sample_of_users_and_one_source(recommender, tiny_domain):
    assert tune(recommender, tiny_domain, ["samples", "item-knn"], users=5).users == 5
    with pytest.raises(ConfigError, match="nothing to join in samples"):
        tune(recommender, tiny_domain, ["samples", "samples"])


def test_a_damaged_file_is_named(tiny_run):
    assert load_inference(tiny_run, ["method=beam"]).method == "beam"
    (tiny_run / "inference.json").write_text("{")
    with pytest.raises(ConfigError, match=r"inference\.json cannot be read .* call calrec tune again"):
        load_inference(tiny_run)


@pytest.fixture
def fitting(monkeypatch):
    """Twelve users are enough to fit a ranking."""
    monkeypatch.setattr("calrec.tuning.FITTED_FROM", 12)


def test_a_fitted_ranking_is_what_evaluation_then_uses(fitting, recommender, tiny_run, tiny_domain, tmp_path):
    tuned = tune(recommender, tiny_domain, ["beam", "item-knn"])
    assert [row.method for row in tuned.rows][-2:] == ["baselines, fused", "fused"]
    assert tuned.added is not None
    assert tuned.settings.fusion.how == "fitted"
    save_inference(tiny_run, tuned.settings, chosen_by(tuned, tiny_domain))
    chosen = CALRec.for_domain(tiny_run, tiny_domain, load_inference(tiny_run, ["method=fused"]))
    result = evaluate(chosen, tiny_domain, "test", tmp_path / "out", settings=chosen.described)
    assert result.summary.settings["inference"]["fusion"]["ranker"]["names"]
    # Tiny walks are regular: what came next before comes next again.
    assert result.summary.metrics.by_id["recall@1"] > 0.5


def test_a_fitted_ranking_says_why(fitting, recommender, tiny_run, tiny_domain):
    tuned = tune(recommender, tiny_domain, ["beam", "item-knn"])
    chosen = CALRec.for_domain(tiny_run, tiny_domain, tuned.settings.model_copy(update={"method": "fused"}))
    for place in chosen.recommend([["i0", "i1"]], 3)[0]:
        assert len(place.trace.features) == 5
        sizes = [abs(value) for _, value in place.trace.features]
        assert sizes == sorted(sizes, reverse=True)


def test_few_users_are_said_and_weighed(recommender, tiny_domain, caplog):
    tuned = tune(recommender, tiny_domain, ["samples", "item-knn"])
    assert "12 validation users are too few to fit" in caplog.text
    assert tuned.settings.fusion.how == "reciprocal-rank"


def test_a_fitted_ranking_of_other_sources_is_refused(fitting, recommender, tiny_run, tiny_domain):
    tuned = tune(recommender, tiny_domain, ["beam", "item-knn"])
    save_inference(tiny_run, tuned.settings, chosen_by(tuned, tiny_domain))
    with pytest.raises(ConfigError, match="was fitted on beam, item-knn: set how=reciprocal-rank"):
        load_inference(tiny_run, ["fusion.weights={beam: 1, popularity: 1}"])
    assert load_inference(tiny_run, ["fusion.weights={beam: 1, popularity: 1}", "fusion.how=weighted"])


def test_a_fitted_ranking_needs_the_domain(fitting, recommender, tiny_run, tiny_domain):
    tuned = tune(recommender, tiny_domain, ["beam", "samples"])
    alone = CALRec.from_pretrained(tiny_run, settings=tuned.settings.model_copy(update={"method": "fused"}))
    with pytest.raises(ConfigError, match="name the domain with --data"):
        alone.recommend([["i0"]], 3)
