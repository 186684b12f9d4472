"""log p(item | prompt) of given items (beyond the paper): exact, and what they share computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from calrec.errors import ConfigError
from calrec.generation.attention import forest_attention
from calrec.generation.draws import Prompt
from calrec.generation.forest import Forest
from calrec.generation.memory import nodes_at_once, user_batches
from calrec.generation.passes import Nodes, grow_and_score, log_probs
from calrec.generation.prefill import check_prompts
from calrec.model.batching import in_batches
from calrec.model.inference import inference
from calrec.text.trie import ItemTrie

# Nodes of a user in one pass: enough to keep a processor busy, few enough that most of what each attends to is its own.
_NODES = 256
# Items of a user that are laid out at once.
_ROWS = 4096


def score_items(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    trie: ItemTrie,
    candidates: Sequence[Sequence[int]],
    batch_users: int = 8,
    memory_gb: float = 2.0,
    progress: Callable[[int], None] | None = None,
) -> list[NDArray[np.float64]]:
    """log p(item | prompt), the item's end included, of each user's own candidates.

    Only nodes that lead to a user's candidates are computed, and those that several share once. After a prompt that is
    the template's beginning alone, log p(item | prompt) is the item's prior log p(item).

    Args:
        lm: any causal language model of transformers.
        prompts: the users.
        trie: the catalogue.
        candidates: columns of each user's items, in any order.
        batch_users: users computed together, fewer where memory is short; changes speed and memory, never a result.
        memory_gb: 10^9 bytes that may be taken beside the model's weights.
        progress: called with the number of users done, after each batch.

    Returns:
        For each prompt, in the order given, log-probabilities (len(candidates of the user),) in nats.

    Raises:
        ConfigError: a batch below 1, or too little memory for one user.
        DataError: a prompt without tokens.
        ModelError: a prompt longer than the model's positions, or logits that are not finite.
        ValueError: not as many lists of candidates as prompts, or a column that the trie does not have.
    """
    if batch_users < 1:
        raise ConfigError(f"batch_users must be at least 1, got {batch_users}")
    check_prompts(lm, prompts, trie.longest)
    rows = _rows(trie, prompts, candidates)
    nodes = nodes_at_once(lm, prompts, memory_gb, trie.longest, most=_NODES)
    batches = user_batches(lm, prompts, batch_users, memory_gb, trie.longest + nodes, nodes)

    def scores(users: Sequence[int]) -> list[NDArray[np.float64]]:
        return _scores(Forest(lm, [prompts[user] for user in users]), trie, [rows[user] for user in users], nodes)

    with inference(lm), forest_attention(lm):
        return in_batches(batches, scores, progress)


def _rows(trie: ItemTrie, prompts: Sequence[Prompt], candidates: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    """The rows of the candidates."""
    of_column = np.empty_like(trie.order)
    of_column[trie.order] = np.arange(len(trie))
    rows = []
    for prompt, columns in zip(prompts, candidates, strict=True):
        wanted = np.asarray(columns, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(trie):
            raise ValueError(f"candidates of user {prompt.key!r}: the columns of the trie are 0 to {len(trie) - 1}")
        rows.append(of_column[wanted])
    return rows


@dataclass(frozen=True)
class _Subtree:
    """The N nodes that lead to C items, the root left out; parents stand before their children.

    Attributes:
        tokens: (N,) last token of each node.
        parents: (N,) place of the parent; -1 below the root.
        inner: (N,) False where an item ends.
        paths: (C, L) places of each item's nodes, -1 after its last.
    """

    tokens: NDArray[np.int64]
    parents: NDArray[np.int64]
    inner: NDArray[np.bool_]
    paths: NDArray[np.int64]


def _scores(forest: Forest, trie: ItemTrie, rows: Sequence[NDArray[np.int64]], most: int) -> list[NDArray[np.float64]]:
    """Log-probabilities of each user's rows."""
    orders = [np.argsort(of_user) for of_user in rows]
    subtrees = [_subtrees(trie, of_user[order], most) for of_user, order in zip(rows, orders, strict=True)]
    found: list[list[NDArray[np.float64]]] = [[np.empty(0)] for _ in rows]
    for of_users in zip_longest(*subtrees):
        now = {user: subtree for user, subtree in enumerate(of_users) if subtree is not None}
        for user, scores in zip(now, _scores_of(forest, now, most), strict=True):
            found[user].append(scores)
    return [np.concatenate(parts)[np.argsort(order)] for parts, order in zip(found, orders, strict=True)]


def _scores_of(forest: Forest, subtrees: Mapping[int, _Subtree], most: int) -> list[NDArray[np.float64]]:
    """Log-probabilities of the items of one subtree a user."""
    sizes = np.array([len(subtree.tokens) for subtree in subtrees.values()])
    users, first = np.repeat(list(subtrees), sizes), np.repeat(sizes.cumsum() - sizes, sizes)
    tokens, parents, inner = (
        np.concatenate([getattr(subtree, name) for subtree in subtrees.values()])
        for name in ("tokens", "parents", "inner")
    )
    at_root, places = parents < 0, inner.cumsum() - 1
    above = places[parents + first]
    before = forest.filled.copy()
    nodes = Nodes(users[inner], np.where(at_root, forest.tips[users], -1 - above)[inner], tokens[inner])
    gains = np.empty(len(tokens))
    gains[at_root] = log_probs(forest.output, users[at_root], tokens[at_root])
    _, gains[~at_root] = grow_and_score(forest, nodes, above[~at_root], tokens[~at_root], most)
    forest.cut(before)
    return [
        np.append(of_user, 0.0)[subtree.paths].sum(axis=1)
        for of_user, subtree in zip(np.split(gains, sizes.cumsum()[:-1]), subtrees.values(), strict=True)
    ]


def _subtrees(trie: ItemTrie, rows: NDArray[np.int64], most: int) -> Iterator[_Subtree]:
    """Part sorted rows so that each part's subtree has at most ``most`` inner nodes, or one item alone."""
    for begin in range(0, len(rows), _ROWS):
        yield from _subtrees_of(trie, rows[begin : begin + _ROWS], most)


def _subtrees_of(trie: ItemTrie, rows: NDArray[np.int64], most: int) -> Iterator[_Subtree]:
    tokens, lengths = trie.rest(rows, np.zeros_like(rows))
    padded = np.full((len(rows), lengths.max()), -1)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = tokens
    shared = np.logical_and.accumulate(padded[1:] == padded[:-1], axis=1).sum(axis=1)
    shared = np.append(0, np.minimum(shared, lengths[1:]))
    first = inner = 0
    for row, (length, known) in enumerate(zip(lengths.tolist(), shared.tolist(), strict=True)):
        inner += max(length - 1 - known, 0)
        if row > first and inner > most:
            yield _subtree(padded[first:row], lengths[first:row], shared[first:row])
            first, inner = row, length - 1
    yield _subtree(padded[first:], lengths[first:], shared[first:])


def _subtree(padded: NDArray[np.int64], lengths: NDArray[np.int64], shared: NDArray[np.int64]) -> _Subtree:
    depths, shared = np.arange(lengths.max()), np.append(0, shared[1:])
    within = depths < lengths[:, None]
    new = within & (depths >= shared[:, None])
    numbers = np.where(new, new.cumsum().reshape(new.shape) - 1, -1)
    # What a row shares with the one above has that one's numbers, the last ones in their columns.
    paths = np.where(within, np.maximum.accumulate(numbers, axis=0), -1)
    parents = np.pad(paths[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    inner = depths < lengths[:, None] - 1
    return _Subtree(padded[:, : len(depths)][new], parents[new], inner[new], paths)
