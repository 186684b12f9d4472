"""A decoder cut in two: a frozen trunk of lower layers, and the top layers that are trained."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from calrec.errors import ConfigError, ModelError

#: Settings of a config by which some families change the logits after the head; the losses here know a plain head only.
_LOGIT_CHANGES = ("final_logit_softcapping", "logits_scaling", "logit_scale")


#: Families in which transformers keeps the texts of a row apart by their positions: each was tried against texts alone.
#: Others carry states along, or make their masks without a look at positions.
KEEP_APART = {
    *("gemma", "gemma3_text", "granite", "llama", "mistral", "olmo", "olmo2", "olmo3", "phi3", "qwen2", "qwen3"),
    *("smollm3", "stablelm", "starcoder2"),
}


def keeps_texts_apart(lm: Any) -> bool:
    """Whether several texts may share a row, where positions begin with 0 at each, and none looks at another."""
    masked = lm.config._attn_implementation in ("sdpa", "eager")
    return masked and lm.config.get_text_config().model_type in KEEP_APART


def decoder_of(lm: nn.Module) -> Any:
    """The stack of layers inside a causal LM: everything but the head.

    Raises:
        ModelError: an architecture without a plain stack of layers, a final norm and a linear head.
    """
    decoder = getattr(lm, getattr(lm, "base_model_prefix", "model"), None)
    if not (hasattr(decoder, "layers") and hasattr(decoder, "norm") and hasattr(lm, "lm_head")):
        raise ModelError(f"{type(lm).__name__} has no plain stack of decoder layers; use a Llama, Qwen or Gemma model")
    for name in _LOGIT_CHANGES:
        if getattr(lm.config, name, None) not in (None, 1, 1.0):
            raise ModelError(f"{type(lm).__name__} changes its logits ({name}), which the losses here do not know")
    return decoder


def train_top_layers(lm: Any, train_layers: int | None) -> None:
    """Leave gradients to the top ``train_layers`` layers and the final norm alone; None trains everything.

    The embeddings stay as they are, and with them a head that shares their weights; a head of its own is trained.

    Raises:
        ConfigError: more layers than the model has, or none.
    """
    decoder = decoder_of(lm)
    if train_layers is None:
        return
    if not 1 <= train_layers <= len(decoder.layers):
        raise ConfigError(f"model.train_layers is {train_layers}, and the backbone has {len(decoder.layers)} layers")
    lm.requires_grad_(False)
    top = decoder.layers[len(decoder.layers) - train_layers :]
    for module in (*top, decoder.norm):
        module.requires_grad_(True)
    if lm.lm_head.weight is not decoder.embed_tokens.weight:
        lm.lm_head.requires_grad_(True)


def split_decoder(decoder: Any, top_layers: int) -> tuple[Any, Any]:
    """Two views of one decoder that share its modules: the trunk below, and the top ``top_layers`` with the norm.

    ``top(inputs_embeds=trunk(input_ids).last_hidden_state)`` is what the whole decoder gives; without a cache of keys,
    since both count their layers from zero.
    """
    cut = len(decoder.layers) - top_layers
    trunk = _view(decoder, slice(0, cut))
    trunk.norm = nn.Identity()
    return trunk, _view(decoder, slice(cut, None))


def _view(decoder: Any, layers: slice) -> Any:
    view = copy.copy(decoder)
    # A shallow copy of a module shares the dictionary of its children; this view needs one of its own.
    view._modules = dict(decoder._modules)
    view.layers = nn.ModuleList(decoder.layers[layers])
    view.config = copy.deepcopy(decoder.config)
    view.config.num_hidden_layers = len(view.layers)
    if getattr(decoder.config, "layer_types", None):
        view.config.layer_types = decoder.config.layer_types[layers]
    return view
