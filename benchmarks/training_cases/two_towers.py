"""The two-tower loop as one writes it down first: a row an example, full logits, a pass for each tower.

One batch holds the examples of one of our batches, so both sides learn the same from it and compare the same targets.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence

from calrec.losses import ObjectiveSettings
from calrec.training.sequences import Texts, Window
from training_cases.setup import STILL, Trained


@dataclass(frozen=True)
class PlainExample:
    """A history and its target as tokens; ``history`` counts those before the target's prefix."""

    tokens: Tensor
    history: int
    target_start: int
    item: Tensor
    item_start: int
    key: int


def plain_examples(windows: Sequence[Window], texts: Texts) -> list[PlainExample]:
    """An example for every target of the windows, cut off behind it."""
    examples = []
    for window in windows:
        spans = window.sequence.spans
        for place in range(window.first_target, len(spans)):
            start, end = (int(bound) for bound in spans[place])
            key = int(window.keys[place])
            item = texts.items[key]
            examples.append(
                PlainExample(
                    torch.from_numpy(window.sequence.token_ids[:end]).long(),
                    int(spans[place - 1, 1]),
                    start,
                    torch.from_numpy(item.token_ids).long(),
                    int(item.spans[0, 0]),
                    key,
                )
            )
    return examples


def plain_batch(examples: Sequence[PlainExample]) -> dict[str, Tensor]:
    """Padded on the right: (B, L) for the user tower, (B, T) for the target tower."""
    tokens = pad_sequence([example.tokens for example in examples], batch_first=True)
    items = pad_sequence([example.item for example in examples], batch_first=True)
    length = torch.tensor([len(example.tokens) for example in examples])[:, None]
    item_length = torch.tensor([len(example.item) for example in examples])[:, None]
    history = torch.tensor([example.history for example in examples])[:, None]
    start = torch.tensor([example.target_start for example in examples])[:, None]
    item_start = torch.tensor([example.item_start for example in examples])[:, None]
    place, item_place = torch.arange(tokens.shape[1])[None], torch.arange(items.shape[1])[None]
    target = (place >= start) & (place < length)
    return {
        "input_ids": tokens,
        "attention_mask": (place < length).long(),
        "labels": tokens.masked_fill(~target, -100),
        "history": place < history,
        "target": target,
        "item_ids": items,
        "item_attention_mask": (item_place < item_length).long(),
        "item": (item_place >= item_start) & (item_place < item_length),
        "key": torch.tensor([example.key for example in examples]),
    }


def plain_terms(lm: Any, batch: dict[str, Tensor], temperature: float) -> dict[str, Tensor]:
    """The paper's three terms; the target tower is even spared its logits, which nobody would use."""
    user_tower = lm(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=batch["labels"],
        output_hidden_states=True,
        use_cache=False,
    )
    states = user_tower.hidden_states[-1]
    target_tower = lm.model(input_ids=batch["item_ids"], attention_mask=batch["item_attention_mask"], use_cache=False)
    target = mean_pool(target_tower.last_hidden_state, batch["item"])
    same = batch["key"][:, None] == batch["key"][None, :]
    return {
        "nig": user_tower.loss,
        "tt": plain_info_nce(target, mean_pool(states, batch["target"]), same, temperature),
        "ut": plain_info_nce(target, mean_pool(states, batch["history"]), same, temperature),
    }


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """(B, L, D) states under a (B, L) mask -> (B, D)."""
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def plain_info_nce(anchors: Tensor, candidates: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of each (B, D) anchor with its own candidate; candidates of the same text are left out."""
    logits = F.normalize(anchors, dim=-1) @ F.normalize(candidates, dim=-1).T / temperature
    others = same & ~torch.eye(len(same), dtype=torch.bool)
    return F.cross_entropy(logits.masked_fill(others, float("-inf")), torch.arange(len(logits)))


@dataclass(frozen=True)
class TwoTowerLoop:
    """The loop around it, with the optimizer and the clipping that our trainer has."""

    lm: Any
    settings: ObjectiveSettings
    batches: Sequence[Sequence[PlainExample]]

    def __call__(self) -> Trained:
        """An update a batch."""
        self.lm.train()
        optimizer = torch.optim.AdamW(self.lm.parameters(), lr=STILL, weight_decay=0.0, fused=True)
        first: dict[str, float] = {}
        begin = time.perf_counter()
        for examples in self.batches:
            terms = plain_terms(self.lm, plain_batch(examples), self.settings.temperature)
            loss = sum(self.settings.weights[name] * term for name, term in terms.items())
            loss.backward()
            clip_grad_norm_(self.lm.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            first = first or {name: float(term.detach()) for name, term in terms.items()}
        return Trained(time.perf_counter() - begin, first)
