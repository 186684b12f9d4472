"""A tiny random model in float64, sharp enough that samples share beginnings and end."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from calrec.generation import Prompt

VOCABULARY = 13


@pytest.fixture(scope="session")
def lm():
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        initializer_range=0.6,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).double().eval().requires_grad_(False)


@pytest.fixture(scope="session")
def users():
    """Two hundred users whose prompts have one to twelve tokens."""
    rng = np.random.default_rng(3)
    return [
        Prompt(f"user {number}", tuple(rng.integers(0, VOCABULARY, rng.integers(1, 13)).tolist()))
        for number in range(200)
    ]
