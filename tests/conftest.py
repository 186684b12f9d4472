"""Small stand-ins for what is large outside: a random language model over bytes, and a domain of a dozen users."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Before anything can import a library that reads them: no test reaches the network, and none competes for the cores.
os.environ["CALREC_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

# How long an example takes says more about the machine than about the code.
settings.register_profile("calrec", deadline=None)
settings.load_profile("calrec")


@pytest.fixture
def backbone():
    """A `calrec.model.backbones.Backbone`: two layers, width 16, 259 tokens; a fresh one for every test."""
    from calrec.model.backbones import BackboneSettings, RandomSettings, load_backbone

    shape = RandomSettings(hidden_size=16, layers=2, heads=2)
    return load_backbone(BackboneSettings(backbone="bytes", init="random", random=shape))


@pytest.fixture
def tiny_lm(backbone):
    """The backbone's LlamaForCausalLM, in evaluation mode."""
    return backbone.lm


@pytest.fixture(params=["llama", "qwen3", "gemma3"])
def family_lm(request, byte_tokens):
    """A random causal LM of each family, four layers of width 64 over bytes, float64, with what is peculiar to it:
    Qwen3's norms of queries and keys; Gemma3's sliding windows and scaled embeddings."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "vocab_size": len(byte_tokens)}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    layers = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]
    peculiar = {
        "llama": ("llama", {"tie_word_embeddings": False}),
        "qwen3": ("qwen3", {"tie_word_embeddings": True}),
        "gemma3": ("gemma3_text", {"layer_types": layers, "sliding_window": 6}),
    }
    kind, settings = peculiar[request.param]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape, **heads, **settings)).double().eval()


@pytest.fixture(scope="session")
def byte_tokens():
    """The tokenizer of single bytes, a PreTrainedTokenizerFast."""
    from calrec.model.byte_tokenizer import byte_tokenizer

    return byte_tokenizer()


@pytest.fixture
def tiny_domain(tmp_path):
    """A `calrec.data.store.Domain`, saved in ``tmp_path / "tiny"``: twelve users who walk a ring of nine items."""
    import polars as pl

    from calrec.data.filters import FilterSettings
    from calrec.data.prepare import build_domain
    from calrec.data.sources import Source
    from calrec.data.store import save

    names = ("apple", "bread", "cheese", "dates", "eggs", "figs", "grapes", "honey", "ice")
    items = pl.DataFrame(
        {
            "item_id": [f"i{place}" for place in range(len(names))],
            "title": [f"{name} {place}" for place, name in enumerate(names)],
            "brand": ["farm" if place % 2 else "" for place in range(len(names))],
        }
    )
    walks = [
        (f"u{user:02}", f"i{(user + (1 + user % 2) * step) % len(names)}", float(step))
        for user in range(12)
        for step in range(4 + user % 3)
    ]
    interactions = pl.DataFrame(walks, schema=["user_id", "item_id", "timestamp"], orient="row")
    source = Source("tiny", "test", items, interactions, files={}, text_attributes=("title", "brand"))
    domain = build_domain(source, FilterSettings(), tmp_path / "tiny")
    save(domain)
    return domain


@pytest.fixture
def tiny_run(backbone, tiny_domain, tmp_path):
    """The folder of a run over the tiny domain, whose model has learnt nothing."""
    from calrec.training.config import TrainingPlan
    from calrec.training.run_card import DomainCard, RunCard
    from calrec.training.run_folder import ITEMS, save_model

    plan = {
        "text": {"attributes": ["title"]},
        "model": {"backbone": "bytes", "init": "random"},
        "stage_two": {"domain": "tiny"},
    }
    card = RunCard(
        version="0",
        stage="stage-two",
        plan=TrainingPlan.model_validate(plan),
        domains={"stage-two": (DomainCard(name="tiny", split_hash=tiny_domain.split_hash),)},
        exclude_last=True,
        backbone=backbone.source,
        fingerprint=backbone.fingerprint,
        best={},
        tokens={},
    )
    save_model(tmp_path / "run", backbone.lm, backbone.tokenizer, card, tiny_domain.path / ITEMS)
    return tmp_path / "run"


@pytest.fixture
def texts():
    """The texts of all domains that ``make_view`` has encoded."""
    from calrec.training.sequences import Texts

    return Texts()


@pytest.fixture
def make_view(tiny_domain, byte_tokens, texts):
    """Encodes the tiny domain for training, under given limits of length."""
    from calrec.text.encode import LengthSettings, SequenceEncoder
    from calrec.text.item_text import ItemText, TextSettings
    from calrec.training.sequences import DomainTexts

    text = TextSettings(attributes=["title"], user_prefix="U", first_item_prefix="F", next_item_prefix="N")

    def make(**lengths):
        catalogue = tiny_domain.catalogue_with_texts(ItemText(text))
        encoder = SequenceEncoder(byte_tokens, text, catalogue, LengthSettings(**lengths))
        return DomainTexts(0, encoder, dict(catalogue.positions), texts.keys(encoder))

    return make
