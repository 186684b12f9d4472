"""Bound beam search against a plain one that runs every beginning through the model by itself."""

import logging
from functools import cache

import numpy as np
import pytest
import torch

from calrec.errors import ConfigError, DataError, ModelError
from calrec.generation import ItemTrie, Prompt, beam, beam_search
from calrec.generation.forest import Forest

END = 5


@pytest.fixture(scope="module")
def sequences():
    """Sixty items of one to six tokens, many with the same beginning, two of them equal."""
    rng = np.random.default_rng(1)
    tokens = [0, 1, 2, 3]
    drawn = [(*rng.choice(tokens, rng.integers(1, 7)).tolist(), END) for _ in range(59)]
    return [*drawn, drawn[0]]


def direct(lm, prompt, sequence):
    log_probs = (
        lm(torch.tensor([prompt.token_ids + sequence])).logits[0, len(prompt.token_ids) - 1 : -1].log_softmax(-1)
    )
    return float(log_probs.gather(1, torch.tensor(sequence)[:, None]).sum())


def test_a_beam_as_wide_as_the_catalogue_ranks_all_of_it(lm, users, sequences):
    for user, found in zip(users, beam_search(lm, users[:10], ItemTrie(sequences), 100, batch_users=4), strict=False):
        scores = np.array([direct(lm, user, sequence) for sequence in sequences])
        assert [item.column for item in found] == np.lexsort((np.arange(60), -scores)).tolist()


def plain(lm, prompt, sequences, width):
    """Columns in their order: every candidate's score is its own full pass, and every item that is met is scored."""
    score = cache(lambda path: direct(lm, prompt, path))
    met, going = set(), [()]
    while going:
        below = {(*path, item[len(path)]) for path in going for item in sequences if item[: len(path)] == path}
        met |= below & set(sequences)
        kept = sorted(below - met, key=lambda path: (-score(path), path))[:width]
        leads_to = {path: {item for item in sequences if item[: len(path)] == path} for path in kept}
        met |= {item for items in leads_to.values() if len(items) == 1 for item in items}
        going = [path for path, items in leads_to.items() if len(items) > 1]
    ranked = sorted((-score(item), column) for column, item in enumerate(sequences) if item in met)
    return [column for _, column in ranked[:width]]


@pytest.mark.parametrize("width", [1, 2, 5, 20])
def test_the_items_are_those_of_a_plain_beam(lm, users, sequences, monkeypatch, width):
    monkeypatch.setattr(beam, "_BEAMS", 1)  # so that items wait for room in a pass
    for user, found in zip(users, beam_search(lm, users[:12], ItemTrie(sequences), width), strict=False):
        assert [item.column for item in found] == plain(lm, user, sequences, width)


def test_neither_order_nor_batch_nor_memory_changes_a_result(lm, users, sequences):
    users, trie, done = users[:20], ItemTrie(sequences), []
    alone = [beam_search(lm, [user], trie, 4)[0] for user in users]
    for found in (
        beam_search(lm, users, trie, 4, batch_users=7, progress=done.append),
        beam_search(lm, users[::-1], trie, 4, batch_users=20)[::-1],
        beam_search(lm, users, trie, 4, memory_gb=5e-5),
    ):
        for ours, theirs in zip(found, alone, strict=True):
            assert [item.column for item in ours] == [item.column for item in theirs]
            assert [item.log_prob for item in ours] == pytest.approx([item.log_prob for item in theirs], rel=1e-9)
    assert done == [7, 14, 20]
    assert beam_search(lm, [], trie, 4) == []


def test_out_of_memory_halves_the_batch(lm, users, sequences, monkeypatch, caplog):
    trie = ItemTrie(sequences)
    expected, forward = beam_search(lm, users[:8], trie, 2), lm.forward

    def small_memory(*args, **kwargs):
        if kwargs["input_ids"].numel() > 24:
            raise torch.OutOfMemoryError("too much")
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm, "forward", small_memory)
    with caplog.at_level(logging.WARNING):
        found = beam_search(lm, users[:8], trie, 2)
    assert [[item.column for item in of] for of in found] == [[item.column for item in of] for of in expected]
    assert "out of memory with a batch of 8; going on with 4" in caplog.text


