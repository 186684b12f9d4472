"""Log-probabilities of the tokens that are wanted after the nodes of a forest, computed in passes of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calrec.generation.draws import normalised, rows_at_once
from calrec.generation.forest import Forest


@dataclass(frozen=True)
class Nodes:
    """N nodes to be grown, those of a user in the order in which they get their columns.

    Attributes:
        users: (N,) whose tree each belongs to.
        parents: (N,) column of the parent, or -1 minus its place among these nodes, before the node's own.
        tokens: (N,).
    """

    users: NDArray[np.int64]
    parents: NDArray[np.int64]
    tokens: NDArray[np.int64]


def grow_and_score(
    forest: Forest, nodes: Nodes, after: NDArray[np.int64], wanted: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Grow nodes, and take from their distributions the few log-probabilities that are wanted.

    Args:
        forest: what they grow in.
        nodes: N of them.
        after: (E,) the node, by its place, after which each wanted token would stand.
        wanted: (E,) tokens.
        most: nodes of each user in one pass.

    Returns:
        The columns of the nodes (N,), and log-probabilities (E,) in nats.
    """
    columns, gains = np.zeros_like(nodes.users), np.zeros(len(wanted))
    place = np.full_like(nodes.users, -1)
    for here, output in _passes(forest, nodes, columns, most):
        place[here] = np.arange(len(here))
        edges = np.flatnonzero(place[after] >= 0)
        gains[edges] = log_probs(output, place[after[edges]], wanted[edges])
        place[here] = -1
    return columns, gains


def grow(forest: Forest, nodes: Nodes, kept: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], Tensor]:
    """Grow nodes, and keep what the forest gives for some of them.

    Args:
        forest, nodes, most: as for `grow_and_score`.
        kept: (K,) places of nodes, ascending.

    Returns:
        The columns of the nodes (N,), and the forest's output (K, …) for those kept.
    """
    columns, parts, owners = np.zeros_like(nodes.users), [], []
    for here, output in _passes(forest, nodes, columns, most):
        wanted = np.isin(here, kept)
        parts.append(output[torch.from_numpy(np.flatnonzero(wanted)).to(output.device)])
        owners.append(here[wanted])
    order = np.argsort(np.concatenate(owners))
    return columns, torch.cat(parts)[torch.from_numpy(order).to(parts[0].device)]


def _passes(
    forest: Forest, nodes: Nodes, columns: NDArray[np.int64], most: int
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Grow nodes in passes of at most ``most`` of each user: the places of each pass, and what the forest gives.

    The nodes' ``columns`` (N,) are filled in.
    """
    passes = _numbered(nodes.users) // most
    within = np.zeros_like(nodes.users)
    for number in range(passes.max() + 1 if len(passes) else 0):
        here = np.flatnonzero(passes == number)
        within[here] = np.arange(len(here))
        parents = nodes.parents[here]
        above = -1 - parents[parents < 0]
        # A parent of an earlier pass is known by its column now.
        parents[parents < 0] = np.where(passes[above] == number, -1 - within[above], columns[above])
        columns[here], output = forest.grow(nodes.users[here], parents, nodes.tokens[here])
        yield here, output


def log_probs(logits: Tensor, rows: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-probabilities (E,), in nats, of one token each in a row each of the logits (N, V).

    Raises:
        ModelError: a distribution is not finite.
    """
    parts = torch.split(logits, rows_at_once(logits.device))
    totals = torch.cat([normalised(part)[1][:, 0] for part in parts]).double()
    at, wanted = (torch.from_numpy(array).to(logits.device) for array in (rows, tokens))
    return (logits[at, wanted].double() - totals[at]).cpu().numpy()


def _numbered(users: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many nodes of the same user stand before each."""
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users)
    numbers = np.empty_like(users)
    numbers[order] = np.arange(len(users)) - np.repeat(counts.cumsum() - counts, counts)
    return numbers
