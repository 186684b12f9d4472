"""A tree computed in packed passes equals its paths computed one by one."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from calrec.errors import ModelError
from calrec.generation import Prompt, sample
from calrec.generation import forest as forest_module
from calrec.generation.attention import forest_attention
from calrec.generation.forest import Forest

prompts_drawn = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=7), min_size=1, max_size=4)


def grown(forest, prompts, data):
    """Grow some random nodes in a few passes; give each path with the logits after it."""
    known = {(user, int(forest.tips[user])): prompt.token_ids for user, prompt in enumerate(prompts)}
    results = []
    for _ in range(data.draw(st.integers(1, 3))):
        users, parents, tokens, paths = [], [], [], []
        for place in range(data.draw(st.integers(1, 6))):
            token = data.draw(st.integers(0, 12))
            if place and data.draw(st.booleans()):  # a child of a node of this very pass
                parent = data.draw(st.integers(0, place - 1))
                users.append(users[parent])
                parents.append(-1 - parent)
                paths.append((*paths[parent], token))
            else:
                user, column = data.draw(st.sampled_from(sorted(known)))
                users.append(user)
                parents.append(column)
                paths.append((*known[user, column], token))
            tokens.append(token)
        columns, logits = forest.grow(users, parents, tokens)
        known.update(zip(zip(users, columns.tolist(), strict=True), paths, strict=True))
        results.extend(zip(paths, logits, strict=True))
    return results


@pytest.fixture(params=[set(), {"cpu"}, None], ids=["one by one", "together", "in parts"], scope="module", autouse=True)
def way(request):
    """One user after the other, as a CPU has it, all in one call, or in as many calls as there are lengths."""
    changed = {"_TOGETHER": {"cpu"}, "_WORTH_A_CALL": 0} if request.param is None else {"_TOGETHER": request.param}
    with mock.patch.multiple(forest_module, **changed):
        yield


@settings(max_examples=40, deadline=None)
@given(drawn=prompts_drawn, data=st.data())
def test_every_node_equals_its_path_alone(lm, drawn, data):
    prompts = [Prompt(str(number), tuple(tokens)) for number, tokens in enumerate(drawn)]
    with forest_attention(lm), torch.inference_mode():
        forest = Forest(lm, prompts)
        results = [(prompt.token_ids, logits) for prompt, logits in zip(prompts, forest.output, strict=True)]
        results += grown(forest, prompts, data)
    for path, logits in results:
        torch.testing.assert_close(logits, lm(torch.tensor([path])).logits[0, -1])


def test_trees_that_are_kept_grow_on(lm):
    prompts = [Prompt(str(number), (number, 3, 1)) for number in range(4)]
    with forest_attention(lm), torch.inference_mode():
        forest = Forest(lm, prompts)
        columns, _ = forest.grow([1, 3, 1], [2, 2, 2], [7, 8, 9])
        forest.keep([3, 1])
        _, logits = forest.grow([1, 0], [int(columns[2]), int(columns[1])], [4, 5])
    for path, row in zip([(1, 3, 1, 9, 4), (3, 3, 1, 8, 5)], logits, strict=True):
        torch.testing.assert_close(row, lm(torch.tensor([path])).logits[0, -1])


def test_what_is_cut_leaves_its_columns_to_others(lm):
    prompts = [Prompt(str(number), (number, 3, 1)) for number in range(2)]
    with forest_attention(lm), torch.inference_mode():
        forest = Forest(lm, prompts)
        columns, _ = forest.grow([0, 0, 1, 1], [2, -1, 2, -3], [7, 8, 9, 10])
        forest.cut(np.array([4, 3]))
        assert forest.filled.tolist() == [4, 3]
        again, logits = forest.grow([0, 1], [int(columns[0]), 2], [4, 5])
    assert again.tolist() == [4, 3]
    for path, row in zip([(0, 3, 1, 7, 4), (1, 3, 1, 5)], logits, strict=True):
        torch.testing.assert_close(row, lm(torch.tensor([path])).logits[0, -1])


def test_a_sliding_window_slides_along_the_path():
    config = MistralConfig(
        vocab_size=13,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=4,
    )
    lm = MistralForCausalLM(config).double().eval().requires_grad_(False)
    with forest_attention(lm):
        forest = Forest(lm, [Prompt("a", (1, 2, 3, 4, 5, 6)), Prompt("b", (7, 8, 9))])
        _, logits = forest.grow([0, 0, 0, 1], [5, 5, -2, 2], [7, 8, 9, 10])
    for row, path in (
        (forest.output[0], [1, 2, 3, 4, 5, 6]),
        (logits[2], [1, 2, 3, 4, 5, 6, 8, 9]),
        (logits[3], [7, 8, 9, 10]),
    ):
        torch.testing.assert_close(row, lm(torch.tensor([path])).logits[0, -1])


def test_values_may_be_narrower_than_queries():
    config = DeepseekV3Config(
        vocab_size=13,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        first_k_dense_replace=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=8,
        v_head_dim=6,
    )
    lm = DeepseekV3ForCausalLM(config).double().eval().requires_grad_(False)
    with forest_attention(lm):
        forest = Forest(lm, [Prompt("a", (1, 2, 3)), Prompt("b", (7, 8))])
        _, logits = forest.grow([0, 1, 0], [2, 1, 2], [4, 5, 6])
    for row, path in zip(logits, ([1, 2, 3, 4], [7, 8, 5], [1, 2, 3, 6]), strict=True):
        torch.testing.assert_close(row, lm(torch.tensor([path])).logits[0, -1])


def test_a_model_that_carries_states_is_refused(lm):
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = Lfm2Config(vocab_size=13, num_hidden_layers=2, layer_types=["conv", "full_attention"], **shape)
    hybrid = Lfm2ForCausalLM(config).eval()
    with pytest.raises(ModelError, match=r"Lfm2ForCausalLM carries states from token to token \(conv layers\)"):
        sample(hybrid, [Prompt("a", (1, 2))], 5)
    chunked = mock.patch.object(lm.config, "layer_types", ["chunked_attention"], create=True)
    with chunked, pytest.raises(ModelError, match=r"has chunked_attention, .* mode=rows"), forest_attention(lm):
        pytest.fail("never reached")


def test_the_models_own_attention_comes_back(lm):
    before = lm.config._attn_implementation
    with pytest.raises(IndexError), forest_attention(lm):
        Forest(lm, [Prompt("a", (10_000,))])
    assert lm.config._attn_implementation == before


def test_a_model_with_an_attention_of_its_own(lm, monkeypatch):
    monkeypatch.setattr(type(lm), "set_attn_implementation", lambda self, name: None)
    with pytest.raises(ModelError, match="mode=rows"), forest_attention(lm):
        pytest.fail("never reached")


def test_parents_come_first(lm):
    with forest_attention(lm):
        forest = Forest(lm, [Prompt("a", (1,))])
        with pytest.raises(ValueError, match="before it"):
            forest.grow([0, 0], [-2, 0], [3, 4])
