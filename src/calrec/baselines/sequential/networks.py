"""The networks, built from the modules of torch and transformers; each turns sequences of tokens into logits of items.

All are padded behind, so that a causal model needs no mask. Logits are computed for chosen positions only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2Model

from calrec.baselines.sequential.vocabulary import PADDING


class Network(nn.Module, ABC):
    """Predicts the next item from all before it, at every position; what else a model predicts, it overrides."""

    @abstractmethod
    def states(self, tokens: Tensor) -> Tensor:
        """(B, L) tokens -> (B, L, D)."""

    @abstractmethod
    def logits(self, states: Tensor, items: int) -> Tensor:
        """(N, D) states -> (N, items): of tokens 1 to ``items``."""

    def examples(self, tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (B, L') and targets (B, L') to learn from; a target that is ``PADDING`` is none."""
        return tokens[:, :-1], tokens[:, 1:]

    def next_states(self, tokens: Tensor) -> Tensor:
        """(B, L) tokens -> (B, D): the states that predict what follows each row's last item."""
        last = (tokens != PADDING).sum(dim=1) - 1
        return self.states(tokens)[torch.arange(len(tokens)), last]


class Recurrent(Network):
    """GRU4Rec: a GRU over the embeddings of the items, which are those of its output too."""

    def __init__(self, items: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(items + 1, dim, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(items))
        self.gru = nn.GRU(dim, dim, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)

    def states(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.dropout(self.gru(self.dropout(self.embedding(tokens)))[0])
        return states

    def logits(self, states: Tensor, items: int) -> Tensor:
        return functional.linear(states, self.embedding.weight[1 : items + 1], self.bias[:items])


class Causal(Network):
    """SASRec: causal self-attention, layer norms before its blocks, input and output embeddings shared."""

    def __init__(self, items: int, length: int, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.transformer = causal_transformer(items + 1, length, dim, layers, heads, dropout)

    def states(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.transformer(tokens, use_cache=False).last_hidden_state
        return states

    def logits(self, states: Tensor, items: int) -> Tensor:
        return functional.linear(states, self.transformer.wte.weight[1 : items + 1])


class Cloze(Network):
    """BERT4Rec: bidirectional self-attention that finds masked items; to predict, a mask stands behind the history."""

    def __init__(
        self, items: int, length: int, dim: int, layers: int, heads: int, dropout: float, masked: float
    ) -> None:
        super().__init__()
        self.mask, self.masked = items + 1, masked
        self.bert = BertForMaskedLM(
            BertConfig(
                vocab_size=items + 2,
                hidden_size=dim,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=4 * dim,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                max_position_embeddings=length + 1,
                type_vocab_size=1,
                pad_token_id=PADDING,
                initializer_range=_INIT,
            )
        )

    def states(self, tokens: Tensor) -> Tensor:
        real = tokens != PADDING
        # Counted from the end, so that the place behind a history, where prediction masks, is one that training knows.
        places = (real.sum(dim=1, keepdim=True) - 1 - torch.arange(tokens.shape[1])).clamp(min=0)
        states: Tensor = self.bert.bert(tokens, attention_mask=real, position_ids=places).last_hidden_state
        return states

    def logits(self, states: Tensor, items: int) -> Tensor:
        head = self.bert.cls.predictions
        return functional.linear(head.transform(states), head.decoder.weight[1 : items + 1], head.bias[1 : items + 1])

    def examples(self, tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        real = tokens != PADDING
        chosen = (torch.rand(tokens.shape, generator=generator).to(tokens.device) < self.masked) & real
        # The last item is what prediction masks; a sequence in which chance masked nothing teaches by it.
        last = real.sum(dim=1, keepdim=True) - 1
        chosen.scatter_(1, last, chosen.gather(1, last) | ~chosen.any(dim=1, keepdim=True))
        return tokens.masked_fill(chosen, self.mask), tokens.masked_fill(~chosen, PADDING)

    def next_states(self, tokens: Tensor) -> Tensor:
        behind = (tokens != PADDING).sum(dim=1, keepdim=True)
        asked = functional.pad(tokens, (0, 1), value=PADDING).scatter(1, behind, self.mask)
        return super().next_states(asked)


class TextCausal(Network):
    """UniSRec's way: items are frozen vectors of their texts, brought into the sequence model's space by an adaptor.

    The adaptor is a mixture of linear experts; scores are cosines over a temperature.

    Args:
        vectors: (V, T), that of token 1 first.
    """

    def __init__(
        self,
        vectors: Tensor,
        length: int,
        dim: int,
        layers: int,
        heads: int,
        dropout: float,
        experts: int,
        temperature: float,
    ) -> None:
        super().__init__()
        padding = vectors.new_zeros(1, vectors.shape[1])
        self.register_buffer("vectors", torch.cat([padding, vectors]), persistent=False)
        self.temperature = temperature
        self.dropout = nn.Dropout(dropout)
        self.experts = nn.Linear(vectors.shape[1], experts * dim)
        self.gate = nn.Linear(vectors.shape[1], experts)
        self.transformer = causal_transformer(1, length, dim, layers, heads, dropout)

    def adapted(self, vectors: Tensor) -> Tensor:
        """(..., T) -> (..., D)."""
        shares = self.gate(vectors).softmax(dim=-1)
        outputs = self.experts(self.dropout(vectors)).unflatten(-1, (shares.shape[-1], -1))
        return torch.einsum("...e,...ed->...d", shares, outputs)

    def states(self, tokens: Tensor) -> Tensor:
        items = self.adapted(self.get_buffer("vectors")[tokens])
        states: Tensor = self.transformer(inputs_embeds=items, use_cache=False).last_hidden_state
        return states

    def logits(self, states: Tensor, items: int) -> Tensor:
        candidates = self.adapted(self.get_buffer("vectors")[1 : items + 1])
        return functional.normalize(states) @ functional.normalize(candidates).T / self.temperature


_INIT = 0.02


def causal_transformer(tokens: int, length: int, dim: int, layers: int, heads: int, dropout: float) -> Any:
    """GPT-2's layers with SASRec's feed-forward: as wide as the state, with ReLU."""
    config = GPT2Config(
        vocab_size=tokens,
        n_positions=length,
        n_embd=dim,
        n_layer=layers,
        n_head=heads,
        n_inner=dim,
        activation_function="relu",
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        initializer_range=_INIT,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2Model(config)
