"""A method is not tested on what it has learnt, whatever the data are called."""

from dataclasses import replace

import polars as pl
import pytest

from calrec.data.learnt import LearntPurchases
from calrec.data.store import split_hash
from calrec.errors import ConfigError
from calrec.evaluation import evaluate
from calrec.evaluation.unseen import require_unseen
from calrec.evaluation.verify import faults


class Trained:
    """A method that has learnt from some domains; nothing is asked of it here."""

    name = "trained"

    def __init__(self, *domains, known=True):
        self.catalogue = domains[0].catalogue
        self.learnt_from = {}
        for domain in domains:
            self.learnt_from.setdefault(domain.name, []).append(domain.split_hash)
        self.learnt = LearntPurchases.of(domains) if known else None

    def score(self, histories):
        raise NotImplementedError

    def recommend(self, histories, k):
        raise NotImplementedError


def version(domain, sequences=None, items=None, name=None):
    items = domain.items if items is None else items
    sequences = domain.sequences if sequences is None else sequences
    changed = {"name": name or domain.name, "split_hash": split_hash(items, sequences)}
    manifest = domain.manifest.model_copy(update=changed)
    return replace(domain, sequences=sequences, items=items, manifest=manifest)


def a_year_later(domain, name=None, users=None):
    """The same with two more purchases of everybody, or of some: the targets of before are training data."""
    more = pl.col("user_id").is_in(users) if users is not None else pl.lit(True)
    sequences = domain.sequences.with_columns(
        item_ids=pl.when(more).then(pl.concat_list("item_ids", pl.col("item_ids").list.head(2))).otherwise("item_ids"),
        timestamps=pl.when(more)
        .then(pl.concat_list("timestamps", pl.col("timestamps").list.tail(2) + 1e9))
        .otherwise("timestamps"),
    )
    return version(domain, sequences, name=name)


@pytest.mark.parametrize("name", ["tiny", "another name"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_learnt_targets_are_refused(tiny_domain, name, split):
    later = a_year_later(tiny_domain, name)
    for domains in ([later], [tiny_domain, later]):
        with pytest.raises(
            ConfigError, match=r"trained has learnt \d+ of 12 targets of .*another version of these data"
        ):
            require_unseen(Trained(*domains), tiny_domain, split)


def test_titles_that_are_written_otherwise_hide_nothing(tiny_domain):
    later = a_year_later(tiny_domain)
    retitled = version(later, items=later.items.with_columns(title="the " + pl.col("title")))
    with pytest.raises(ConfigError, match="has learnt 12 of 12 targets"):
        require_unseen(Trained(retitled), tiny_domain, "test")


def test_the_same_data_and_newer_ones_are_allowed(tiny_domain, caplog):
    require_unseen(Trained(tiny_domain), tiny_domain, "test")
    assert not caplog.records
    require_unseen(Trained(tiny_domain), a_year_later(tiny_domain), "test")
    assert [record.message for record in caplog.records] == [
        f"trained was not trained on {tiny_domain.path}: it knows these items by their texts"
    ]


def test_a_few_purchases_in_common_are_told(tiny_domain, caplog):
    little = a_year_later(tiny_domain, "little", users=["u00", "u01"])
    little = version(little, little.sequences.filter(pl.col("user_id").is_in(["u00", "u01"])), name="little")
    require_unseen(Trained(tiny_domain, little), tiny_domain, "test")
    assert [record.message for record in caplog.records] == [
        f"trained has learnt 2 of 12 targets of {tiny_domain.path}"
    ]


def test_of_a_sample_a_few_are_fewer(tiny_domain, monkeypatch):
    """Where one of two hashes is kept, two that were found stand for four."""
    little = a_year_later(tiny_domain, "little", users=["u00", "u01"])
    little = version(little, little.sequences.filter(pl.col("user_id").is_in(["u00", "u01"])), name="little")
    trained = Trained(tiny_domain, little)
    whole = LearntPurchases.overlaps
    monkeypatch.setattr(
        LearntPurchases,
        "overlaps",
        lambda *args: tuple(overlap._replace(looked_for=6) for overlap in whole(*args)),
    )
    with pytest.raises(ConfigError, match="has learnt 2 of 6 targets"):
        require_unseen(trained, tiny_domain, "test")


def test_one_name_for_other_data_is_no_reason_to_refuse(tiny_domain):
    other = version(
        tiny_domain,
        tiny_domain.sequences.with_columns(user_id="other " + pl.col("user_id")),
        tiny_domain.items.with_columns(title="other " + pl.col("title")),
    )
    assert other.name == tiny_domain.name
    require_unseen(Trained(other), tiny_domain, "test")


def test_where_purchases_are_not_known_a_name_is_all_there_is(tiny_domain, caplog):
    require_unseen(Trained(tiny_domain, known=False), tiny_domain, "test")
    assert not caplog.records
    with pytest.raises(ConfigError, match="trained on another version of tiny"):
        require_unseen(Trained(a_year_later(tiny_domain), known=False), tiny_domain, "test")
    with pytest.raises(ConfigError, match="trained on another version of tiny"):
        require_unseen(Trained(tiny_domain, a_year_later(tiny_domain), known=False), tiny_domain, "test")
    require_unseen(Trained(a_year_later(tiny_domain, "another"), known=False), tiny_domain, "test")
    assert "which purchases trained has learnt is not known" in caplog.text


def test_evaluate_looks_before_it_scores_and_verify_where_nobody_could(tiny_domain, tmp_path):
    from calrec.baselines import fit_baseline

    with pytest.raises(ConfigError, match="has learnt"):
        evaluate(Trained(a_year_later(tiny_domain)), tiny_domain, "test", tmp_path / "out", users=5)
    assert not (tmp_path / "out").exists()
    said = {"learnt_from": {"tiny": ["123"]}}
    result = evaluate(fit_baseline("markov", tiny_domain), tiny_domain, "test", tmp_path / "out", settings=said)
    assert "the method learnt the split 123 of tiny" in faults(result, tiny_domain)
    known = result.summary.model_copy(update={"settings": {**said, "learnt": "a hash"}})
    assert not faults(replace(result, summary=known), tiny_domain)
