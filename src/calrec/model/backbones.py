"""Backbones: a name, a hub id, a folder or a GGUF file becomes a causal language model and its tokenizer."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from calrec.errors import ModelError
from calrec.model import smollm2
from calrec.model.byte_tokenizer import byte_tokenizer
from calrec.model.weights import Weights, first_line, from_gguf, from_hub, in_folder, offline, without_progress_bars
from calrec.settings import Settings

BYTES = "bytes"


class RandomSettings(Settings):
    """The shape of a randomly initialised Llama."""

    hidden_size: int = Field(64, ge=1)
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _heads_divide(self) -> RandomSettings:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 2 x heads = {2 * self.heads}")
        return self


class BackboneSettings(Settings):
    """Which language model a run begins with.

    Attributes:
        backbone: ``smollm2-135m``, a hub id, a folder, a GGUF file, or ``bytes``: a tokenizer of single bytes without
            any weights, for ``init: random``.
        init: ``pretrained`` weights, or a small ``random`` Llama over the backbone's vocabulary.
        random: its shape; only read where ``init`` is ``random``.
        dtype: of the weights as they are loaded.
        revision: branch, tag or commit; for a hub id only.
    """

    backbone: str = Field(smollm2.NAME, min_length=1)
    init: Literal["pretrained", "random"] = "pretrained"
    random: RandomSettings = RandomSettings()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    revision: str | None = None

    @model_validator(mode="after")
    def _bytes_have_no_weights(self) -> BackboneSettings:
        if self.backbone == BYTES and self.init == "pretrained":
            raise ValueError("backbone 'bytes' has no pretrained weights: set init to 'random'")
        return self


@dataclass(frozen=True, slots=True)
class Backbone:
    """A language model that is ready to train, and what to call it.

    Attributes:
        lm: in evaluation mode, on the CPU.
        tokenizer: a fast one.
        fingerprint: SHA-256 of the weights, in hex.
        source: where they come from, for people.
    """

    lm: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    source: str


def load_backbone(settings: BackboneSettings, fetch: bool = True) -> Backbone:
    """Load, or make, the backbone that the settings name.

    Args:
        fetch: whether a hub id may be asked of the hub, and not of its local cache alone.

    Raises:
        ModelError: it cannot be found or loaded, or its weights are damaged or incomplete.
    """
    if settings.backbone == BYTES:
        return _random(settings, byte_tokenizer(), BYTES)
    weights = locate(settings.backbone, settings.revision, fetch)
    tokenizer = _tokenizer(weights)
    if settings.init == "random":
        return _random(settings, tokenizer, weights.source)
    return Backbone(_pretrained(weights, settings.dtype), tokenizer, weights.fingerprint, weights.source)


def backbone_or_shape(settings: BackboneSettings, empty: bool = False) -> Backbone:
    """The backbone where its weights are at hand; else its shape and tokenizer alone, and no weights are fetched.

    Args:
        empty: a shape's weights are on the meta device, and take no memory; else they are random.

    Raises:
        ModelError: not even the shape can be had.
    """
    name = settings.backbone
    if name == BYTES or not _is_hub_id(name):
        return load_backbone(settings)
    try:
        return load_backbone(settings, fetch=False)
    except ModelError:
        pass
    where: dict[str, Any] = {"revision": settings.revision, "trust_remote_code": False, "local_files_only": offline()}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
        if settings.init == "random":
            return _random(settings, tokenizer, name)
        config = AutoConfig.from_pretrained(name, **where)
        with torch.device("meta" if empty else "cpu"):
            lm = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, settings.dtype))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"backbone {name!r}: neither weights nor a configuration: {first_line(error)}") from error
    return Backbone(lm.eval(), tokenizer, "", f"the shape of {name}")


def _is_hub_id(name: str) -> bool:
    path = Path(name).expanduser()
    if name == smollm2.NAME or path.exists() or path.suffix == ".gguf":
        return False
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) is not None


def locate(name: str, revision: str | None = None, fetch: bool = True) -> Weights:
    """The weights of a pretrained backbone on the disk, fetched where they are not.

    Args:
        name, revision: as in ``BackboneSettings``. fetch: as for ``load_backbone``.

    Raises:
        ModelError: they cannot be found, or are damaged.
    """
    path = Path(name).expanduser()
    local = name == smollm2.NAME or path.exists()
    if local and revision is not None:
        raise ModelError(f"revision {revision!r}: only a hub id has revisions, and backbone {name!r} is none")
    if name == smollm2.NAME:
        return smollm2.locate()
    if path.is_dir():
        return in_folder(path)
    if path.is_file() and path.suffix == ".gguf":
        return from_gguf(path)
    if _is_hub_id(name):
        return from_hub(name, revision, fetch)
    raise ModelError(f"backbone {name!r}: no folder, GGUF file or hub id; known by name is {smollm2.NAME!r}")


def _tokenizer(weights: Weights) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{weights.folder}: no tokenizer that can be loaded; put its tokenizer.json there") from error
    if not tokenizer.is_fast:
        raise ModelError(f"{weights.folder}: has only a slow tokenizer; save a tokenizer.json with it")
    return tokenizer


def _pretrained(weights: Weights, dtype: str) -> PreTrainedModel:
    try:
        with without_progress_bars():
            lm, loaded = AutoModelForCausalLM.from_pretrained(
                weights.folder,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"{weights.folder}: cannot be loaded: {first_line(error)}") from error
    if loaded["missing_keys"]:  # transformers would fill them with random numbers and only warn
        missing = sorted(loaded["missing_keys"])
        raise ModelError(f"{weights.folder}: {len(missing)} weights are missing, such as {missing[0]}")
    return lm.eval()


def _random(settings: BackboneSettings, tokenizer: PreTrainedTokenizerBase, vocabulary: str) -> Backbone:
    shape = settings.random
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=4 * shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):  # a model made beside others leaves their random numbers alone
        torch.manual_seed(shape.seed)
        lm = LlamaForCausalLM(config).to(getattr(torch, settings.dtype)).eval()
    fingerprint = hashlib.sha256()
    for name, parameter in lm.named_parameters():
        fingerprint.update(name.encode())
        fingerprint.update(parameter.detach().float().numpy().tobytes())
    return Backbone(lm, tokenizer, fingerprint.hexdigest(), f"random, seed {shape.seed}, vocabulary of {vocabulary}")
