"""How much of the backbone is trained: everything, its top layers, or low-rank adapters."""

from __future__ import annotations

from typing import Any

from calrec.errors import ConfigError
from calrec.model.layers import train_top_layers
from calrec.training.config import LoraSettings, ModelSettings


def adapt(lm: Any, settings: ModelSettings) -> None:
    """Leave gradients, in place, to what the settings train.

    Raises:
        ConfigError: peft is not installed, or both top layers and adapters are asked for.
    """
    lm.requires_grad_(True)
    if settings.lora is not None:
        if settings.train_layers is not None:
            raise ConfigError("model.train_layers and model.lora exclude each other: choose one")
        _add_adapters(lm, settings.lora)
    else:
        train_top_layers(lm, settings.train_layers)
    if settings.gradient_checkpointing:
        lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def merge_adapters(lm: Any) -> None:
    """Fold low-rank adapters, where there are any, into the weights they adapt, in place."""
    for name, module in list(lm.named_modules()):
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(lm.get_submodule(parent), child, module.get_base_layer())


def _add_adapters(lm: Any, settings: LoraSettings) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ConfigError("model.lora needs peft: pip install 'calrec[peft]'") from None
    modules = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        task_type="CAUSAL_LM",
    )
    # In place, so that the model keeps its class and the towers find its layers where they always are.
    inject_adapter_in_model(config, lm)
