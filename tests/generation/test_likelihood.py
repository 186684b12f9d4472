"""Exact scores of given items against full passes over every item."""

import numpy as np
import pytest
import torch

from calrec.errors import ConfigError, DataError, ModelError
from calrec.generation import ItemTrie, Prompt, likelihood, score_items

END = 5


@pytest.fixture(scope="module")
def sequences():
    """Sixty items of one to six tokens, many with the same beginning, two of them equal."""
    rng = np.random.default_rng(1)
    drawn = [(*rng.choice([0, 1, 2, 3], rng.integers(1, 7)).tolist(), END) for _ in range(59)]
    return [*drawn, drawn[0]]


def direct(lm, prompt, sequence):
    logits = lm(torch.tensor([prompt.token_ids + sequence])).logits[0, len(prompt.token_ids) - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(sequence)[:, None]).sum())


@pytest.mark.parametrize("nodes", [1, 7, 256])  # so that parents lie in earlier passes, in the same one, and both
@pytest.mark.parametrize("together", [5, 4096])
def test_scores_are_those_of_full_passes(lm, users, sequences, monkeypatch, nodes, together):
    monkeypatch.setattr(likelihood, "_NODES", nodes)
    monkeypatch.setattr(likelihood, "_ROWS", together)
    rng = np.random.default_rng(nodes)
    candidates = [rng.choice(60, rng.integers(0, 60), replace=number % 2 == 0).tolist() for number in range(10)]
    found = score_items(lm, users[:10], ItemTrie(sequences), candidates, batch_users=4)
    for user, columns, scores in zip(users, candidates, found, strict=False):
        np.testing.assert_allclose(scores, [direct(lm, user, sequences[column]) for column in columns], rtol=1e-9)


@pytest.mark.parametrize("candidates", [[[], []], [[0, 3], []], [[], [59]]])
def test_a_user_may_have_no_candidates(lm, users, sequences, candidates):
    found = score_items(lm, users[:2], ItemTrie(sequences), candidates)
    assert [len(scores) for scores in found] == [len(columns) for columns in candidates]


def test_shared_beginnings_are_computed_once(lm, users, sequences, monkeypatch):
    work, forward = [], lm.forward

    def count(*args, **kwargs):
        work.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm, "forward", count)
    chosen = [3, 17, 17, 29, 58, 0, 59]
    score_items(lm, users[:2], ItemTrie(sequences), [chosen, [4]])
    beginnings = [{sequences[column][:depth] for column in of for depth in range(1, 7)} for of in (chosen, [4])]
    inner = sum(END not in tokens for of_user in beginnings for tokens in of_user)
    assert work == [sum(len(user.token_ids) for user in users[:2]), inner]


def test_wrong_input(lm, users, sequences):
    trie = ItemTrie(sequences)
    with pytest.raises(ConfigError, match="got 0"):
        score_items(lm, users[:1], trie, [[0]], batch_users=0)
    with pytest.raises(ConfigError, match=r"memory_gb = 1e-06 is too little for user 'user \d'.*set at least"):
        score_items(lm, users[:1], trie, [[0]], memory_gb=1e-6)
    with pytest.raises(DataError, match="no tokens"):
        score_items(lm, [Prompt("nobody", ())], trie, [[0]])
    with pytest.raises(ModelError, match="positions"):
        score_items(lm, [Prompt("long", (1,) * 92)], trie, [[0]])
    for columns in ([60], [-1]):
        with pytest.raises(ValueError, match="'user 0': the columns of the trie are 0 to 59"):
            score_items(lm, users[:1], trie, [columns])
    with pytest.raises(ValueError):
        score_items(lm, users[:2], trie, [[0]])
