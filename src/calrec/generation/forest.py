"""Trees of tokens that grow from users' prompts, each node computed once.

The nodes of all users run through the model as one packed row, so nothing is padded outside of attention, and a user's
prompt is attended to in one place by all of its nodes instead of being copied for each sample. transformers makes room
for this by its attention interface: the forest is the attention function's keyword, and keeps keys and values itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

from calrec.errors import ModelError
from calrec.generation.draws import Prompt
from calrec.generation.prefill import layer_kinds

_ATTENTION = "calrec_forest"

# Devices where users' nodes attend one user after the other: calls cost little there and padding much. Elsewhere all
# users' attend in one call.
_ONE_BY_ONE = {"cpu"}


def _forest_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    forest: _Attention,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    if softcap is not None or s_aux is not None:
        raise ModelError(
            f"{type(module).__name__} caps its scores or has sinks, which trees cannot share yet: sample with mode=rows"
        )
    return forest.attend(module.layer_idx, query, key, value, scaling, sliding_window), None


AttentionInterface.register(_ATTENTION, _forest_attention)


@contextmanager
def forest_attention(lm: PreTrainedModel) -> Iterator[None]:
    """Within the context the model attends through a `Forest`; what it had before comes back after.

    Raises:
        ModelError: the model does not go through transformers' attention interface, or attends in another way.
    """
    kinds = set(layer_kinds(lm)) - {"full_attention", "sliding_attention"}
    if kinds:
        raise ModelError(f"{type(lm).__name__} has {kinds.pop()}, which trees cannot share yet: sample with mode=rows")
    before = lm.config._attn_implementation
    lm.set_attn_implementation(_ATTENTION)
    if lm.config._attn_implementation != _ATTENTION:
        raise ModelError(f"{type(lm).__name__} has an attention of its own, without trees: sample with mode=rows")
    try:
        yield
    finally:
        lm.set_attn_implementation(before)


class _Store:
    """Keys and values of every layer: (B, G, C, D) each, a row a user; columns are added as they are needed."""

    def __init__(self, users: int) -> None:
        self._users = users
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, key: Tensor, value: Tensor, place: tuple[Tensor, Tensor], width: int) -> list[Tensor]:
        """Put (1, G, N, D) at N places (user, column), and give back the layer's first ``width`` columns."""
        held = self._layers.get(layer) or (key.new_zeros(0), value.new_zeros(0))
        grown = []
        for old, new in zip(held, (key[0].transpose(0, 1), value[0].transpose(0, 1)), strict=True):
            if not old.numel():
                # Zeros and not merely room: what is masked is still multiplied, by zero.
                old = new.new_zeros(self._users, new.shape[1], width, new.shape[2])
            elif old.shape[2] < width:
                old = F.pad(old, (0, 0, 0, max(width - old.shape[2], old.shape[2] // 4)))
            old[place[0], :, place[1]] = new
            grown.append(old)
        self._layers[layer] = (grown[0], grown[1])
        return [tensor[:, :, :width] for tensor in grown]

    def keep(self, users: Tensor) -> None:
        self._users = len(users)
        self._layers = {layer: (keys[users], values[users]) for layer, (keys, values) in self._layers.items()}


class _Attention(Protocol):
    """What one pass of N packed tokens through the model attends to."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """Attention: query (1, H, N, D), key and value (1, G, N, D) to output (1, N, H, D)."""


@dataclass(frozen=True)
class _Trunks:
    """The prompts' own pass: each token attends to those before it in its prompt, one user after the other.

    Attributes:
        store: where keys and values go. place: (user, column) there, (N,) each.
        lengths: B tokens.
    """

    store: _Store
    place: tuple[Tensor, Tensor]
    lengths: list[int]

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        self.store.write(layer, key, value, self.place, max(self.lengths))
        outputs = []
        for q, k, v in zip(*(torch.split(packed, self.lengths, dim=2) for packed in (query, key, value)), strict=True):
            band = self._band(q.shape[2], window, q.device)
            # Causal without a mask skips what is not seen.
            causal = band is None
            outputs.append(
                F.scaled_dot_product_attention(q, k, v, band, is_causal=causal, scale=scaling, enable_gqa=True)
            )
        return torch.cat(outputs, dim=2).transpose(1, 2)

    @staticmethod
    def _band(length: int, window: int | None, device: torch.device) -> Tensor | None:
        """(L, L) what a sliding window leaves to see; None where that is all that came before."""
        if window is None or length <= window:
            return None
        return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)


@dataclass(frozen=True)
class _Part:
    """Users whose nodes attend together: rows ``users`` of the store, padded to ``slots`` nodes and ``columns``."""

    users: slice
    slots: int
    columns: int


@dataclass(frozen=True)
class _Growth:
    """The pass of N new nodes over trunks and trees.

    Attributes:
        store: what earlier passes left. parts: that attend one after the other.
        users: (N,) row of each node in the store; ``columns``: (N,) its column there.
        slots: (N,) its place among the nodes of its user in this pass.
        visible: (B, S, C) which columns each slot attends to.
        slot_depths: (B, S) how many tokens lie before each slot; ``column_depths``: (B, C) before each column.
    """

    store: _Store
    parts: list[_Part]
    users: Tensor
    columns: Tensor
    slots: Tensor
    visible: Tensor
    slot_depths: Tensor
    column_depths: Tensor
    _biases: dict[int | None, list[Tensor]] = field(default_factory=dict, init=False)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        keys, values = self.store.write(layer, key, value, (self.users, self.columns), self.visible.shape[2])
        (users, slots, _), (_, heads, nodes, size), groups = self.visible.shape, query.shape, key.shape[1]
        # The heads that share keys stand one below the other as more queries, so that keys need no copy a head.
        padded = query.new_zeros(users, groups, heads // groups, slots, size)
        packed = query[0].transpose(0, 1).reshape(nodes, groups, heads // groups, size)
        padded[self.users, :, :, self.slots] = packed
        output = padded.new_empty(*padded.shape[:-1], value.shape[-1])
        for part, bias in zip(self.parts, self._bias(window, heads // groups, query.dtype), strict=True):
            attended = F.scaled_dot_product_attention(
                padded[part.users, :, :, : part.slots].flatten(2, 3),
                keys[part.users, :, : part.columns],
                values[part.users, :, : part.columns],
                attn_mask=bias,
                scale=scaling,
            )
            within = output[part.users, :, :, : part.slots]
            within.copy_(attended.view_as(within))
        return output[self.users, :, :, self.slots].reshape(1, nodes, heads, -1)

    def _bias(self, window: int | None, repeats: int, dtype: torch.dtype) -> list[Tensor]:
        """Of each part (b, 1, repeats s, c): 0 where a slot attends and ``-inf`` where not; one for all layers."""
        if window not in self._biases:
            mask = self.visible
            if window is not None:
                mask = mask & (self.slot_depths[:, :, None] - self.column_depths[:, None] < window)
            bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
            self._biases[window] = [
                bias[part.users, None, : part.slots, : part.columns].repeat(1, 1, repeats, 1) for part in self.parts
            ]
        return self._biases[window]


class Forest:
    """A tree for each user: the prompt is its trunk, and nodes grow from it, each a token that follows its parent.

    A node is known by its user and its column, the place of its keys and values in the user's row. To be used within
    `forest_attention`.

    Args:
        lm: the model.
        prompts: B users, each with at least one token.

    Attributes:
        tips: (B,) column of each prompt's last token: the parent of the first nodes.
        filled: (B,) columns in use; each user's next node gets the next one.
        logits: (B, V) for the token after each prompt.
    """

    def __init__(self, lm: PreTrainedModel, prompts: Sequence[Prompt]) -> None:
        self._lm = lm
        self._store = _Store(len(prompts))
        self._trunks = np.array([len(prompt.token_ids) for prompt in prompts])
        self.filled = np.zeros_like(self._trunks)
        self._parents = np.zeros((len(prompts), 0), dtype=np.int64)
        self._depths = np.zeros((len(prompts), 0), dtype=np.int64)
        self.tips = self._trunks - 1
        users = np.repeat(np.arange(len(prompts)), self._trunks)
        tokens = np.concatenate([np.array(prompt.token_ids) for prompt in prompts])
        columns = self._add(users)
        self._depths[:] = np.arange(self.filled.max())
        trunks = _Trunks(self._store, (self._on_device(users), self._on_device(columns)), self._trunks.tolist())
        self.logits = self._run(tokens, columns, trunks, keep=self._trunks.cumsum() - 1)

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
            The nodes' columns (N,), and the logits (N, V) for the token after each.
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
        visible = np.zeros((len(self._trunks), slots.max() + 1, self.filled.max()), dtype=bool)
        visible |= (np.arange(visible.shape[2]) < self._trunks[:, None])[:, None]
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
        arrays = (owners, columns, slots, visible, slot_depths, self._depths[:, : visible.shape[2]])
        growth = _Growth(self._store, self._parts(self.filled - first), *map(self._on_device, arrays))
        return columns, self._run(np.array(tokens), depths, growth, keep=np.arange(len(columns)))

    def _parts(self, counts: NDArray[np.int64]) -> list[_Part]:
        """What attends in one call, of users (B,) with so many new nodes."""
        if self._lm.device.type not in _ONE_BY_ONE:
            return [_Part(slice(None), int(counts.max()), int(self.filled.max()))]
        users = np.flatnonzero(counts).tolist()
        return [_Part(slice(user, user + 1), int(counts[user]), int(self.filled[user])) for user in users]

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
        missing = self.filled.max() - self._parents.shape[1]
        if missing > 0:
            self._parents = np.pad(self._parents, ((0, 0), (0, missing)))
            self._depths = np.pad(self._depths, ((0, 0), (0, missing)))
        return columns

    def _run(
        self, tokens: NDArray[np.int64], depths: NDArray[np.int64], attention: _Attention, keep: NDArray[np.int64]
    ) -> Tensor:
        output = self._lm(
            input_ids=self._on_device(tokens)[None],
            position_ids=self._on_device(depths)[None],
            use_cache=False,
            logits_to_keep=self._on_device(keep),
            forest=attention,
        )
        logits: Tensor = output.logits[0]
        return logits

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._lm.device)
