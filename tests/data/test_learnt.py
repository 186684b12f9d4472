"""Which purchases a model has learnt: found again by what they are, however the data are called or cut."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from calrec.data import learnt
from calrec.data.learnt import LEARNT, NOTHING, LearntPurchases
from calrec.errors import DataError


def of(*domains):
    return LearntPurchases.of(domains)


def retitled(domain):
    return replace(domain, items=domain.items.with_columns(title="the " + pl.col("title")))


def test_a_domain_has_not_learnt_its_own_targets(tiny_domain):
    for split in ("valid", "test"):
        examples = tiny_domain.split(split)
        assert of(tiny_domain).overlaps(tiny_domain, examples) == ((0, len(examples), len(examples)),) * 2


def test_what_was_learnt_from_the_whole_sequences_is_found(tiny_domain):
    whole = tiny_domain.sequences.with_columns(
        item_ids=pl.concat_list("item_ids", pl.lit("i0"), pl.lit("i0")),
        timestamps=pl.concat_list("timestamps", pl.lit(1e9), pl.lit(1e9)),
    )
    examples, later = tiny_domain.split("test"), replace(tiny_domain, sequences=whole)
    found = (len(examples),) * 3
    assert of(later).overlaps(tiny_domain, examples) == (found, found)
    # Where titles are written otherwise, numbers are left.
    assert of(retitled(later)).overlaps(tiny_domain, examples) == ((0, *found[1:]), found)


def test_items_of_another_shop_with_the_same_numbers_are_others(tiny_domain):
    one, other = of(tiny_domain), of(retitled(tiny_domain))
    assert not np.isin(other.titled, one.titled).any()
    assert np.array_equal(other.numbered, one.numbered)


def test_a_target_that_was_bought_before_tells_nothing(tiny_domain):
    (example, *_) = tiny_domain.split("test")
    again = replace(example, target=example.history[0])
    assert of(tiny_domain).overlaps(tiny_domain, [again]) == ((0, 0, 0), (0, 0, 0))


def test_of_very_many_purchases_a_sample_is_kept_and_looked_for(tiny_domain, monkeypatch):
    whole = of(tiny_domain)
    half = len(whole.titled) // 2
    monkeypatch.setattr(learnt, "_MOST", half)
    part = of(tiny_domain)
    assert part.titled.tolist() == whole.titled[:half].tolist()
    learnt_items = [
        replace(example, history=(), target=history.item_ids[0])
        for example, history in zip(tiny_domain.split("test"), tiny_domain.training_sequences(), strict=True)
    ]
    for overlap in part.overlaps(tiny_domain, learnt_items):
        assert 0 < overlap.learnt == overlap.looked_for < overlap.targets == len(learnt_items)


def test_purchases_are_hashed_a_part_at_a_time(tiny_domain, monkeypatch):
    whole = of(tiny_domain)
    monkeypatch.setattr(learnt, "_TOGETHER", 7)
    assert of(tiny_domain).fingerprint == whole.fingerprint


def test_purchases_are_joined(tiny_domain):
    both = of(tiny_domain) | of(retitled(tiny_domain))
    assert both.fingerprint == of(tiny_domain, retitled(tiny_domain)).fingerprint
    assert (both | NOTHING).fingerprint == both.fingerprint != of(tiny_domain).fingerprint


def test_a_run_says_what_it_learnt_or_nothing(tmp_path, tiny_domain):
    assert LearntPurchases.load(tmp_path) is None
    of(tiny_domain).save(tmp_path / LEARNT)
    assert LearntPurchases.load(tmp_path).fingerprint == of(tiny_domain).fingerprint
    NOTHING.save(tmp_path / LEARNT)
    assert LearntPurchases.load(tmp_path).fingerprint == NOTHING.fingerprint


@pytest.mark.parametrize("damage", ["other types", "one missing", "no archive"])
def test_a_damaged_file_is_named(tmp_path, damage):
    hashes = np.zeros(3, dtype=np.uint64)
    if damage == "other types":
        np.savez(tmp_path / LEARNT, titled=np.zeros(3), numbered=hashes)
    elif damage == "one missing":
        np.savez(tmp_path / LEARNT, titled=hashes)
    else:
        (tmp_path / LEARNT).write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"learnt\.npz cannot be read"):
        LearntPurchases.load(tmp_path)
