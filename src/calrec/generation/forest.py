"""Trees of tokens that grow from users' prompts, each node computed once.

The nodes of all users run through the model as one packed row, so nothing is padded outside of attention, and a user's
prompt is attended to in one place by all of its nodes instead of being copied for each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from calrec.generation.attention import ALIGNED, Attention, Growth, Part, Store, Trunks
from calrec.generation.draws import Prompt
from calrec.model.layers import decoder_of

# Devices where users attend together, since calls cost much and padding little; elsewhere it is one after the other.
# They part where that saves so many scores of a head: an H100 takes as long for those of nine heads in float32 as for
# another call.
_TOGETHER = {"cuda"}
_WORTH_A_CALL = 1 << 18


class Forest:
    """A tree for each user: the prompt is its trunk, and nodes grow from it, each a token that follows its parent.

    A node is known by its user and its column, the place of its keys and values in the user's row. To be used within
    `forest_attention`.

    Args:
        lm: the model.
        prompts: B users, each with at least one token.
        states: give the last layer's states instead of logits, for those who take few of a vocabulary's logits.

    Attributes:
        tips: (B,) column of each prompt's last token: the parent of the first nodes.
        filled: (B,) columns in use; each user's next node gets the next one.
        output: (B, V) logits for the token after each prompt, or (B, D) states.
    """

    def __init__(self, lm: PreTrainedModel, prompts: Sequence[Prompt], states: bool = False) -> None:
        self._lm = lm
        self._decoder = decoder_of(lm) if states else None
        self._store = Store(len(prompts))
        self._trunks = np.array([len(prompt.token_ids) for prompt in prompts])
        self.filled = np.zeros_like(self._trunks)
        self._parents = np.zeros((len(prompts), 0), dtype=np.int64)
        self._depths = np.zeros((len(prompts), 0), dtype=np.int64)
        self.tips = self._trunks - 1
        users = np.repeat(np.arange(len(prompts)), self._trunks)
        tokens = np.concatenate([np.array(prompt.token_ids) for prompt in prompts])
        columns = self._add(users)
        self._depths[:] = np.arange(self._depths.shape[1])
        place = self._on_device(users), self._on_device(columns)
        parts = [] if self._one_by_one else _parted(self._trunks, self._trunks, 0, len(prompts))
        trunks = Trunks(self._store, place, self._trunks.tolist(), parts)
        self.output = self._run(tokens, columns, trunks, keep=self._trunks.cumsum() - 1)

    def grow(
        self,
        users: Sequence[int] | NDArray[np.int64],
        parents: Sequence[int] | NDArray[np.int64],
        tokens: Sequence[int] | NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Add N nodes and compute them in one pass.

        Args:
            users: whose tree each node belongs to.
            parents: the column of the node that it follows; for one that stands before it in this very call, -1 minus
                its place in the call.
            tokens: its token.

        Returns:
            The nodes' columns (N,), and the logits (N, V) for the token after each, or their states (N, D).
        """
        owners, above = np.array(users), np.array(parents)
        first = self.filled.copy()
        columns = self._add(owners)
        in_call = above < 0
        if (-1 - above >= np.arange(len(above))).any():
            raise ValueError("a node's parent must come before it in the call")
        above[in_call] = columns[-1 - above[in_call]]
        self._parents[owners, columns] = above
        slots = columns - first[owners]
        width = -(-self.filled.max() // ALIGNED) * ALIGNED
        visible = np.zeros((len(self._trunks), slots.max() + 1, width), dtype=bool)
        visible |= (np.arange(width) < self._trunks[:, None])[:, None]
        depths = self._trunks[owners] - 1
        path, nodes = columns, np.arange(len(columns))
        while len(nodes):  # one step towards the trunks, all nodes at once
            visible[owners[nodes], slots[nodes], path] = True
            depths[nodes] += 1
            path = self._parents[owners[nodes], path]
            above_trunk = path >= self._trunks[owners[nodes]]
            path, nodes = path[above_trunk], nodes[above_trunk]
        self._depths[owners, columns] = depths
        slot_depths = np.zeros(visible.shape[:2], dtype=np.int64)
        slot_depths[owners, slots] = depths
        arrays = (owners, columns, slots, visible, slot_depths, self._depths[:, :width])
        growth = Growth(self._store, self._parts(self.filled - first), *map(self._on_device, arrays))
        return columns, self._run(np.array(tokens), depths, growth, keep=np.arange(len(columns)))

    @property
    def _one_by_one(self) -> bool:
        return self._lm.device.type not in _TOGETHER

    def _parts(self, counts: NDArray[np.int64]) -> list[Part]:
        """What attends in a call each, of users (B,) with so many new nodes."""
        if self._one_by_one:
            users = np.flatnonzero(counts).tolist()
            return [Part(slice(user, user + 1), int(counts[user]), int(self.filled[user])) for user in users]
        return _parted(counts, -(-self.filled // ALIGNED) * ALIGNED, 0, len(counts))

    def cut(self, columns: NDArray[np.int64]) -> None:
        """Free every user's columns from the given one (B,) on; the nodes there are forgotten, and none may hold on."""
        self.filled = np.minimum(self.filled, columns)

    def keep(self, users: Sequence[int]) -> None:
        """Free the trees of all other users; those kept are numbered anew, in the order given."""
        rows = np.asarray(users)
        self._store.keep(torch.from_numpy(rows).to(self._lm.device))
        self._trunks, self.filled, self.tips = self._trunks[rows], self.filled[rows], self.tips[rows]
        self._parents, self._depths = self._parents[rows], self._depths[rows]

    def _add(self, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """Columns for new nodes: each user's next free ones, in the order of the call."""
        order, counts = np.argsort(users, kind="stable"), np.bincount(users, minlength=len(self.filled))
        columns = np.empty_like(users)
        columns[order] = np.arange(len(users)) - (counts.cumsum() - counts - self.filled)[users[order]]
        self.filled += counts
        missing = self.filled.max() + ALIGNED - self._parents.shape[1]
        if missing > 0:
            self._parents = np.pad(self._parents, ((0, 0), (0, missing)))
            self._depths = np.pad(self._depths, ((0, 0), (0, missing)))
        return columns

    def _run(
        self, tokens: NDArray[np.int64], depths: NDArray[np.int64], attention: Attention, keep: NDArray[np.int64]
    ) -> Tensor:
        inputs = {
            "input_ids": self._on_device(tokens)[None],
            "position_ids": self._on_device(depths)[None],
            "use_cache": False,
            "forest": attention,
        }
        at = self._on_device(keep)
        if self._decoder is not None:
            states: Tensor = self._decoder(**inputs).last_hidden_state[0, at]
            return states
        logits: Tensor = self._lm(**inputs, logits_to_keep=at).logits[0]
        return logits

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._lm.device)


def _parted(counts: NDArray[np.int64], columns: NDArray[np.int64], first: int, last: int) -> list[Part]:
    """Halves of the users from ``first`` to before ``last``, and of these, as long as that pays.

    Args:
        counts: (B,) tokens of each user that attend.
        columns: (B,) what they attend to.
    """

    def part(first: int, last: int) -> Part:
        return Part(slice(first, last), int(counts[first:last].max()), int(columns[first:last].max()))

    whole, middle = part(first, last), (first + last) // 2
    if last - first > 1:
        halves = part(first, middle), part(middle, last)
        if whole.scores - sum(half.scores for half in halves) > _WORTH_A_CALL:
            return _parted(counts, columns, first, middle) + _parted(counts, columns, middle, last)
    return [whole] if whole.slots else []
