"""Generation that can only end at an item (beyond the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from calrec.errors import ConfigError
from calrec.generation.attention import forest_attention
from calrec.generation.draws import Prompt
from calrec.generation.forest import Forest
from calrec.generation.likelihood import score_items
from calrec.generation.memory import nodes_at_once, user_batches
from calrec.generation.passes import Nodes, grow_and_score, log_probs
from calrec.generation.prefill import check_prompts
from calrec.model.batching import in_batches
from calrec.model.inference import inference
from calrec.text.trie import ItemTrie

# Nodes of a user in one pass, in beams: the beam itself, and the rest of some items.
_BEAMS = 4


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item and the model's log-probability, in nats, of its whole text and end after the user's prompt."""

    column: int
    log_prob: float


def beam_search(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    trie: ItemTrie,
    width: int,
    batch_users: int = 8,
    memory_gb: float = 2.0,
    progress: Callable[[int], None] | None = None,
) -> list[list[ScoredItem]]:
    """The items that a beam of beginnings finds for each prompt, with their exact log-probabilities.

    As soon as a beginning belongs to one item alone it leaves the beam, and the rest of that item is scored in one
    pass: at once where the beginning is among the ``width`` most probable of all that is known, else later or never. A
    beginning less probable than ``width`` items already found is dropped, since it can only lose.

    Args:
        lm: any causal language model of transformers.
        prompts: the users.
        trie: the catalogue.
        width: beginnings kept at each step; with the number of items or more, the whole catalogue is scored.
        batch_users: users computed together, fewer where memory is short; changes speed and memory, never a result.
        memory_gb: 10^9 bytes that may be taken beside the model's weights.
        progress: called with the number of users done, after each batch.

    Returns:
        For each prompt, in the order given, at most ``width`` items, the most probable first, equals by column.

    Raises:
        ConfigError: a width or batch below 1, or too little memory for one user.
        DataError: a prompt without tokens.
        ModelError: a prompt longer than the model's positions, or logits that are not finite.
    """
    if width < 1 or batch_users < 1:
        raise ConfigError(f"a beam needs width and batch_users of at least 1, got {width} and {batch_users}")
    if width >= len(trie):
        columns = range(len(trie))
        scores = score_items(lm, prompts, trie, [columns] * len(prompts), batch_users, memory_gb, progress)
        return [ranked(np.arange(len(trie)), of_user, width) for of_user in scores]
    check_prompts(lm, prompts, trie.longest)
    kept = trie.undetermined(width) + trie.longest
    nodes = nodes_at_once(lm, prompts, memory_gb, kept, most=_BEAMS * width)
    batches = user_batches(lm, prompts, batch_users, memory_gb, kept + nodes, nodes)
    with inference(lm), forest_attention(lm):
        return in_batches(
            batches, lambda users: _Beams(lm, [prompts[user] for user in users], trie, width, nodes).run(), progress
        )


@dataclass(frozen=True, slots=True)
class _Beginnings:
    """K beginnings of items; every attribute is (K,).

    Attributes:
        users: whose; ``log_probs``: of the beginning after that user's prompt, in nats.
        parents: column of the node before the last token; ``tokens``: the last token.
        first: first row in the trie; ``last``: the row after its last; ``depths``: tokens of the beginning.
    """

    users: NDArray[np.int64]
    log_probs: NDArray[np.float64]
    parents: NDArray[np.int64]
    tokens: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    depths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    def __add__(self, other: _Beginnings) -> _Beginnings:
        return _Beginnings(
            *(np.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self))
        )

    def where(self, chosen: NDArray[np.bool_]) -> _Beginnings:
        return _Beginnings(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def ranks(self) -> NDArray[np.int64]:
        """(K,) how many of the same user's are more probable; equals in the order of the trie."""
        order = np.lexsort((self.first, -self.log_probs, self.users))
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order)) - np.searchsorted(self.users[order], self.users[order])
        return ranks

    def bound(self, width: int, users: int) -> NDArray[np.float64]:
        """(users,) log-probability of each user's ``width``-th best; ``-inf`` where there are fewer."""
        bound, marginal = np.full(users, -np.inf), self.ranks() == width - 1
        bound[self.users[marginal]] = self.log_probs[marginal]
        return bound


