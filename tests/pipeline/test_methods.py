"""Every way to rank, on a tiny random model: against the slow computation that it stands for."""

import numpy as np
import pytest
import torch

from calrec import CALRec
from calrec.baselines import fit_baseline
from calrec.errors import ConfigError
from calrec.generation import beam_search
from calrec.pipeline import InferenceSettings, methods
from calrec.protocol import top_k
from calrec.records import History
from calrec.retrieval import fuse

HISTORIES = [History("u1", ("i0", "i2")), History("u2", ("i4",)), History("u3", ("i8", "i1", "i0"))]


@pytest.fixture
def make(tiny_run, tiny_domain):
    def of(**settings):
        values = {"sampling": {"n": 4, "max_new_tokens": 12}, "beam": {"width": 3}} | settings
        return CALRec.for_domain(tiny_run, tiny_domain, InferenceSettings.model_validate(values))

    return of


def log_likelihoods(recommender, prompt):
    """log p(item | prompt) of every item, each in a pass of its own."""
    found = []
    for item in recommender.index.encoder.items:
        ids = torch.tensor([[*prompt, *item.tolist()]])
        log_probs = recommender.lm(ids).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
        found.append(float(log_probs.gather(1, ids[0, len(prompt) :, None]).sum()))
    return np.array(found)


@torch.no_grad()
def test_a_beam_as_wide_as_the_catalogue_gives_every_likelihood(make):
    recommender = make(method="beam", beam={"width": 9})
    expected = [log_likelihoods(recommender, recommender.index.prompt(history).token_ids) for history in HISTORIES]
    assert recommender.score(HISTORIES) == pytest.approx(np.array(expected), abs=1e-4)


@torch.no_grad()
def test_the_correction_is_its_formula(make):
    recommender = make(method="beam", beam={"width": 9}, correction={"prior": 0.4, "length": 0.5})
    prior = log_likelihoods(recommender, recommender.index.encoder.prompt([]).token_ids.tolist())
    assert recommender.index.priors == pytest.approx(prior, abs=1e-4)
    plain = make(method="beam", beam={"width": 9}).score(HISTORIES)
    lengths = np.array([len(item) for item in recommender.index.encoder.items])
    assert recommender.score(HISTORIES) == pytest.approx((plain - 0.4 * prior) / np.sqrt(lengths), abs=1e-4)


def test_a_narrow_beam_recommends_what_it_found(make):
    scores = make(method="beam").score(HISTORIES)
    assert (np.isfinite(scores).sum(axis=1) == 3).all()


@torch.no_grad()
def test_towers_compare_means_of_states(make):
    recommender = make(method="towers")
    encoder, catalogue = recommender.index.encoder, recommender.catalogue

    def mean(tokens, start=0):
        states = recommender.lm.model(torch.tensor([tokens])).last_hidden_state[0, start:]
        return states.mean(dim=0)

    items = torch.stack([mean(item.tolist()) for item in encoder.items])
    for history, row in zip(HISTORIES, recommender.score(HISTORIES), strict=True):
        prompt = encoder.prompt(catalogue.columns(history.item_ids))
        user = mean(prompt.token_ids[: prompt.spans[-1, 1]].tolist())
        assert row == pytest.approx(torch.cosine_similarity(user[None], items).numpy(), abs=2e-3)  # kept in float16


def test_likelihood_ranks_the_candidates_alone(make, tiny_domain):
    recommender = make(method="likelihood", candidates={"sources": ["towers", "markov"], "each": 2})
    everything = make(method="beam", beam={"width": 9}).score(HISTORIES)
    towers, markov = make(method="towers").score(HISTORIES), fit_baseline("markov", tiny_domain)
    for row, likely, near, next_ in zip(
        recommender.score(HISTORIES), everything, towers, markov.score(HISTORIES), strict=True
    ):
        candidates = set(top_k(near, 2)) | set(top_k(next_, 2))
        assert set(np.flatnonzero(np.isfinite(row))) == candidates
        assert row[sorted(candidates)] == pytest.approx(likely[sorted(candidates)], abs=1e-5)


def test_fused_joins_what_its_weights_name(make, tiny_domain):
    weights = {"samples": 1.0, "beam": 0.0, "towers": 2.0, "item-knn": 0.5}
    recommender = make(method="fused", fusion={"weights": weights})
    parts = [make(method=method).score(HISTORIES) for method in ("samples", "towers")]
    parts.append(fit_baseline("item-knn", tiny_domain).score(HISTORIES))
    expected = [fuse(rows, [1.0, 2.0, 0.5]) for rows in zip(*parts, strict=True)]
    assert np.array_equal(recommender.score(HISTORIES), np.array(expected))


def test_what_several_sources_need_is_computed_once(make, monkeypatch):
    searched = []
    monkeypatch.setattr(methods, "beam_search", lambda *arguments: searched.append(1) or beam_search(*arguments))
    request = make(candidates={"sources": ["beam"]}).request(HISTORIES)
    for source in ("beam", "likelihood"):
        request.uncorrected(source)
        request.scored(source)
    assert searched == [1]


def test_methods_say_why_where_they_can(make):
    (ranking, *_) = make(method="beam").recommend(HISTORIES, k=3)
    assert [place.trace.generation for place in ranking] == [place.text for place in ranking]
    assert [place.trace.log_prob for place in ranking] == [place.score for place in ranking]
    (ranking, *_) = make(method="towers").recommend(HISTORIES, k=3)
    assert [place.trace for place in ranking] == [None] * 3
    (ranking, *_) = make(method="fused").recommend(HISTORIES, k=9)
    assert any(place.trace for place in ranking)


def test_bound_samples_are_items(make):
    free, bound = ({"n": 4, "max_new_tokens": 12, "bound": bound} for bound in (False, True))
    texts = set(make().catalogue.texts)
    written = [generation.text for of_user in make(sampling=bound).generate(HISTORIES) for generation in of_user]
    assert set(written) <= texts
    assert not {g.text for of_user in make(sampling=free).generate(HISTORIES) for g in of_user} <= texts
    drafted = make(sampling={**bound, "mode": "draft"}).generate(HISTORIES)
    assert [[g.text for g in of_user] for of_user in drafted] == [
        [g.text for g in of_user] for of_user in make(sampling=bound).generate(HISTORIES)
    ]


def test_each_method_has_a_name_of_its_own(make):
    assert [make(method=method).name for method in ("samples", "beam", "fused")] == [
        "calrec",
        "calrec-beam",
        "calrec-fused",
    ]


def test_a_baseline_without_its_domain_is_refused(tiny_run):
    settings = InferenceSettings.model_validate({"method": "fused", "fusion": {"weights": {"markov": 1}}})
    with pytest.raises(ConfigError, match="markov learns from a domain's purchases: name the domain with --data"):
        CALRec.from_pretrained(tiny_run, settings=settings).score(HISTORIES)


def test_no_histories(make):
    for method in ("samples", "beam", "towers", "likelihood", "fused"):
        assert make(method=method).score([]).shape == (0, 9)
