"""Ranks against the one order of all rankings, metrics against closed forms and against ir-measures."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calrec.metrics import per_user_metrics, ranking_metrics, ranks_by_id, ranks_by_text, standard_errors
from calrec.protocol import top_k

# Few distinct scores, so that ties and -inf are everywhere.
SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
    elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, np.inf]),
)


@given(scores=SCORES, data=st.data())
def test_rank_by_id_is_the_place_in_the_full_list(scores, data):
    users, items = scores.shape
    targets = data.draw(hnp.arrays(np.int64, users, elements=st.integers(-1, items - 1)))
    expected = []
    for row, target in zip(scores, targets, strict=True):
        ranking = top_k(row, items).tolist()
        expected.append(ranking.index(target) + 1 if target in ranking else 0)
    assert ranks_by_id(scores, targets).tolist() == expected


@given(scores=SCORES, data=st.data())
def test_rank_by_text_is_the_place_in_the_list_of_distinct_texts(scores, data):
    users, items = scores.shape
    targets = data.draw(hnp.arrays(np.int64, users, elements=st.integers(-1, items - 1)))
    groups = data.draw(hnp.arrays(np.int64, items, elements=st.integers(0, 3)))
    before = scores.copy()
    expected = []
    for row, target in zip(scores, targets, strict=True):
        texts = list(dict.fromkeys(groups[top_k(row, items)].tolist()))
        wanted = groups[target] if target >= 0 else None
        expected.append(texts.index(wanted) + 1 if wanted in texts else 0)
    assert ranks_by_text(scores, targets, groups).tolist() == expected
    np.testing.assert_array_equal(scores, before)


def test_nan_has_no_place():
    with pytest.raises(ValueError, match="NaN"):
        ranks_by_id(np.array([[np.nan, 1.0]], dtype=np.float32), np.array([1]))


def test_closed_forms():
    ranks = np.array([1, 3, 0, 11])
    metrics = ranking_metrics(ranks, ks=(1, 10))
    assert metrics == pytest.approx(
        {
            "recall@1": 1 / 4,
            "recall@10": 2 / 4,
            "ndcg@1": 1 / 4,
            "ndcg@10": (1 + 1 / 2) / 4,
            "mrr": (1 + 1 / 3 + 1 / 11) / 4,
        }
    )


def test_a_miss_counts_zero_and_counts():
    assert ranking_metrics(np.array([0, 0])) == dict.fromkeys(ranking_metrics(np.array([1])), 0.0)
    assert ranking_metrics(np.array([1, 0]))["recall@1"] == 0.5


@given(hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 25)))
def test_agrees_with_ir_measures(ranks):
    qrels = [ir_measures.Qrel(str(user), "target", 1) for user in range(len(ranks))]
    run = [
        ir_measures.ScoredDoc(str(user), "target" if place == rank else f"other{place}", -float(place))
        for user, rank in enumerate(ranks)
        for place in range(1, 27)
    ]
    ours = ranking_metrics(ranks, ks=(1, 10, 20))
    wanted = {f"recall@{k}": ir_measures.R @ k for k in (1, 10, 20)}
    wanted |= {f"ndcg@{k}": ir_measures.nDCG @ k for k in (1, 10, 20)}
    wanted |= {"mrr": ir_measures.RR}
    theirs = ir_measures.calc_aggregate(list(wanted.values()), qrels, run)
    assert ours == pytest.approx({name: theirs[measure] for name, measure in wanted.items()})


def test_standard_error_of_a_share():
    ranks = np.array([1] * 30 + [0] * 70)
    # s^2 = U / (U - 1) * p * (1 - p)
    assert standard_errors(ranks)["recall@1"] == pytest.approx(np.sqrt(0.3 * 0.7 / 99))


def test_a_single_user_has_no_standard_error():
    assert np.isnan(standard_errors(np.array([1]))["mrr"])


@pytest.mark.parametrize(
    ("ranks", "ks", "said"),
    [
        (np.array([], dtype=int), (1,), "at least one user"),
        (np.array([-1]), (1,), "0 for a miss"),
        (np.array([1.0]), (1,), "whole numbers"),
        (np.array([1]), (0,), "cut-offs"),
    ],
)
def test_what_is_no_rank_is_refused(ranks, ks, said):
    with pytest.raises(ValueError, match=said):
        per_user_metrics(ranks, ks)
