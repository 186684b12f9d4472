"""How the packed tokens of many users' trees attend: a user's prompt in one place for all of its nodes.

transformers makes room for this by its attention interface: a pass is the attention function's keyword, and keeps keys
and values itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

from calrec.errors import ModelError
from calrec.generation.prefill import layer_kinds

_ATTENTION = "calrec_forest"
#: Masks are laid out in so many columns, or kernels of accelerators copy them in every layer.
ALIGNED = 8


def _forest_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    forest: Attention,
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


class Store:
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
        for layer in list(self._layers):
            keys, values = self._layers.pop(layer)  # so that no two layers are held twice at a time
            self._layers[layer] = (keys[users], values[users])


class Attention(Protocol):
    """What one pass of N packed tokens through the model attends to."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """Attention: query (1, H, N, D), key and value (1, G, N, D) to output (1, N, H, D)."""


@dataclass(frozen=True)
class Trunks:
    """The prompts' own pass: each token attends to those before it in its prompt.

    Attributes:
        store: where keys and values go. place: (user, column) there, (N,) each.
        lengths: B tokens.
        parts: users that attend together, padded; without any, each in a call of its own, without padding.
    """

    store: Store
    place: tuple[Tensor, Tensor]
    lengths: list[int]
    parts: list[Part]
    _bands: dict[tuple[int, int], Tensor] = field(default_factory=dict, init=False)

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        keys, values = self.store.write(layer, key, value, self.place, max(self.lengths))
        if self.parts:
            return self._together(query, keys, values, scaling, window)
        outputs = []
        for q, k, v in zip(*(torch.split(packed, self.lengths, dim=2) for packed in (query, key, value)), strict=True):
            band = self._band(q.shape[2], window, q.device)
            # Causal without a mask skips what is not seen.
            causal = band is None
            outputs.append(
                F.scaled_dot_product_attention(q, k, v, band, is_causal=causal, scale=scaling, enable_gqa=True)
            )
        return torch.cat(outputs, dim=2).transpose(1, 2)

    def _together(
        self, query: Tensor, keys: Tensor, values: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """What pads stands behind, where a causal pass does not look: ``keys`` and ``values`` (B, G, L, D)."""
        (users, columns), (_, heads, _, size) = self.place, query.shape
        padded = query.new_zeros(len(keys), heads, keys.shape[2], size)
        padded[users, :, columns] = query[0].transpose(0, 1)
        output = query.new_empty(*padded.shape[:-1], values.shape[-1])
        for part in self.parts:
            cells = part.users, slice(None), slice(part.columns)
            # A copy a head, since the kernels that take what heads share are not there for all precisions.
            k, v = (shared[cells].repeat_interleave(heads // shared.shape[1], dim=1) for shared in (keys, values))
            band = self._band(part.columns, window, query.device)
            output[cells] = F.scaled_dot_product_attention(
                padded[cells], k, v, band, is_causal=band is None, scale=scaling
            )
        return output[users, :, columns][None]

    def _band(self, length: int, window: int | None, device: torch.device) -> Tensor | None:
        """(L, L) what a sliding window leaves to see; None where that is all that came before."""
        if window is None or length <= window:
            return None
        if (length, window) not in self._bands:
            ones = torch.ones(length, length, dtype=torch.bool, device=device)
            self._bands[length, window] = ones.tril().triu(1 - window)
        return self._bands[length, window]


@dataclass(frozen=True)
class Part:
    """Users whose nodes attend together: rows ``users`` of the store, padded to ``slots`` nodes and ``columns``."""

    users: slice
    slots: int
    columns: int

    @property
    def scores(self) -> int:
        """Of a head, padding included."""
        users: int = self.users.stop - self.users.start
        return users * self.slots * self.columns


@dataclass(frozen=True)
class Growth:
    """The pass of N new nodes over trunks and trees.

    Attributes:
        store: what earlier passes left.
        parts: that attend one after the other.
        users: (N,) row of each node in the store; ``columns``: (N,) its column there.
        slots: (N,) its place among the nodes of its user in this pass.
        visible: (B, S, C) which columns each slot attends to.
        slot_depths: (B, S) how many tokens lie before each slot; ``column_depths``: (B, C) before each column.
    """

    store: Store
    parts: list[Part]
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
        padded = query.new_empty(users, groups, heads // groups, slots, size)
        packed = query[0].transpose(0, 1).reshape(nodes, groups, heads // groups, size)
        padded[self.users, :, :, self.slots] = packed
        attended = (
            F.scaled_dot_product_attention(
                padded[part.users, :, :, : part.slots].flatten(2, 3),
                keys[part.users, :, : part.columns],
                values[part.users, :, : part.columns],
                attn_mask=bias,
                scale=scaling,
            ).view(-1, groups, heads // groups, part.slots, value.shape[-1])
            for part, bias in zip(self.parts, self._bias(window, heads // groups, query.dtype), strict=True)
        )
        if self.parts[0].users == slice(0, users):
            output = next(attended)
        else:
            output = padded.new_empty(*padded.shape[:-1], value.shape[-1])
            for part, of_part in zip(self.parts, attended, strict=True):
                output[part.users, :, :, : part.slots] = of_part
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
