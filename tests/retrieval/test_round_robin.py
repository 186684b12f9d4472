"""Quasi-round-robin against a direct transcription of the formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calrec.retrieval import quasi_round_robin

tables = st.tuples(st.integers(1, 5), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(0, 50, width=32)),
        arrays(np.float64, shape[:1], elements=st.floats(-500, 0)),
    )
)


def direct(scores, log_probs, epsilon):
    """max over j of exp(eps * s_j) * b_j(i), number by number."""
    result = []
    for item in range(len(scores[0])):
        best = 0.0
        for row, log_prob in zip(scores.tolist(), log_probs.tolist(), strict=True):
            low, high = min(row), max(row)
            scaled = (row[item] - low) / (high - low) if high > low else 0.0
            best = max(best, math.exp(epsilon * log_prob) * scaled)
        result.append(best)
    return result


@given(tables, st.sampled_from([0.0, 1 / 5000, 0.1]))
def test_equals_the_formula(table, epsilon):
    scores, log_probs = table
    np.testing.assert_allclose(
        quasi_round_robin(scores, log_probs, epsilon), direct(scores, log_probs, epsilon), rtol=1e-12
    )


def test_best_matches_come_first_in_the_order_of_the_log_probabilities():
    scores = np.array([[9.0, 8.9, 0.0, 1.0], [0.0, 0.1, 2.0, 0.2]])
    joined = quasi_round_robin(scores, np.array([-40.0, -3.0]))
    assert np.argsort(-joined).tolist() == [2, 0, 1, 3]


def test_a_prediction_that_matches_nothing_adds_zeros():
    assert not quasi_round_robin(np.full((2, 3), 7.0), np.array([-1.0, -2.0])).any()
    assert quasi_round_robin(np.zeros((0, 3)), np.zeros(0)).tolist() == [0, 0, 0]
    assert quasi_round_robin(np.array([[5.0]]), np.array([-1.0])).tolist() == [0]


def test_wrong_shapes_and_numbers():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3,\)"):
        quasi_round_robin(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        quasi_round_robin(np.full((1, 3), np.nan), np.zeros(1))
