"""Sampling from a tiny model: what it draws, and that nothing but the model and the seed decides it."""

import logging

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chisquare

from calrec.errors import ConfigError, DataError, ModelError
from calrec.generation import Prompt, SamplingSettings, sample

END = 5


@pytest.fixture(params=["rows", "tree"])
def settings(request):
    return SamplingSettings(n=8, max_new_tokens=10, batch_users=4, mode=request.param)


def same(ours, theirs):
    """The same draws; their log-probabilities up to rounding."""
    for left, right in zip(ours, theirs, strict=True):
        lefts, rights = ({draw.token_ids: (draw.count, draw.first) for draw in draws} for draws in (left, right))
        assert lefts == rights
        assert [draw.log_prob for draw in left] == pytest.approx([draw.log_prob for draw in right], rel=1e-9)


def test_counts_order_and_ends(lm, users, settings):
    results = sample(lm, users[:40], END, settings)
    assert len(results) == 40
    lengths = set()
    for draws in results:
        assert sum(draw.count for draw in draws) == 8
        assert len({draw.token_ids for draw in draws}) == len(draws)
        assert [draw.log_prob for draw in draws] == sorted((draw.log_prob for draw in draws), reverse=True)
        for draw in draws:
            lengths.add(len(draw.token_ids))
            assert END not in draw.token_ids[:-1]
            assert draw.token_ids[-1] == END or len(draw.token_ids) == 10
    assert {1, 10} <= lengths  # both ways to end were met


def test_log_probs_are_those_of_a_separate_pass_at_temperature_1(lm, users, settings):
    for user, draws in zip(users, sample(lm, users[:10], END, settings), strict=False):
        for draw in draws:
            ids = torch.tensor([user.token_ids + draw.token_ids])
            log_probs = lm(ids).logits[0, len(user.token_ids) - 1 : -1].log_softmax(-1)
            expected = log_probs.gather(1, torch.tensor(draw.token_ids)[:, None]).sum()
            assert draw.log_prob == pytest.approx(float(expected), rel=1e-9)


def test_neither_order_nor_batch_changes_a_sample(lm, users, settings):
    users = users[:30]
    alone = [sample(lm, [user], END, settings)[0] for user in users]
    for size in (1, 7, 30):
        same(sample(lm, users, END, settings.model_copy(update={"batch_users": size})), alone)
    same(sample(lm, users[::-1], END, settings), alone[::-1])


def test_fewer_samples_are_the_first_of_more(lm, users, settings):
    many = sample(lm, users[:10], END, settings)
    for n in (1, 3, 5):
        few = sample(lm, users[:10], END, settings.model_copy(update={"n": n}))
        firsts = [{draw.token_ids: draw.first for draw in of_user if draw.first < n} for of_user in many]
        assert [{draw.token_ids: draw.first for draw in of_user} for of_user in few] == firsts


def test_seed_and_key_change_the_samples(lm, settings):
    tokens = (1, 2, 3)
    base = sample(lm, [Prompt("a", tokens)], END, settings)
    assert sample(lm, [Prompt("a", tokens)], END, settings) == base
    assert sample(lm, [Prompt("b", tokens)], END, settings) != base
    assert sample(lm, [Prompt("a", tokens)], END, settings.model_copy(update={"seed": 1})) != base


def test_samples_follow_the_model(lm):
    """Two tokens deep, the frequencies are the products of the model's softmaxes at the temperature."""
    settings = SamplingSettings(n=1024, temperature=2.0, max_new_tokens=2)
    prompts = [Prompt(f"chi {number}", (4, 9, 2)) for number in range(8)]
    counts: dict[tuple[int, ...], int] = {}
    for draws in sample(lm, prompts, END, settings):
        for draw in draws:
            counts[draw.token_ids] = counts.get(draw.token_ids, 0) + draw.count
    expected = {}
    first = (lm(torch.tensor([[4, 9, 2]])).logits[0, -1] / 2.0).softmax(-1)
    for token, prob in enumerate(first.tolist()):
        if token == END:
            expected[token,] = prob
            continue
        second = (lm(torch.tensor([[4, 9, 2, token]])).logits[0, -1] / 2.0).softmax(-1)
        expected.update({(token, other): prob * p for other, p in enumerate(second.tolist())})
    common = [path for path, prob in expected.items() if prob * 8192 >= 5]
    observed = [counts.get(path, 0) for path in common]
    wanted = [expected[path] * 8192 for path in common]
    assert chisquare([*observed, 8192 - sum(observed)], [*wanted, 8192 - sum(wanted)]).pvalue > 1e-3


def test_one_token_and_no_users(lm, users, settings):
    for draws in sample(lm, users[:5], END, settings.model_copy(update={"max_new_tokens": 1})):
        assert all(len(draw.token_ids) == 1 for draw in draws)
    assert sample(lm, [], END, settings) == []


def test_progress_and_the_training_mode(lm, users, settings):
    done = []
    lm.train()
    try:
        sample(lm, users[:9], END, settings, progress=done.append)
        assert lm.training
    finally:
        lm.eval()
    assert done == [4, 8, 9]


def test_out_of_memory_halves_the_batch(lm, users, monkeypatch, caplog, settings):
    expected, forward = sample(lm, users[:8], END, settings), lm.forward

    def small_memory(*args, **kwargs):
        if kwargs["input_ids"].numel() > 24:
            raise torch.OutOfMemoryError("too much")
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm, "forward", small_memory)
    with caplog.at_level(logging.WARNING):
        same(sample(lm, users[:8], END, settings), expected)
    assert "out of memory with a batch of 4; going on with 2" in caplog.text


def test_a_memory_limit_parts_users_and_samples(lm, users, settings, monkeypatch):
    """The number of samples stays, and so do they; where not even one fits, the error says how much would."""
    expected = sample(lm, users[:12], END, settings)
    widths, forward = [], lm.forward

    def watch(*args, **kwargs):
        widths.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm, "forward", watch)
    same(sample(lm, users[:12], END, settings), expected)
    passes, widest = len(widths), max(widths)
    widths.clear()
    same(sample(lm, users[:12], END, settings.model_copy(update={"memory_gb": 5e-5})), expected)
    assert len(widths) > 2 * passes
    assert max(widths) < widest
    with pytest.raises(ConfigError, match=r"memory_gb = 1e-06 is too little for user 'user .*: set at least"):
        sample(lm, users[:12], END, settings.model_copy(update={"memory_gb": 1e-6}))


def test_prompts_that_cannot_be_continued(lm, settings):
    with pytest.raises(DataError, match="'nobody' has no tokens"):
        sample(lm, [Prompt("nobody", ())], END, settings)
    with pytest.raises(ModelError, match="'long' has 90 tokens, with 10 to generate 4 more than the model's 96"):
        sample(lm, [Prompt("long", (1,) * 90)], END, settings)


@pytest.mark.parametrize(
    "wrong",
    [{"n": 0}, {"n": 1025}, {"temperature": 0.0}, {"temperature": 11}, {"seed": -1}, {"m": 1}, {"memory_gb": 0}],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValidationError):
        SamplingSettings(**wrong)
