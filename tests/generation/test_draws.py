"""The random numbers and the draw."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from calrec.errors import ModelError
from calrec.generation.draws import draw_tokens, uniforms


def test_a_number_depends_on_seed_key_sample_and_position_alone():
    many = uniforms(1, "ann", 8, 20)
    np.testing.assert_array_equal(uniforms(1, "ann", 3, 7), many[:3, :7])
    for other in (uniforms(2, "ann", 8, 20), uniforms(1, "bob", 8, 20)):
        assert not np.isin(other, many).any()
    assert len(np.unique(many)) == many.size


def test_numbers_are_uniform_over_users_samples_and_positions():
    numbers = np.stack([uniforms(0, str(user), 8, 16) for user in range(200)])
    assert kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    assert kstest(numbers[:, 0, 0], "uniform").pvalue > 1e-3


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=9), st.floats(0, 1, exclude_max=True), st.floats(0.1, 4))
def test_the_draw_inverts_the_distribution_function(logits, number, temperature):
    tokens, log_probs = draw_tokens(
        torch.tensor([logits], dtype=torch.float64), torch.tensor([[number]], dtype=torch.float64), temperature
    )
    probs = np.exp((np.array(logits) - max(logits)) / temperature)
    probs /= probs.sum()
    token = int(tokens)
    assert probs[:token].sum() - 1e-12 <= number <= probs[: token + 1].sum() + 1e-12
    assert float(log_probs) == pytest.approx(float(torch.tensor(logits, dtype=torch.float64).log_softmax(0)[token]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.0, 1.1]], dtype=torch.float64)
    numbers = torch.from_numpy(uniforms(0, "chi", 200, 100).reshape(1, -1))
    tokens, _ = draw_tokens(logits, numbers, temperature)
    expected = (logits[0] / temperature).softmax(0) * numbers.numel()
    assert chisquare(torch.bincount(tokens[0], minlength=5), expected).pvalue > 1e-3


def test_no_draw_falls_on_a_token_without_mass():
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    numbers = torch.tensor([[0.0, 0.49, 0.51, 1 - 2**-53]], dtype=torch.float64)
    assert draw_tokens(logits, numbers, 0.5)[0].tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize("size", [255, 256, 257, 1000])
def test_large_vocabularies_are_inverted_as_a_whole(size):
    """Blocks lead to the token that all cumulated sums would have led to."""
    logits = torch.randn(6, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64) * 3
    numbers = torch.from_numpy(uniforms(0, "large", 6, 500))
    cumulated = logits.softmax(-1).cumsum(-1)
    expected = torch.searchsorted(cumulated, numbers * cumulated[:, -1:], right=True)
    torch.testing.assert_close(draw_tokens(logits, numbers, 1.0)[0], expected)


def test_only_what_is_allowed_is_drawn():
    """By their own shares, however far below the others they are; the log-probabilities stay the model's."""
    logits = torch.tensor([[900.0, 0.0, 1.0, 5.0], [0.0, 1.0, 2.0, 3.0]], dtype=torch.float64)
    numbers = torch.tensor([[0.0, 0.26, 0.27, 0.99]], dtype=torch.float64).repeat(2, 1)  # softmax(0, 1) is 0.269, 0.731
    tokens, log_probs = draw_tokens(logits, numbers, 1.0, [np.array([1, 2]), np.array([3])])
    assert tokens.tolist() == [[1, 1, 2, 2], [3, 3, 3, 3]]
    torch.testing.assert_close(log_probs, logits.log_softmax(-1).gather(1, tokens))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite(value):
    with pytest.raises(ModelError, match="not finite"):
        draw_tokens(torch.tensor([[0.0, value]]), torch.zeros(1, 1, dtype=torch.float64), 1.0)
