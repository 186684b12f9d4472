"""What passes cost by arithmetic: floating-point operations and memory, from the shape of a model and counts.

An operation is a multiplication or an addition, so a matrix of P weights takes 2P a token forward, 2P for the gradient
of its input and 2P for its own. What is no matrix product (norms, softmax, rotations) is left out of the operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calrec.losses import ObjectiveSettings
from calrec.losses.next_item import CHUNK
from calrec.model.layers import decoder_of
from calrec.model.towers import Towers
from calrec.planning.counts import PassCounts
from calrec.training.config import StageSettings

Operations = NDArray[np.float64]


@dataclass(frozen=True)
class ModelCost:
    """The shape of a model whose gradients are switched on as training switches them on.

    Attributes:
        trunk, top: matrix weights of the frozen layers below, and of the layers from the lowest trained one on.
        learnt: matrix weights of ``top`` that have gradients; with low-rank adapters these alone.
        trunk_layers, top_layers: how many these are.
        attention, key_value: width of all heads, and of all key-value heads.
        width, feed_forward, vocabulary: D, F and V.
        head_trained: whether the vocabulary's projection has gradients.
        checkpointing: whether states are computed again on the way back.
        trained, parameters: numbers of all weights. trained_bytes, parameter_bytes: what they take.
        weight_bytes: of one that is not in four bits.
        more_norms: norms of a layer's states beyond two. head_norms: whether queries and keys have norms.
    """

    trunk: int
    top: int
    learnt: int
    trunk_layers: int
    top_layers: int
    attention: int
    key_value: int
    width: int
    feed_forward: int
    vocabulary: int
    head_trained: bool
    checkpointing: bool
    trained: int
    parameters: int
    trained_bytes: int
    parameter_bytes: int
    weight_bytes: int
    more_norms: int = 0
    head_norms: bool = False


def model_cost(towers: Towers, checkpointing: bool = False) -> ModelCost:
    """Read the shape of a model after ``adapt``; its weights may be on the meta device."""
    lm = towers.lm
    config = lm.config.get_text_config()
    layers = decoder_of(lm).layers
    trunk, top = layers[: towers.trunk_layers], layers[towers.trunk_layers :]
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    key_value = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    vocabulary, width = towers.head_weight.shape
    return ModelCost(
        trunk=_matrices(trunk),
        top=_matrices(top),
        learnt=_matrices(top, learnt=True),
        trunk_layers=len(trunk),
        top_layers=len(top),
        attention=head * config.num_attention_heads,
        key_value=head * key_value,
        width=width,
        feed_forward=config.intermediate_size,
        vocabulary=vocabulary,
        head_trained=towers.head_weight.requires_grad,
        checkpointing=checkpointing,
        trained=sum(p.numel() for p in lm.parameters() if p.requires_grad),
        parameters=sum(p.numel() for p in lm.parameters()),
        trained_bytes=sum(p.nbytes for p in lm.parameters() if p.requires_grad),
        parameter_bytes=round(sum(_bytes(p) for p in lm.parameters())),
        weight_bytes=towers.head_weight.element_size(),
        more_norms=sum("norm" in name for name, _ in layers[0].named_children()) - 2,
        head_norms=any(name.endswith("q_norm") for name, _ in layers[0].named_modules()),
    )


def _bytes(weight: Any) -> float:
    # bitsandbytes makes four bits of it, and a float32 scale for 64 of these, only when it moves to its device.
    four_bits = type(weight).__name__ == "Params4bit"
    return float(weight.numel() * (0.5 + 4 / 64) if four_bits else weight.nbytes)


def _matrices(layers: Any, learnt: bool = False) -> int:
    return sum(p.numel() for p in layers.parameters() if p.dim() > 1 and (p.requires_grad or not learnt))


def trunk_operations(cost: ModelCost, passes: PassCounts) -> Operations:
    """(K,) of the frozen trunk."""
    return _forward(cost.trunk, cost.trunk_layers, cost, passes)


def forward_operations(cost: ModelCost, passes: PassCounts, cached: bool, vocabulary: bool = True) -> Operations:
    """(K,) of passes without gradients: validation, and the first ones of an update of several.

    Args:
        cached: whether the trunk's states are known. vocabulary: whether the head runs.
    """
    head = 2.0 * cost.vocabulary * cost.width * passes.predicted * vocabulary
    trunk = 0.0 if cached else trunk_operations(cost, passes)
    return trunk + _forward(cost.top, cost.top_layers, cost, passes) + head


def training_operations(cost: ModelCost, passes: PassCounts, cached: bool) -> Operations:
    """(K,) of passes forward and back; the lowest trained layer's input is counted as if it had a gradient."""
    trunk = 0.0 if cached else trunk_operations(cost, passes)
    forward = _forward(cost.top, cost.top_layers, cost, passes)
    # Back: inputs' gradients cost what the pass forward does, and weights' gradients the same for what is learnt.
    # Attention has two products forward and four back.
    attention = _forward(0, cost.top_layers, cost, passes)
    back = forward + 2.0 * cost.learnt * passes.tokens + attention
    again = forward if cost.checkpointing else 0.0
    head = 2.0 * cost.vocabulary * cost.width * passes.predicted * (3 if cost.head_trained else 2)
    return trunk + forward + again + back + head


