"""The weights in a checkpoint: a plain Hugging Face folder, or a plain peft folder where adapters alone are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from calrec.errors import ModelError
from calrec.model.weights import without_progress_bars
from calrec.training.adapt import has_adapters

WEIGHTS = "model.safetensors"
ADAPTERS = "adapter_model.safetensors"
# Where the language model is within what Trainer wraps, calrec.training.alignment.Alignment.
_WITHIN = "towers.lm."


def save_weights(lm: Any, folder: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Write what training changes; nothing is pickled.

    A model with adapters leaves these alone, since everything else is as it was loaded, and four-bit weights would be
    of no use to anyone.

    Args:
        lm: the causal LM.
        folder: to write into; made where there is none.
        state_dict: whole weights by the names in the wrapped model, as Trainer gathers them from shards.
    """
    whole = None
    if state_dict is not None:
        whole = {name.removeprefix(_WITHIN): weight for name, weight in state_dict.items() if name.startswith(_WITHIN)}
    if not has_adapters(lm):
        with without_progress_bars():
            lm.save_pretrained(folder, state_dict=whole)
        return
    folder.mkdir(parents=True, exist_ok=True)
    weights = whole or dict(lm.named_parameters())
    adapters = {there: weights[here].detach().cpu().contiguous() for here, there in _adapter_names(lm)}
    safetensors.torch.save_file(adapters, folder / ADAPTERS, metadata={"format": "pt"})
    for config in lm.peft_config.values():
        config.save_pretrained(folder)


def load_weights(lm: Any, folder: Path) -> None:
    """Put a checkpoint's weights into a model that has its shape, sharded or not.

    Raises:
        ModelError: they do not fit.
    """
    if has_adapters(lm):
        read = safetensors.torch.load_file(folder / ADAPTERS)
        weights = {here: read.pop(there) for here, there in _adapter_names(lm) if there in read} | read
        wanted = {here for here, _ in _adapter_names(lm)}
    else:
        weights = safetensors.torch.load_file(folder / WEIGHTS)
        wanted = {name for name, _ in lm.named_parameters()}
    unknown, missing = _put(lm, weights), wanted - set(weights) - set(getattr(lm, "all_tied_weights_keys", None) or ())
    if missing or unknown:
        raise ModelError(f"{folder}: its weights do not fit the model: {[*sorted(missing), *unknown]}")


def is_sharded(lm: Any) -> bool:
    """Whether each process holds a part of every weight, as under FSDP."""
    return any(isinstance(weight, DTensor) for weight in lm.parameters())


def unsharded(lm: Any) -> Any:
    """A whole model, on the CPU, from the shards of all processes; every one of them calls this and gets a copy."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from transformers import AutoModelForCausalLM

    weights: dict[str, Any] = get_model_state_dict(lm, options=StateDictOptions(full_state_dict=True))
    whole = AutoModelForCausalLM.from_config(lm.config, dtype=lm.dtype)
    whole.load_state_dict({name: weight.cpu() for name, weight in weights.items()})
    whole.generation_config = lm.generation_config
    return whole.eval()


def _put(lm: Any, weights: dict[str, Tensor]) -> list[str]:
    """Load the weights into the model; returns those that it does not know."""
    if is_sharded(lm):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        options = StateDictOptions(full_state_dict=True, strict=False)
        return list(set_model_state_dict(lm, dict[str, Any](weights), options=options).unexpected_keys)
    return list(lm.load_state_dict(weights, strict=False).unexpected_keys)


def _adapter_names(lm: Any) -> Iterator[tuple[str, str]]:
    """Each adapter weight's name in the model, and in a file that peft reads."""
    for name, weight in lm.named_parameters():
        if weight.requires_grad:
            yield name, "base_model.model." + name.replace(".default.", ".")
