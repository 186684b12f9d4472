"""How much of the backbone is trained: everything, its top layers, or low-rank adapters."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch

from calrec.errors import ConfigError
from calrec.model.layers import train_top_layers
from calrec.training.config import LoraSettings, ModelSettings
from calrec.training.quantize import original_layer, quantize_layers, restore_layers


def require_adapters(settings: ModelSettings) -> None:
    """Refuse adapters that cannot be trained here.

    Raises:
        ConfigError: peft or bitsandbytes is missing, or the process was launched for FSDP.
    """
    if settings.lora is not None and find_spec("peft") is None:
        raise ConfigError("model.lora needs peft: pip install 'calrec[peft]'")
    if settings.lora is not None and settings.lora.quantize and find_spec("bitsandbytes") is None:
        raise ConfigError("model.lora.quantize needs bitsandbytes: pip install 'calrec[qlora]'")
    if settings.lora is not None and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise ConfigError("model.lora is not trained under FSDP: launch it with torchrun, since adapters are small")


def adapt(lm: Any, settings: ModelSettings, seed: int = 0, accelerator: bool = False) -> None:
    """Leave gradients, in place, to what the settings train.

    Args:
        lm: the backbone's.
        settings: what of it is trained.
        seed: of the adapters' random numbers.
        accelerator: whether training will run on one, which decides what four-bit layers compute in.

    Raises:
        ConfigError: a package is not installed, or there are not so many layers.
    """
    require_adapters(settings)
    lm.requires_grad_(True)
    if settings.lora is not None:
        if settings.lora.quantize:
            autocast = settings.autocast(accelerator)
            quantize_layers(lm, torch.bfloat16 if autocast else getattr(torch, settings.dtype))
        _add_adapters(lm, settings.lora, seed)
    else:
        train_top_layers(lm, settings.train_layers)
    if settings.gradient_checkpointing:
        lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def has_adapters(lm: Any) -> bool:
    return bool(getattr(lm, "peft_config", None))


@torch.no_grad()
def merge_adapters(lm: Any) -> None:
    """Fold low-rank adapters, where there are any, into the weights they adapt, in place: W + scale · B · A.

    Under QLoRA these are the weights that the four-bit ones were made from, so nothing of the quantisation stays.
    """
    if not has_adapters(lm):
        return
    for name, module in list(lm.named_modules()):
        if hasattr(module, "get_delta_weight"):
            layer = original_layer(module.get_base_layer())
            weight: Any = layer.weight
            for adapter in module.active_adapters:
                weight.add_(module.get_delta_weight(adapter).to(weight.device))
            lm.set_submodule(name, layer)
    restore_layers(lm)
    del lm.peft_config


def _add_adapters(lm: Any, settings: LoraSettings, seed: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    modules = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        task_type="CAUSAL_LM",
    )
    lm.is_loaded_in_4bit = bool(settings.quantize)  # peft looks here before it looks at the layers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # In place, so that the model keeps its class and the towers find its layers where they always are.
        inject_adapter_in_model(config, lm)
    del lm.is_loaded_in_4bit
    for weight in lm.parameters():
        if weight.requires_grad and weight.dtype in (torch.bfloat16, torch.float16):
            weight.data = weight.data.float()  # steps are too small for a narrow dtype