class _Beams:
    """The beams of a batch of users, all at one depth."""

    def __init__(self, lm: PreTrainedModel, prompts: Sequence[Prompt], trie: ItemTrie, width: int, nodes: int) -> None:
        self._trie, self._width, self._nodes, self._users = trie, width, nodes, len(prompts)
        self._forest = Forest(lm, prompts)

    def run(self) -> list[list[ScoredItem]]:
        beam = self._below_the_root()
        found = waiting = beam.where(np.zeros(len(beam), dtype=bool))
        while True:
            ended = self._trie.lengths[beam.first] == beam.depths
            found, beam = found + beam.where(ended), beam.where(~ended)
            beam = beam.where(beam.ranks() < self._width)
            determined = self._trie.leaves[beam.first] == self._trie.leaves[beam.last - 1]
            waiting, beam = waiting + beam.where(determined), beam.where(~determined)
            bound = found.bound(self._width, self._users)
            waiting, beam = (some.where(some.log_probs >= bound[some.users]) for some in (waiting, beam))
            if not len(waiting) + len(beam):
                return [self._items(found.where(found.users == user)) for user in range(self._users)]
            now = self._worth_a_pass(waiting, (found + beam + waiting).bound(self._width, self._users))
            beam, scored = self._advance(beam, waiting.where(now))
            found, waiting = found + scored, waiting.where(~now)

    def _below_the_root(self) -> _Beginnings:
        root = self._trie.root
        below = self._trie.branches(*(np.array([value]) for value in (root.first, root.last, root.depth)))
        users = np.repeat(np.arange(self._users), len(below.tokens))
        tokens, first, last = (np.tile(array, self._users) for array in (below.tokens, below.first, below.last))
        gains = log_probs(self._forest.output, users, tokens)
        return _Beginnings(users, gains, self._forest.tips[users], tokens, first, last, np.ones_like(users))

    def _worth_a_pass(self, waiting: _Beginnings, hope: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which items are scored next: no less probable than ``hope`` (users,), and as many as a pass has room for."""
        ranks = waiting.ranks()
        order = np.lexsort((ranks, waiting.users))
        nodes = (self._trie.lengths[waiting.first] - waiting.depths)[order]
        first = np.flatnonzero(ranks[order] == 0)
        before = nodes.cumsum() - nodes
        fits = np.empty(len(waiting), dtype=bool)
        fits[order] = before + nodes - np.repeat(before[first], np.diff(first, append=len(order))) <= self._nodes
        now: NDArray[np.bool_] = (waiting.log_probs >= hope[waiting.users]) & (fits | (ranks == 0))
        return now

    def _advance(self, beam: _Beginnings, determined: _Beginnings) -> tuple[_Beginnings, _Beginnings]:
        """Compute the beam's nodes, and below what is determined all to its end; give back children and items."""
        below = self._trie.branches(beam.first, beam.last, beam.depths)
        # Of an item's last tokens each is a node, but for the end, and wanted after the one before it.
        tokens, counts = self._trie.rest(determined.first, determined.depths - 1)
        starts = counts.cumsum() - counts
        items = np.repeat(np.arange(len(determined)), counts - 1)
        places = len(beam) + np.arange(len(items))
        parents = -places
        parents[starts - np.arange(len(starts))] = determined.parents
        before = self._forest.filled + np.bincount(beam.users, minlength=self._users)
        columns, gains = grow_and_score(
            self._forest,
            Nodes(
                np.append(beam.users, determined.users[items]),
                np.append(beam.parents, parents),
                np.append(beam.tokens, np.delete(tokens, starts + counts - 1)),
            ),
            np.append(below.parents, places),
            np.append(below.tokens, np.delete(tokens, starts)),
            self._nodes,
        )
        # Nothing grows from the items, so the next nodes may have their columns.
        self._forest.cut(before)
        of_children, of_items = np.split(gains, [len(below.parents)])
        children = _Beginnings(
            beam.users[below.parents],
            beam.log_probs[below.parents] + of_children,
            columns[below.parents],
            below.tokens,
            below.first,
            below.last,
            beam.depths[below.parents] + 1,
        )
        total = determined.log_probs + np.bincount(items, of_items, len(determined))
        return children, replace(determined, log_probs=total)

    def _items(self, found: _Beginnings) -> list[ScoredItem]:
        columns = [self._trie.order[first:last] for first, last in zip(found.first, found.last, strict=True)]
        scores = np.repeat(found.log_probs, found.last - found.first)
        return ranked(np.concatenate(columns), scores, self._width)


def ranked(columns: NDArray[np.int64], scores: NDArray[np.float64], width: int) -> list[ScoredItem]:
    """The ``width`` best of some columns, by score, equals by column."""
    best = np.lexsort((columns, -scores))[:width]
    return [ScoredItem(*item) for item in zip(columns[best].tolist(), scores[best].tolist(), strict=True)]
