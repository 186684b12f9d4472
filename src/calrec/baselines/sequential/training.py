"""Training of a sequence model: softmax over all items that can be learnt, early stopping on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from calrec.baselines.sequential.networks import Network
from calrec.baselines.sequential.settings import SequentialSettings
from calrec.baselines.sequential.vocabulary import PADDING, Vocabulary, padded
from calrec.errors import ModelError
from calrec.progress import progress_bar

Tokens = NDArray[np.int64]
_SCORED_TOGETHER = 256
_CUTOFF = 10


@dataclass(frozen=True)
class Validation:
    """What early stopping looks at; nothing is learnt from it.

    Attributes:
        histories: n of one token or more.
        targets: (n,) the tokens that came next.
        excluded: (n,) the token that is taken out of each ranking, ``PADDING`` for none.
        users: of the whole split; those who are not among the n, since the model knows nothing of their history or
            not their target, are missed.
    """

    histories: Sequence[Tokens]
    targets: Tokens
    excluded: Tokens
    users: int


def train(
    network: Network,
    sequences: Sequence[Tokens],
    validation: Validation,
    vocabulary: Vocabulary,
    settings: SequentialSettings,
    name: str,
) -> list[float]:
    """Train until validation no longer improves, and leave the network as it was at its best.

    Args:
        network: in place.
        sequences: to learn from, each of two tokens or more.
        validation: to stop by.
        vocabulary: its trained tokens are the candidates of the softmax; all are ranked in validation.
        settings: how; their seed decides the order, the masks and what is dropped out.
        name: of the method, to show.

    Returns:
        NDCG@10 on validation after every pass.

    Raises:
        ModelError: the weights are no numbers any more.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    drawn = torch.Generator().manual_seed(settings.seed)
    curve: list[float] = []
    best = _copy(network)
    # The line that stays says how training went.
    with progress_bar(f"{name}: passes", settings.epochs, stays=True) as bar:
        for _ in range(settings.epochs if sequences else 0):
            _one_pass(network, sequences, vocabulary.trained, optimizer, settings.batch_items, drawn)
            try:
                curve.append(ndcg(network, validation, vocabulary.columns))
            except FloatingPointError as error:
                raise ModelError(f"{name}: after {len(curve) + 1} passes {error}; lower learning_rate") from None
            if curve[-1] > max(curve[:-1], default=-1.0):
                best = _copy(network)
            since = len(curve) - 1 - int(np.argmax(curve))
            bar.set_postfix_str(f"validation NDCG@10 {curve[-1]:.4f}, best {max(curve):.4f} {since} passes ago", False)
            bar.update()
            if since >= settings.patience:
                break
    network.load_state_dict(best)
    network.eval()
    return curve


def ndcg(network: Network, validation: Validation, columns: Tokens) -> float:
    """NDCG@10 of the validation targets among tokens 1 to ``items``, over all users of the split.

    Equals are ranked by their items' columns, as in every evaluation.

    Args:
        network: in evaluation mode from here on.
        validation: its targets.
        columns: (items,) of the tokens.

    Raises:
        FloatingPointError: a score is not a number.
    """
    network.eval()
    places = torch.from_numpy(columns)
    gain = 0.0
    for start in range(0, len(validation.histories), _SCORED_TOGETHER):
        part = slice(start, start + _SCORED_TOGETHER)
        targets = torch.from_numpy(validation.targets[part])[:, None] - 1
        excluded = torch.from_numpy(validation.excluded[part])
        taken_out = excluded != PADDING
        with torch.inference_mode():
            states = network.next_states(torch.from_numpy(padded(validation.histories[part])))
            scores = network.logits(states, len(columns))
            if torch.isnan(scores).any():
                raise FloatingPointError("its scores are no numbers")
            scores[taken_out, excluded[taken_out] - 1] = -torch.inf
            own = scores.gather(1, targets)
            ahead = (scores > own) | ((scores == own) & (places < places[targets]))
            ranks = ahead.sum(dim=1) + 1
            gain += float((1 / torch.log2(1.0 + ranks))[ranks <= _CUTOFF].sum())
    return gain / validation.users if validation.users else 0.0


def _copy(network: Network) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def batches(lengths: Sequence[int], items: int, generator: torch.Generator) -> list[list[int]]:
    """Every sequence once, in batches in random order, each of about ``items`` items in sequences of similar length.

    So little is padded, and every item of every sequence weighs about the same.
    """
    drawn = torch.as_tensor(lengths) + torch.rand(len(lengths), generator=generator)
    order = drawn.argsort()
    batch_of = (drawn[order].long().cumsum(0) - 1) // items
    made = order.split_with_sizes([size for size in batch_of.bincount().tolist() if size])
    return [made[place].tolist() for place in torch.randperm(len(made), generator=generator).tolist()]


def _one_pass(
    network: Network,
    sequences: Sequence[Tokens],
    items: int,
    optimizer: torch.optim.Optimizer,
    batch_items: int,
    generator: torch.Generator,
) -> None:
    network.train()
    for places in batches([len(row) for row in sequences], batch_items, generator):
        inputs, targets = network.examples(torch.from_numpy(padded([sequences[place] for place in places])), generator)
        # Padded positions are kept out of the softmax, which is most of the work.
        learnt = targets != PADDING
        logits = network.logits(network.states(inputs)[learnt], items)
        loss = functional.cross_entropy(logits, targets[learnt] - 1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
