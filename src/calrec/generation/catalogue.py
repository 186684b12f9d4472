"""Beams and exact log-probabilities by the likelihood that is normalised over the catalogue (beyond the paper).

The counterpart of `calrec.losses.catalogue_nll`: decisions alone are computed, from one to the next in one pass, and
the logits of allowed tokens alone. What one text alone can follow is certain, so no text is spelt to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from calrec.errors import ConfigError
from calrec.generation.attention import forest_attention
from calrec.generation.beam import ScoredItem, ranked
from calrec.generation.draws import Prompt
from calrec.generation.forest import Forest
from calrec.generation.memory import nodes_at_once, user_batches
from calrec.generation.passes import Nodes, grow
from calrec.generation.prefill import check_prompts
from calrec.model.batching import in_batches
from calrec.model.inference import inference
from calrec.text.decisions import DecisionTree
from calrec.text.trie import ranges

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Nodes of a user in one pass.
_NODES = 512
# Edges whose logits are taken at once, each from a row of the head.
_EDGES = 1 << 15


def catalogue_beam(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    tree: DecisionTree,
    width: int,
    allowed: Sequence[Mask | None] | None = None,
    renormalise: bool = False,
    batch_users: int = 8,
    memory_gb: float = 2.0,
    progress: Callable[[int], None] | None = None,
) -> list[list[ScoredItem]]:
    """The items that a beam of decisions finds for each prompt, with log p(item | prompt) over the catalogue.

    A beam keeps the ``width`` most probable undecided beginnings after each decision. Filters are exact: what leads to
    no allowed item is never followed, so that a beam of k gives k items where so many are allowed and found.

    Args:
        lm: a causal language model of transformers with a plain head.
        prompts: the users.
        tree: of the catalogue.
        width: beginnings kept after each decision, and items found at most.
        allowed: for each prompt (I,) whether each item may be recommended, by column; None allows all.
        renormalise: take every decision among what leads to allowed items, as if the catalogue had no others;
            otherwise log-probabilities stay those over the whole catalogue.
        batch_users: users computed together, fewer where memory is short; changes speed and memory, never a result.
        memory_gb: 10^9 bytes that may be taken beside the model's weights.
        progress: called with the number of users done, after each batch.

    Returns:
        For each prompt, in the order given, at most ``width`` items, the most probable first, equals by column. Items
        that share a text share its probability evenly.

    Raises:
        ConfigError: a width or batch below 1, or too little memory for one user.
        DataError: a prompt without tokens.
        ModelError: a prompt longer than the model's positions, logits that are not finite, or an unusual head.
    """
    if width < 1 or batch_users < 1:
        raise ConfigError(f"a beam needs width and batch_users of at least 1, got {width} and {batch_users}")
    check_prompts(lm, prompts, tree.trie.longest)
    filters = allowed or [None] * len(prompts)
    kept = min(width * tree.longest_chains, len(tree.trie) * tree.trie.longest)
    nodes = nodes_at_once(lm, prompts, memory_gb, kept, most=_NODES)
    batches = user_batches(lm, prompts, batch_users, memory_gb, kept + nodes, nodes)

    def found_by(users: Sequence[int]) -> list[list[ScoredItem]]:
        masks = [filters[user] for user in users]
        search = _Search(lm, [prompts[user] for user in users], tree, nodes, masks if renormalise else None)
        found = search.run(masks, width)
        parts = [found.of(user) for user in range(len(users))]
        return [ranked(tree.trie.order[part.rows], part.log_probs, width) for part in parts]

    with inference(lm), forest_attention(lm):
        return in_batches(batches, found_by, progress)


def catalogue_log_probs(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    tree: DecisionTree,
    candidates: Sequence[Sequence[int] | Ints],
    renormalise: bool = False,
    batch_users: int = 8,
    memory_gb: float = 2.0,
    progress: Callable[[int], None] | None = None,
) -> list[Floats]:
    """log p(item | prompt) over the catalogue, exact, of each user's own candidates.

    Args:
        candidates: columns of each user's items, in any order, each once.
        renormalise: normalise over a user's candidates, as if the catalogue had no other items.

    Other arguments and errors as for `catalogue_beam`.

    Returns:
        For each prompt, in the order given, log-probabilities (len(candidates of the user),) in nats; with
        ``renormalise``, or where all items are candidates, their exponentials sum to one.
    """
    if batch_users < 1:
        raise ConfigError(f"batch_users must be at least 1, got {batch_users}")
    check_prompts(lm, prompts, tree.trie.longest)
    columns = [np.asarray(of_user, dtype=np.int64) for of_user in candidates]
    masks = [_mask(of_user, len(tree.trie)) for of_user in columns]
    nodes = nodes_at_once(lm, prompts, memory_gb, tree.trie.longest, most=_NODES)
    parts = [_parts(tree, mask, nodes) for mask in masks]
    kept = max((tokens for of_user in parts for _, tokens in of_user), default=0)
    batches = user_batches(lm, prompts, batch_users, memory_gb, kept, nodes)

    def log_probs_of(users: Sequence[int]) -> list[Floats]:
        chosen = [masks[user] for user in users]
        search = _Search(lm, [prompts[user] for user in users], tree, nodes, chosen if renormalise else None)
        scores = np.full((len(users), len(tree.trie)), -np.inf)
        for number in range(max(len(parts[user]) for user in users)):
            found = search.run([parts[user][number][0] if number < len(parts[user]) else _NOTHING for user in users])
            scores[found.users, tree.trie.order[found.rows]] = found.log_probs
        return [scores[place, columns[user]] for place, user in enumerate(users)]

    with inference(lm), forest_attention(lm):
        return in_batches(batches, log_probs_of, progress)


# Wanted of a user who is through.
_NOTHING: Mask = np.zeros(0, dtype=bool)


def _mask(columns: Ints, items: int) -> Mask:
    if len(columns) and not 0 <= columns.min() <= columns.max() < items:
        raise ValueError(f"candidates: the columns of the catalogue are 0 to {items - 1}")
    mask = np.zeros(items, dtype=bool)
    mask[columns] = True
    return mask


def _parts(tree: DecisionTree, mask: Mask, most: int) -> list[tuple[Mask, int]]:
    """A user's candidates in parts whose decisions are computed together, and the tokens that each part takes at most.

    A part adds ``most`` tokens, or those of one item; what leads to its first item comes on top.
    """
    rows = np.flatnonzero(mask[tree.trie.order])
    if not len(rows):
        return [(mask, 0)]
    tokens = tree.tokens_to(rows)
    parts = (tokens.cumsum() - 1).clip(min=0) // max(most, int(tokens.max()))
    found = []
    for number in np.unique(parts):
        of_part = rows[parts == number]
        found.append(
            (_mask(tree.trie.order[of_part], len(mask)), int(tokens[parts == number].sum()) + tree.trie.longest)
        )
    return found


@dataclass(frozen=True, slots=True)
class _Open:
    """K beginnings that stand before a decision; every attribute is (K,).

    Attributes:
        users: whose; ``log_probs``: of the decisions so far, in nats.
        parents: column of the last token that is computed; ``nodes``: the decision.
    """

    users: Ints
    log_probs: Floats
    parents: Ints
    nodes: Ints

    def __len__(self) -> int:
        return len(self.users)

    def where(self, chosen: Mask) -> _Open:
        return _Open(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class _Found:
    """K items; every attribute is (K,): whose, row of the trie, log-probability in nats."""

    users: Ints
    rows: Ints
    log_probs: Floats

    def __add__(self, other: _Found) -> _Found:
        return _Found(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def of(self, user: int) -> _Found:
        here = self.users == user
        return _Found(*(getattr(self, field.name)[here] for field in fields(self)))


class _Search:
    """Walks a batch of users from decision to decision.

    Args:
        most: tokens of a user in one pass.
        normalised_over: of each user the items that share all probability; None is the whole catalogue for all.
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        prompts: Sequence[Prompt],
        tree: DecisionTree,
        most: int,
        normalised_over: Sequence[Mask | None] | None,
    ) -> None:
        self._tree, self._most, self._users = tree, most, len(prompts)
        self._forest = Forest(lm, prompts, states=True)
        self._head: Tensor = lm.lm_head.weight
        self._whole = None if normalised_over is None else self._below(normalised_over)

    def run(self, wanted: Sequence[Mask | None], width: int | None = None) -> _Found:
        """Find wanted items, all of them or by a beam of some width; the forest is as before afterwards."""
        tree, below, before = self._tree, self._below(wanted), self._forest.filled.copy()
        users = np.flatnonzero(below[:, -1] > 0)
        zeros = np.zeros_like(users)
        if not len(tree):
            # One text alone: its items are certain.
            return self._items(users, zeros, zeros + len(tree.trie), np.zeros(len(users)), below)
        beam = _Open(users, np.zeros(len(users)), self._forest.tips[users], zeros)
        found = _Found(zeros[:0], zeros[:0], np.zeros(0))
        while len(beam):
            beam, decided = self._advance(beam, below)
            found = found + decided
            if width is not None:
                bound = _nth_best(found.users, found.log_probs, width, self._users)
                kept = _ranks(beam.users, beam.log_probs, beam.nodes) < width
                beam = beam.where(kept & (beam.log_probs >= bound[beam.users]))
        self._forest.cut(before)
        return found

    def _below(self, masks: Sequence[Mask | None]) -> Ints:
        """(B, I + 1) how many items of each mask stand before every row, so that a range takes one subtraction."""
        items = len(self._tree.trie)
        counts = np.zeros((len(masks), items + 1), dtype=np.int64)
        for row, mask in zip(counts, masks, strict=True):
            if mask is None:
                row[:] = np.arange(items + 1)
            elif len(mask):
                np.cumsum(mask[self._tree.trie.order], out=row[1:])
        return counts

    def _advance(self, beam: _Open, below: Ints) -> tuple[_Open, _Found]:
        """Take every beginning's decision: those that go on to another one, and the items that are decided."""
        tree = self._tree
        columns, states = self._grow(beam)
        edges, counts = tree.edges(beam.nodes)
        owners = np.repeat(np.arange(len(beam)), counts)
        logits = self._logits(states, beam.nodes, owners, tree.tokens[edges])
        first, last, users = tree.edge_first[edges], tree.edge_last[edges], beam.users[owners]
        if self._whole is not None:
            logits[self._whole[users, last] == self._whole[users, first]] = -np.inf
        starts = counts.cumsum() - counts
        highest = np.maximum.reduceat(logits, starts)
        total = np.log(np.add.reduceat(np.exp(logits - highest[owners]), starts)) + highest
        log_probs = beam.log_probs[owners] + logits - total[owners]
        follow = below[users, last] > below[users, first]
        decided, on = follow & (tree.below[edges] < 0), follow & (tree.below[edges] >= 0)
        items = self._items(users[decided], first[decided], last[decided], log_probs[decided], below)
        return _Open(users[on], log_probs[on], columns[owners[on]], tree.below[edges[on]]), items

    def _grow(self, beam: _Open) -> tuple[Ints, Tensor]:
        """Compute the tokens up to every decision: columns (K,) and states (K, D) of the last ones."""
        tokens, counts = self._tree.chains(beam.nodes)
        if not len(tokens):
            # The first decision is that of the first token.
            return beam.parents, self._forest.output[torch.from_numpy(beam.users).to(self._head.device)]
        starts, places = counts.cumsum() - counts, np.arange(len(tokens))
        parents = -places  # -1 minus the place before
        parents[starts] = beam.parents
        nodes = Nodes(np.repeat(beam.users, counts), parents, tokens)
        columns, states = grow(self._forest, nodes, starts + counts - 1, self._most)
        return columns[starts + counts - 1], states

    def _logits(self, states: Tensor, nodes: Ints, owners: Ints, tokens: Ints) -> Floats:
        """(E,) of one token each after the states (K, D) of its owner."""
        device, wide = states.device, torch.promote_types(states.dtype, torch.float32)
        if (nodes == nodes[0]).all():  # the first decision: all users' tokens are the same
            weight = self._head[torch.from_numpy(tokens[owners == 0]).to(device)]
            product: Tensor = (states @ weight.T).to(wide)
            return product.flatten().double().cpu().numpy()
        parts = []
        for begin in range(0, len(tokens), _EDGES):
            owner, token = (torch.from_numpy(a[begin : begin + _EDGES]).to(device) for a in (owners, tokens))
            parts.append((states[owner].to(wide) * self._head[token].to(wide)).sum(dim=-1))
        return torch.cat(parts).double().cpu().numpy()

    def _items(self, users: Ints, first: Ints, last: Ints, log_probs: Floats, wanted: Ints) -> _Found:
        """The wanted items of decided texts, each with its even share of the text's probability."""
        sharing = last - first if self._whole is None else self._whole[users, last] - self._whole[users, first]
        rows, counts = ranges(first, last - first), last - first
        users, shares = np.repeat(users, counts), np.repeat(log_probs - np.log(sharing), counts)
        here = wanted[users, rows + 1] > wanted[users, rows]
        return _Found(users[here], rows[here], shares[here])


def _ranks(users: Ints, log_probs: Floats, nodes: Ints) -> Ints:
    """(K,) how many of the same user's are more probable; equals in the order of the tree."""
    order = np.lexsort((nodes, -log_probs, users))
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order)) - np.searchsorted(users[order], users[order])
    return ranks


def _nth_best(users: Ints, log_probs: Floats, n: int, count: int) -> Floats:
    """(count,) each user's n-th best; ``-inf`` where there are fewer."""
    best, marginal = np.full(count, -np.inf), _ranks(users, log_probs, np.arange(len(users))) == n - 1
    best[users[marginal]] = log_probs[marginal]
    return best
