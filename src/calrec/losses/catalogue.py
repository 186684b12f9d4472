"""The next item's negative log-likelihood, normalised over a catalogue instead of over all texts (beyond the paper)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Decisions whose logits exist at one time.
CHUNK = 1024


class Choices(NamedTuple):
    """P decisions at N nodes of catalogues, which allow U different tokens in all.

    A decision is a place of a target where its catalogue leaves several tokens; many decisions share a node.

    Attributes:
        place: (P,) the row of the states that decides.
        node: (P,) at which node.
        label: (P,) the token that is right, by its place in ``vocabulary``.
        vocabulary: (U,) tokens.
        allowed_node, allowed: (E,) pairs of a node and a token it allows, by its place in ``vocabulary``; every node
            allows two tokens or more, the right ones among them.
        nodes: N.
    """

    place: Tensor
    node: Tensor
    label: Tensor
    vocabulary: Tensor
    allowed_node: Tensor
    allowed: Tensor
    nodes: int


def catalogue_nll(states: Tensor, weight: Tensor, choices: Choices) -> Tensor:
    """Sum over decisions of −log softmax over the tokens that the catalogue allows there, at the right one.

    Summed over a text's decisions this is −log p(item | history) with p(·) summing to one over the catalogue's texts,
    since every other place of a text is certain. Logits are taken at decisions alone, of allowed tokens alone. Masking
    a language model's softmax by a trie of the catalogue is known from generation (RecLM-cgen's scope mask is the
    nearest relative); here it normalises the loss and the ranking alike.

    Args:
        states: (S, D) that predict tokens; ``choices.place`` names rows.
        weight: (V, D) of the head.
        choices: the decisions.

    Returns:
        A scalar, in nats; 0 without a decision.
    """
    wide = torch.promote_types(states.dtype, torch.float32)
    head = weight[choices.vocabulary]  # (U, D)
    allowed = torch.zeros(choices.nodes, len(choices.vocabulary), dtype=torch.bool, device=states.device)
    allowed[choices.allowed_node, choices.allowed] = True
    total = torch.zeros((), dtype=wide, device=states.device)
    parts = (choices.place, choices.node, choices.label)
    for place, node, label in zip(*(torch.split(part, CHUNK) for part in parts), strict=True):
        logits = (states[place] @ head.T).to(wide)  # (P, U)
        total = total + F.cross_entropy(logits.masked_fill(~allowed[node], -torch.inf), label, reduction="sum")
    return total