def contrast_operations(
    cost: ModelCost, passes: PassCounts, stage: StageSettings, objective: ObjectiveSettings
) -> Operations:
    """Of the contrastive terms: (updates,), or (K,) where every pass has its own."""
    terms = len({"tt", "ut"} & set(objective.weights))
    targets = passes.targets.astype(np.float64)
    if stage.negatives == "update":
        targets = targets.reshape(-1, stage.accumulation).sum(axis=1)
    operations: Operations = 6.0 * terms * cost.width * targets**2
    return operations


@dataclass(frozen=True)
class StageOperations:
    """Operations of a whole stage, by what they are for.

    Attributes:
        trunk_once: of the frozen trunk, where its states are kept.
        passes: (K,) forward and back. first_passes: (K,) those before, for the negatives of an update; 0 without.
        contrast: of the terms themselves, in all.
        validation: (J,) of one validation's passes.
    """

    trunk_once: float
    passes: Operations
    first_passes: Operations
    contrast: float
    validation: Operations


def stage_operations(
    cost: ModelCost,
    training: PassCounts,
    validation: PassCounts,
    stage: StageSettings,
    objective: ObjectiveSettings,
    cached_tokens: int,
    passes_per_update: int,
) -> StageOperations:
    """Count a stage's operations.

    Args:
        cached_tokens: whose trunk's states are kept; 0 where none are.
        passes_per_update: of one process; with several, negatives of the update need them all twice.
    """
    cached = cached_tokens > 0
    again = stage.negatives == "update" and objective.contrasts and passes_per_update > 1
    share = cached_tokens / max(1, int(training.tokens.sum()))
    return StageOperations(
        trunk_once=share * float(trunk_operations(cost, training).sum()),
        passes=training_operations(cost, training, cached),
        first_passes=forward_operations(cost, training, cached, vocabulary=False) * again,
        contrast=float(contrast_operations(cost, training, stage, objective).sum()),
        validation=forward_operations(cost, validation, cached),
    )


def _forward(matrices: int, layers: int, cost: ModelCost, passes: PassCounts) -> Operations:
    return 2.0 * matrices * passes.tokens + 4.0 * cost.attention * layers * passes.cells


@dataclass(frozen=True)
class Memory:
    """Bytes by what holds them, and the most that are held at one time.

    Attributes:
        weights, gradients, optimizer: of AdamW two states a trained weight.
        copies: of weights in bfloat16, which autocast keeps for an update.
        activations: states that the way back needs, of the largest pass.
        logits: of one chunk of positions, and their probabilities; with the gradient of a head that is trained.
        peak: not the sum, as logits are gone when gradients come.
    """

    weights: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    logits: int
    peak: int


def memory(cost: ModelCost, passes: PassCounts, autocast: bool, passes_per_update: int, processes: int = 1) -> Memory:
    """Memory of one process.

    Args:
        autocast: whether matrix products are taken in bfloat16 over float32 weights.
        passes_per_update: of the process; with several, gradients wait while passes run.
        processes: with several, DistributedDataParallel holds gradients a second time.
    """
    narrow = 2 if autocast else cost.weight_bytes
    tokens = int(passes.tokens.max(initial=0))
    predicted = int(max(passes.labels.max(initial=0), passes.item_labels.max(initial=0)))
    gradients = cost.trained_bytes * (2 if processes > 1 else 1)
    head = cost.vocabulary * cost.width
    copies = 2 * (cost.learnt + head) if autocast else 0
    # The sums of the head's gradient and one chunk's part of it are float32.
    head_gradient = 8 * head if cost.head_trained else 0
    # A chunk's logits, and their float32 log-probabilities.
    logits = min(predicted, CHUNK) * cost.vocabulary * (narrow + 4) + head_gradient
    activations = tokens * _activation_bytes(cost, narrow, autocast)
    # What one layer's way back needs beside the states: gradients of its feed-forward part.
    back = tokens * narrow * 3 * cost.feed_forward
    fixed = cost.parameter_bytes + 2 * cost.trained_bytes + copies
    waiting = gradients if passes_per_update > 1 or processes > 1 else 0
    return Memory(
        weights=cost.parameter_bytes,
        gradients=gradients,
        optimizer=2 * cost.trained_bytes,
        copies=copies,
        activations=activations,
        logits=logits,
        peak=fixed + max(waiting + activations + max(logits, back), gradients + back),
    )


def _activation_bytes(cost: ModelCost, narrow: int, autocast: bool) -> int:
    """Of one token, for the layers that are trained, and for the states' running sums."""
    wide = 4
    norms = cost.width * (4 * wide + (5 if autocast else 2) * narrow)
    attention = (3 * cost.attention + 2 * cost.key_value) * narrow
    norms += cost.more_norms * cost.width * (2 * wide + narrow)
    attention += cost.head_norms * (cost.attention + cost.key_value) * (wide + narrow // 2)
    layer = norms + attention + 4 * cost.feed_forward * narrow
    # Under gradient checkpointing a layer's input alone is kept, and one layer at a time is whole.
    layers = cost.top_layers * cost.width * wide + layer if cost.checkpointing else cost.top_layers * layer
    return layers + 5 * cost.width * wide
