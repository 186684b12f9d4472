"""Fusion against its formulas, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calrec.protocol import top_k
from calrec.retrieval import FusionSettings, fuse

NO = -np.inf
TABLES = arrays(np.float64, (3, 7), elements=st.sampled_from([NO, -2.0, -1.5, 0.0, 0.25, 3.0]))
WEIGHTS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=3, max_size=3).filter(any)


def test_reciprocal_rank_by_hand():
    fused = fuse([np.array([3.0, 1.0, NO]), np.array([NO, 5.0, NO])], [1.0, 2.0], FusionSettings(k=1))
    assert fused.tolist() == [1 / 2, 1 / 3 + 2 / 2, NO]


def test_weighted_by_hand():
    fused = fuse([np.array([-3.0, -1.0, -2.0]), np.array([NO, 5.0, 4.0])], [1.0, 2.0], FusionSettings(how="weighted"))
    assert fused.tolist() == [0.0, 3.0, 0.5]


@given(TABLES, WEIGHTS, st.sampled_from([0.0, 1.0, 60.0]))
def test_reciprocal_rank_is_its_formula(table, weights, k):
    expected = np.full(7, NO)
    for row, weight in zip(table, weights, strict=True):
        for rank, column in enumerate(top_k(row, 7), start=1):
            if weight:
                expected[column] = max(expected[column], 0.0) + weight / (k + rank)
    assert fuse(table, weights, FusionSettings(k=k)) == pytest.approx(expected)


@given(TABLES, st.sampled_from(["reciprocal-rank", "weighted"]))
def test_one_method_keeps_its_items_and_their_order(table, how):
    fused = fuse(table, [0.0, 1.0, 0.0], FusionSettings(how=how))
    assert ((fused > NO) == (table[1] > NO)).all()
    ranked = top_k(table[1], 7)
    assert (np.diff(fused[ranked]) <= 0).all()


def test_a_method_that_ranks_nothing_adds_nothing():
    for how in ("reciprocal-rank", "weighted"):
        fused = fuse([np.full(3, NO), np.array([1.0, NO, 0.0])], [5.0, 1.0], FusionSettings(how=how))
        assert (fused > NO).tolist() == [True, False, True]
        assert fused[0] > fused[2]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        fuse(np.zeros((2, 3)), weights)


def test_a_method_whose_items_are_all_equal_counts():
    weighted = FusionSettings(how="weighted")
    one, other = np.array([3.0, -np.inf, -np.inf]), np.array([0.1, 0.9, 0.8])
    assert fuse([one, other], [1, 1], weighted).tolist() == pytest.approx([1, 1, 0.875])
    assert fuse([one, other], [100, 1], weighted).argmax() == 0
