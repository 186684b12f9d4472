"""The neural baselines end to end, on rings of nine items."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from calrec.baselines import SEQUENTIAL, fit_baseline
from calrec.cli.evaluate import ready
from calrec.data.splits import training_part
from calrec.errors import ConfigError, ModelError
from calrec.evaluation import evaluate
from calrec.protocol import Recommender
from calrec.records import History

SMALL = ["dim=16", "batch_items=32", "dropout=0.1"]


@pytest.fixture
def fit(tiny_run):
    def fit(name, domain, *overrides):
        backbone = [f"backbone={tiny_run}"] if name == "unisrec" else []
        return fit_baseline(name, domain, [*SMALL, *backbone, *overrides])

    return fit


@pytest.fixture
def rare_domain(tiny_domain):
    """The tiny domain, in which ``i8`` is bought only as somebody's last item: no training sequence holds it."""
    kept = [
        [item for item in ids[:-1] if item != "i8"] + ids[-1:] for ids in tiny_domain.sequences["item_ids"].to_list()
    ]
    sequences = tiny_domain.sequences.with_columns(item_ids=pl.Series(kept))
    return replace(tiny_domain, sequences=sequences.filter(pl.col("item_ids").list.len() >= 3))


@pytest.fixture
def ring_domain(tiny_domain):
    """Thirty-six users who all walk the ring item by item."""
    walks = [[f"i{(user + step) % 9}" for step in range(8)] for user in range(36)]
    users = [f"u{user:02}" for user in range(36)]
    return replace(tiny_domain, sequences=pl.DataFrame({"user_id": users, "item_ids": walks}))


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_each_learns_how_the_ring_is_walked(ring_domain, tmp_path, fit, name):
    # A mask teaches a few items of a sequence at a time: BERT4Rec is far from done after many more passes.
    slow = name == "bert4rec"
    passes = ["epochs=150", "patience=150", "learning_rate=0.003"] if slow else ["epochs=20", "learning_rate=0.01"]
    method = fit(name, ring_domain, *passes)
    assert isinstance(method, Recommender)
    metrics = evaluate(method, ring_domain, "test", tmp_path / "out").summary.metrics
    assert metrics.by_id["recall@1"] > (0.3 if slow else 0.9)  # chance: 1/8


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_best_pass_is_kept_and_its_curve_says_what_evaluation_says(tiny_domain, tmp_path, fit, name):
    method = fit(name, tiny_domain, "epochs=30", "patience=3", "learning_rate=0.03")
    curve = method.prepare()
    assert len(curve) == min(30, np.argmax(curve) + 1 + 3)
    metrics = evaluate(method, tiny_domain, "valid", tmp_path / "out").summary.metrics
    assert metrics.by_id["ndcg@10"] == pytest.approx(max(curve))


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_nothing_is_learnt_from_targets(tiny_domain, fit, name):
    """Other targets, the same training sequences: after one pass, which is the best of one, the same scores."""
    others = [[*training_part(ids), "i0", "i1"] for ids in tiny_domain.sequences["item_ids"].to_list()]
    changed = replace(tiny_domain, sequences=tiny_domain.sequences.with_columns(item_ids=pl.Series(others)))
    histories = [History("x", ("i1", "i2", "i3"))]
    one, other = (fit(name, domain, "epochs=1").score(histories) for domain in (tiny_domain, changed))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_scores_depend_on_the_seed_and_on_no_other_history(tiny_domain, fit, name):
    histories = [History("x", ("i1", "i2", "i3", "i4")), History("y", ("i5",)), History("z", ())]
    one, same, other = (fit(name, tiny_domain, "epochs=2", f"seed={seed}") for seed in (0, 0, 1))
    together = one.score(histories)
    assert together.shape == (3, 9)
    assert np.array_equal(together, np.concatenate([same.score([history]) for history in histories]))
    assert not np.array_equal(together, other.score(histories))


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_only_a_model_of_texts_recommends_what_nobody_bought_in_training(rare_domain, fit, name):
    method = fit(name, rare_domain, "epochs=1")
    scores = method.score([History("x", ("i1", "i2")), History("y", ("i8",))])
    assert np.isfinite(scores[:, :8]).all()
    assert np.isfinite(scores[:, 8]).all() == (name == "unisrec")


@pytest.mark.parametrize("name", set(SEQUENTIAL) - {"unisrec"})
def test_a_history_without_a_known_item_is_ranked_by_popularity(rare_domain, fit, name):
    method, history = fit(name, rare_domain, "epochs=1"), History("x", ("i8", "i8"))
    popular = fit_baseline("popularity", rare_domain).recommend([history], 8)[0]
    assert [place.item_id for place in method.recommend([history], 9)[0]] == [place.item_id for place in popular]


def test_evaluate_takes_them_by_name(tiny_domain):
    method, settings = ready("sasrec", tiny_domain, [*SMALL, "epochs=1"])
    assert method.name == "sasrec"
    assert settings["dim"] == 16
    with pytest.raises(ConfigError, match="did you mean sasrec"):
        ready("sasrek", tiny_domain, [])


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_every_place_of_a_history_is_learnt_from(ring_domain, fit, name):
    method = fit(name, ring_domain, "max_length=4", "epochs=1")  # training sequences have six items
    torch.manual_seed(0)
    before = method.network(ring_domain, method._vocabulary).state_dict()
    after = method._trained[0].state_dict()
    (places,) = [name for name in before if "wpe" in name or "position_embeddings" in name]
    assert (before[places] != after[places]).any(dim=1).all()


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_weights_that_are_no_numbers_are_not_the_best(tiny_domain, fit, name):
    with pytest.raises(ModelError, match=f"{name}: after 1 passes its scores are no numbers; lower learning_rate"):
        fit(name, tiny_domain, "learning_rate=1e30", "epochs=2", "batch_items=2").score([History("x", ("i1",))])


def test_a_finished_result_needs_no_training(tiny_domain, tmp_path, fit):
    done = evaluate(fit("sasrec", tiny_domain, "epochs=1"), tiny_domain, "test", tmp_path / "out")
    again = fit("sasrec", tiny_domain, "epochs=1")
    assert evaluate(again, tiny_domain, "test", tmp_path / "out").summary == done.summary
    assert "_trained" not in vars(again)


def test_unisrec_reads_the_texts_by_which_the_domain_tells_items_apart(tiny_domain, fit):
    history = History("x", ("i1", "i2"))
    both, title = (
        fit("unisrec", tiny_domain, "epochs=1", f"text.attributes={attributes}").score([history])
        for attributes in ("[title, brand]", "[title]")
    )
    own = fit("unisrec", tiny_domain, "epochs=1").score([history])
    assert np.array_equal(own, both)
    assert not np.array_equal(own, title)


def test_unisrec_says_which_weights_read_the_texts(tiny_domain, fit):
    assert len(fit("unisrec", tiny_domain).described["backbone_weights"]) == 64


@pytest.mark.parametrize("override", ["dim=63", "masked=0", "dropout=1"])
def test_impossible_settings_are_refused_before_training(tiny_domain, override):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        fit_baseline("bert4rec", tiny_domain, [override])


def test_naming_the_baselines_imports_no_torch():
    program = "import sys, calrec.baselines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
