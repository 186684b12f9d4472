"""Which purchases a model has learnt: found again by what they are, however the data are called or cut."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from calrec.data import learnt
from calrec.data.learnt import LEARNT, learnt_purchases, load_learnt, overlap
from calrec.errors import DataError


def test_a_domain_has_not_learnt_its_own_targets(tiny_domain):
    of_domain = learnt_purchases([tiny_domain])
    for split in ("valid", "test"):
        examples = tiny_domain.split(split)
        assert overlap(of_domain, tiny_domain, examples) == (0, len(examples))


def test_what_was_learnt_from_the_whole_sequences_is_found(tiny_domain):
    whole = tiny_domain.sequences.with_columns(
        item_ids=pl.concat_list("item_ids", pl.lit("i0"), pl.lit("i0")),
        timestamps=pl.concat_list("timestamps", pl.lit(1e9), pl.lit(1e9)),
    )
    examples = tiny_domain.split("test")
    of_whole = learnt_purchases([replace(tiny_domain, sequences=whole)])
    assert overlap(of_whole, tiny_domain, examples) == (len(examples), len(examples))


def test_items_of_another_shop_with_the_same_numbers_are_others(tiny_domain):
    items = tiny_domain.items.with_columns(title="other " + pl.col("title"))
    other = learnt_purchases([replace(tiny_domain, items=items)])
    assert not np.isin(other, learnt_purchases([tiny_domain])).any()


def test_a_target_that_was_bought_before_tells_nothing(tiny_domain):
    (example, *_) = tiny_domain.split("test")
    again = replace(example, target=example.history[0])
    assert overlap(learnt_purchases([tiny_domain]), tiny_domain, [again]) == (0, 0)


def test_of_very_many_purchases_a_sample_is_kept_and_looked_for(tiny_domain, monkeypatch):
    whole = learnt_purchases([tiny_domain])
    monkeypatch.setattr(learnt, "_MOST", len(whole) // 2)
    part = learnt_purchases([tiny_domain])
    assert part.tolist() == whole[: len(whole) // 2].tolist()
    learnt_items = [
        replace(example, history=(), target=history.item_ids[0])
        for example, history in zip(tiny_domain.split("test"), tiny_domain.training_sequences(), strict=True)
    ]
    found, looked_for = overlap(part, tiny_domain, learnt_items)
    assert 0 < found == looked_for < len(learnt_items)


def test_a_run_says_what_it_learnt_or_nothing(tmp_path, tiny_domain):
    assert load_learnt(tmp_path) is None
    np.save(tmp_path / LEARNT, learnt_purchases([tiny_domain]))
    assert np.array_equal(load_learnt(tmp_path), learnt_purchases([tiny_domain]))
    np.save(tmp_path / LEARNT, np.zeros(3))
    with pytest.raises(DataError, match="holds no hashes"):
        load_learnt(tmp_path)
    (tmp_path / LEARNT).write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"learnt\.npy cannot be read"):
        load_learnt(tmp_path)
