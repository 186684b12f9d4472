"""Generation that can only end at an item, and the exact log-probability of given items (beyond the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from calrec.errors import ConfigError
from calrec.generation.draws import Prompt, normalised
from calrec.generation.forest import Forest, forest_attention
from calrec.generation.prefill import check_prompts, inference
from calrec.generation.trie import ItemTrie, TrieNode

# Each node has a distribution over the whole vocabulary, of which a few tokens are wanted: so many stay in memory.
_NODES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item and the model's log-probability, in nats, of its whole text and end after the user's prompt."""

    column: int
    log_prob: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A beginning of items; ``parent`` is the column of the node before its last token."""

    log_prob: float
    parent: int
    token: int
    node: TrieNode


def beam_search(
    lm: PreTrainedModel, prompts: Sequence[Prompt], trie: ItemTrie, width: int, batch_users: int = 8
) -> list[list[ScoredItem]]:
    """The items that a beam of beginnings finds for each prompt, with their exact log-probabilities.

    As soon as a beginning belongs to one item alone, the rest of that item is scored in one pass and leaves the beam. A
    beginning less probable than ``width`` items already found is dropped, since it can only lose.

    Args:
        lm: any causal language model of transformers.
        prompts: the users.
        trie: the catalogue.
        width: beginnings kept at each step; with the number of items or more, the whole catalogue is scored.
        batch_users: users computed together.

    Returns:
        For each prompt at most ``width`` items, the most probable first, equals by column.

    Raises:
        ConfigError: a width or batch below 1.
        DataError: a prompt without tokens.
        ModelError: a prompt longer than the model's positions, or logits that are not finite.
    """
    if width < 1 or batch_users < 1:
        raise ConfigError(f"a beam needs width and batch_users of at least 1, got {width} and {batch_users}")
    check_prompts(lm, prompts, trie.longest)
    results: list[list[ScoredItem]] = []
    with inference(lm), forest_attention(lm):
        for first in range(0, len(prompts), batch_users):
            results.extend(_Beams(lm, prompts[first : first + batch_users], trie, width).run())
    return results


def score_items(lm: PreTrainedModel, prompt: Prompt, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """log p(item | prompt) of every sequence, the end included: shape (len(sequences),), in nats.

    Shared beginnings are computed once.

    Raises:
        DataError: a sequence without a token before its end, or a prompt without tokens.
        ModelError: a prompt longer than the model's positions, or logits that are not finite.
    """
    trie = ItemTrie(sequences)
    found = beam_search(lm, [prompt], trie, width=len(sequences))[0]
    scores = np.empty(len(sequences))
    scores[[item.column for item in found]] = [item.log_prob for item in found]
    return scores


class _Beams:
    """The beams of a batch of users."""

    def __init__(self, lm: PreTrainedModel, prompts: Sequence[Prompt], trie: ItemTrie, width: int) -> None:
        self._trie, self._width = trie, width
        self._forest = Forest(lm, prompts)
        self._found: list[dict[TrieNode, float]] = [{} for _ in prompts]
        self._beams: list[list[_Candidate]] = []
        self._children = list(trie.children(trie.root))

    def run(self) -> list[list[ScoredItem]]:
        first = _wanted(self._forest.logits, [[token for token, _ in self._children]] * len(self._found))
        beams = [
            [_Candidate(gain, tip, token, node) for gain, (token, node) in zip(gains, self._children, strict=True)]
            for gains, tip in zip(first, self._forest.tips.tolist(), strict=True)
        ]
        while any(beams := [self._prune(user, beam) for user, beam in enumerate(beams)]):
            beams = self._advance(beams)
        return [self._ranked(found) for found in self._found]

    def _prune(self, user: int, beam: Sequence[_Candidate]) -> list[_Candidate]:
        """Take ends as found, and keep the best of the rest that can still win."""
        found = self._found[user]
        found.update({step.node: step.log_prob for step in beam if self._trie.is_leaf(step.node)})
        bound = min(nlargest(self._width, found.values())) if len(found) >= self._width else -np.inf
        going = [step for step in beam if step.log_prob >= bound and not self._trie.is_leaf(step.node)]
        return nsmallest(self._width, going, key=lambda step: (-step.log_prob, step.node.first))

    def _advance(self, beams: Sequence[Sequence[_Candidate]]) -> list[list[_Candidate]]:
        """Compute the beams' nodes, and below those of one item the whole rest of it; give back all children."""
        nodes: list[tuple[int, int, int]] = []  # user, parent, token
        wanted: list[Sequence[int]] = []
        steps = []
        for user, beam in enumerate(beams):
            for step in beam:
                steps.append((user, step, len(nodes)))
                nodes.append((user, step.parent, step.token))
                if self._trie.is_determined(step.node):
                    tail = self._trie.tail(step.node)
                    wanted.extend([token] for token in tail)
                    for token in tail[:-1]:
                        nodes.append((user, -len(nodes), token))
                else:
                    wanted.append([token for token, _ in self._trie.children(step.node)])
        columns, gains = self._compute(nodes, wanted)
        children: list[list[_Candidate]] = [[] for _ in beams]
        for user, step, place in steps:
            if self._trie.is_determined(step.node):
                tail = self._trie.tail(step.node)
                leaf = self._trie.end(step.node)
                gained = sum(float(gain[0]) for gain in gains[place : place + len(tail)])
                self._found[user][leaf] = step.log_prob + gained
            else:
                children[user].extend(
                    _Candidate(step.log_prob + float(gain), int(columns[place]), token, node)
                    for gain, (token, node) in zip(gains[place], self._trie.children(step.node), strict=True)
                )
        return children

    def _compute(
        self, nodes: Sequence[tuple[int, int, int]], wanted: Sequence[Sequence[int]]
    ) -> tuple[list[int], list[NDArray[np.float64]]]:
        """Grow the nodes (user, parent, token): their columns, and the log-probabilities of what is wanted after."""
        columns: list[int] = []
        gains: list[NDArray[np.float64]] = []
        for start in range(0, len(nodes), _NODES_AT_ONCE):
            users, above, tokens = zip(*nodes[start : start + _NODES_AT_ONCE], strict=True)
            # A parent computed in an earlier part is known by its column now.
            parents = [
                columns[-1 - parent] if -start <= parent < 0 else parent + start if parent < 0 else parent
                for parent in above
            ]
            grown, logits = self._forest.grow(users, parents, tokens)
            columns.extend(grown.tolist())
            gains.extend(_wanted(logits, wanted[start : start + _NODES_AT_ONCE]))
        return columns, gains

    def _ranked(self, found: dict[TrieNode, float]) -> list[ScoredItem]:
        items = [
            ScoredItem(int(column), log_prob) for leaf, log_prob in found.items() for column in self._trie.columns(leaf)
        ]
        return sorted(items, key=lambda item: (-item.log_prob, item.column))[: self._width]


def _wanted(logits: Tensor, tokens: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """For each row of the logits (N, V) the log-probabilities of its tokens."""
    values, log_total = normalised(logits)
    lengths = [len(of_row) for of_row in tokens]
    device = logits.device
    rows = torch.arange(len(tokens), device=device).repeat_interleave(torch.tensor(lengths, device=device))
    picked = values[rows, torch.tensor([token for of_row in tokens for token in of_row], device=device)]
    log_probs = (picked.double() - log_total[rows, 0].double()).cpu().numpy()
    return np.split(log_probs, np.cumsum(lengths)[:-1])