def test_a_narrow_beam_gives_exact_scores_and_mostly_the_best(lm, users, sequences):
    hits = 0
    for user, found in zip(users, beam_search(lm, users[:50], ItemTrie(sequences), 5), strict=False):
        scores = np.array([direct(lm, user, sequence) for sequence in sequences])
        assert [item.log_prob for item in found] == pytest.approx([scores[item.column] for item in found], rel=1e-9)
        assert 1 <= len(found) <= 5
        hits += scores[found[0].column] == pytest.approx(scores.max())
    assert hits >= 40


def test_a_beam_computes_less_than_the_catalogue(lm, users, sequences, monkeypatch):
    work, forward = [], lm.forward

    def count(*args, **kwargs):
        work.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm, "forward", count)
    beam_search(lm, users[:1], ItemTrie(sequences), 2)
    narrow = sum(work)
    work.clear()
    beam_search(lm, users[:1], ItemTrie(sequences), 60)
    assert narrow < sum(work) / 2


def test_what_cannot_win_is_not_computed_and_all_else_is(lm, users, monkeypatch):
    """The same items in fewer nodes than by a beam that scores all that it meets."""
    rng, tokens = np.random.default_rng(1), [token for token in range(11) if token != END]
    trie = ItemTrie([(*rng.choice(tokens, rng.integers(1, 9)).tolist(), END) for _ in range(200)])
    nodes, grow = [], Forest.grow

    def counted(self, users, parents, tokens):
        nodes.append(len(tokens))
        return grow(self, users, parents, tokens)

    monkeypatch.setattr(Forest, "grow", counted)
    ours = beam_search(lm, users, trie, 2, batch_users=200)
    sparing = sum(nodes)
    nodes.clear()
    monkeypatch.setattr(beam._Beginnings, "bound", lambda self, width, users: np.full(users, -np.inf))
    theirs = beam_search(lm, users, trie, 2, batch_users=200)
    assert [[item.column for item in of] for of in ours] == [[item.column for item in of] for of in theirs]
    assert sparing < 0.9 * sum(nodes)


def test_items_of_one_sequence_stand_together_in_the_order_of_their_columns(lm, users):
    trie = ItemTrie([(1, 2, END), (3, END), (1, 2, END), (4, END), (1, 2, END)])
    for found in beam_search(lm, users[:10], trie, 4):
        same = [place for place, item in enumerate(found) if item.column in (0, 2, 4)]
        assert [found[place].column for place in same] == [0, 2, 4][: len(same)]
        assert len({found[place].log_prob for place in same}) <= 1
        assert same == list(range(same[0], same[-1] + 1)) if same else True


def test_one_item(lm, users):
    (found,) = beam_search(lm, users[:1], ItemTrie([(1, 2, END)]), 3)
    assert [item.column for item in found] == [0]
    assert found[0].log_prob == pytest.approx(direct(lm, users[0], (1, 2, END)))


def test_wrong_input(lm, users, sequences):
    trie = ItemTrie(sequences)
    with pytest.raises(ConfigError, match="got 0 and 8"):
        beam_search(lm, users[:1], trie, 0)
    with pytest.raises(ConfigError, match="memory_gb = 1e-06 is too little"):
        beam_search(lm, users[:1], trie, 2, memory_gb=1e-6)
    with pytest.raises(DataError, match="no tokens"):
        beam_search(lm, [Prompt("nobody", ())], trie, 2)
    with pytest.raises(ModelError, match="positions"):
        beam_search(lm, [Prompt("long", (1,) * 92)], trie, 2)


def test_logits_that_are_not_finite(lm, users, sequences, monkeypatch):
    monkeypatch.setattr(lm.lm_head, "forward", lambda hidden: torch.full((*hidden.shape[:2], 13), torch.nan))
    for width in (2, 60):
        with pytest.raises(ModelError, match="not finite"):
            beam_search(lm, users[:1], ItemTrie(sequences), width)
