"""Four-bit copies of frozen layers for QLoRA (Dettmers et al., 2023), and the way back to what they were made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from calrec.model.layers import decoder_of


def quantize_layers(lm: Any, compute_dtype: torch.dtype) -> None:
    """Put NF4 layers in the place of the linear ones inside the decoder's layers; embeddings and head stay.

    They turn to four bits on the first move to a device, be it the one they are on. The layers they were made from
    wait beside them, unregistered, and so stay in the memory of the host: an accelerator holds four bits a weight, and
    nothing has to be read again when adapters are merged.

    Args:
        lm: changed in place.
        compute_dtype: what products are taken in.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    for layer in decoder_of(lm).layers:
        for name, linear in list(layer.named_modules()):
            if not isinstance(linear, nn.Linear):
                continue
            with torch.device("meta"):
                small = Linear4bit(linear.in_features, linear.out_features, bias=False, compute_dtype=compute_dtype)
            small.weight = Params4bit(linear.weight.detach(), requires_grad=False, quant_type="nf4", module=small)
            if linear.bias is not None:  # one of its own, since bitsandbytes changes its precision
                small.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=False)
            # Without gradients bitsandbytes would repack the weights for a CPU's AVX512-BF16, and later ones be wrong.
            small.support_avx512bf16_for_cpu = False
            small.made_from = [linear]
            layer.set_submodule(name, small)


def original_layer(layer: nn.Module) -> nn.Module:
    """What a four-bit layer was made from; any other layer as it is."""
    original: nn.Module = getattr(layer, "made_from", [layer])[0]
    return original


def restore_layers(lm: Any) -> None:
    """Put the layers that four-bit ones were made from in their places, and bring the rest of the model to them."""
    originals = {name: layer.made_from[0] for name, layer in lm.named_modules() if hasattr(layer, "made_from")}
    for name, original in originals.items():
        lm.set_submodule(name, original)
    if originals:
        lm.to(next(iter(originals.values())).weight.device)
