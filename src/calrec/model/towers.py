"""The two towers with shared weights: one causal pass over histories and targets, one over the targets alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calrec.model.layers import decoder_of, split_decoder


@dataclass(frozen=True)
class TowerStates:
    """What the passes give for N targets, P predicted tokens and M distinct target items.

    Attributes:
        user: (N, D) v_U: mean state of the tokens before the target's prefix.
        target_given_user: (N, D) v_{T|U}: mean state of the target's tokens after the history.
        predicting: (P, D) the states from which the head predicts the targets' tokens.
        target: (N, D) v_T: mean state of the target's tokens in its own pass; None without a target tower.
        item_predicting: the same as ``predicting`` in the target tower's pass, (Q, D).
    """

    user: Tensor
    target_given_user: Tensor
    predicting: Tensor
    target: Tensor | None = None
    item_predicting: Tensor | None = None


class Towers(nn.Module):
    """A causal LM as user tower and target tower. The states are the last layer's, after the final norm [C].

    The layers below the lowest that has a gradient form a trunk: they run without gradients, and not at all where a
    batch brings the trunk's states along (``calrec.training.trunk_cache``).

    Args:
        lm: a causal LM of transformers.
    """

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm
        decoder = decoder_of(lm)
        trained = [any(p.requires_grad for p in layer.parameters()) for layer in decoder.layers]
        embeds = decoder.embed_tokens.weight.requires_grad
        cut = 0 if embeds or not any(trained) else trained.index(True)
        self.trunk_layers = cut
        # Views share the decoder's modules; a plain list keeps them from being registered a second time.
        self._views = list(split_decoder(decoder, len(trained) - cut)) if cut else [None, decoder]

    @property
    def head_weight(self) -> Tensor:
        """(V, D)."""
        weight: Tensor = self.lm.lm_head.weight
        return weight

    @torch.no_grad()
    def trunk(self, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """The states that enter the trained layers: (B, L) -> (B, L, D)."""
        states: Tensor = self._views[0](
            input_ids=input_ids, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        return states

    def trunk_weights(self) -> list[tuple[str, Tensor]]:
        """Names and weights of all that the trunk's states depend on."""
        decoder = decoder_of(self.lm)
        parts = [("embed_tokens", decoder.embed_tokens)]
        parts += [(f"layers.{i}", layer) for i, layer in enumerate(decoder.layers[: self.trunk_layers])]
        return [(f"{part}.{name}", weight) for part, module in parts for name, weight in module.named_parameters()]

    def states(
        self, input_ids: Tensor, trunk_states: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """Last-layer states of right-padded sequences: (B, L) -> (B, L, D).

        No mask is needed: what pads stands behind, where a causal pass does not look. Where several sequences share a
        row, ``position_ids`` (B, L) begins with 0 at each, and none looks at another: see ``keeps_texts_apart``.
        """
        top = self._views[1]
        if not self.trunk_layers:
            states: Tensor = top(input_ids=input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
            return states
        embeds = trunk_states
        if embeds is None:
            embeds = self.trunk(input_ids, position_ids)
        top_states: Tensor = top(
            inputs_embeds=embeds.to(self.head_weight.dtype), position_ids=position_ids, use_cache=False
        ).last_hidden_state
        return top_states

    def forward(
        self,
        input_ids: Tensor,
        row: Tensor,
        history_end: Tensor,
        target_start: Tensor,
        target_end: Tensor,
        label_row: Tensor,
        label_position: Tensor,
        item_ids: Tensor | None = None,
        item_positions: Tensor | None = None,
        item_row: Tensor | None = None,
        item_start: Tensor | None = None,
        item_end: Tensor | None = None,
        target_item: Tensor | None = None,
        item_label_row: Tensor | None = None,
        item_label_position: Tensor | None = None,
        trunk_states: Tensor | None = None,
        item_trunk_states: Tensor | None = None,
    ) -> TowerStates:
        """Both passes over a batch, as ``calrec.training.batches`` lays it out.

        Args:
            input_ids: (B, L) sequences, padded on the right.
            row, history_end, target_start, target_end: (N,) for each target its sequence, where the history's last
                item ends, and its own span. Several targets may share a sequence: in a causal pass each sees what it
                would see alone.
            label_row, label_position: (P,) where the targets' tokens are predicted.
            item_ids: (R, T) the M distinct targets, several in a row; without them there is no target tower.
            item_positions: (R, T) each token's place in its own target's text.
            item_row, item_start, item_end: (M,) rows and spans of the items' tokens.
            target_item: (N,) the item of each target.
            item_label_row, item_label_position: (Q,) where the items' own tokens are predicted.
            trunk_states, item_trunk_states: the trunk's states of both passes, where they are known.
        """
        states = self.states(input_ids, trunk_states)
        sums = _running_sums(states)
        user = _means(sums, row, torch.zeros_like(history_end), history_end)
        target_given_user = _means(sums, row, target_start, target_end)
        predicting = states[label_row, label_position]
        if item_ids is None or target_item is None or item_row is None or item_start is None or item_end is None:
            return TowerStates(user, target_given_user, predicting)
        item_states = self.states(item_ids, item_trunk_states, item_positions)
        target = _means(_running_sums(item_states), item_row, item_start, item_end)[target_item]
        if item_label_row is None or item_label_position is None:
            return TowerStates(user, target_given_user, predicting, target)
        return TowerStates(
            user, target_given_user, predicting, target, item_states[item_label_row, item_label_position]
        )


def _running_sums(states: Tensor) -> Tensor:
    """(B, L, D) -> (B, L + 1, D): at l the sum of the states before l, in at least float32."""
    wide = states if states.dtype == torch.float64 else states.float()
    return nn.functional.pad(wide.cumsum(dim=1), (0, 0, 1, 0))


def _means(sums: Tensor, row: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Mean states of the spans [start, end) of the rows: (N, D); of an empty span zero."""
    return (sums[row, end] - sums[row, start]) / (end - start).clamp(min=1)[:, None]


def autocast_product(tensor: Tensor) -> Tensor:
    """The tensor as autocast takes it into a matrix product, for products that it does not see."""
    device = tensor.device.type
    return tensor.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tensor
