"""The estimate of a pass against the tensors that live while it runs."""

import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from calrec.errors import ConfigError
from calrec.generation import ItemTrie, Prompt, SamplingSettings, beam_search, draws, sample, score_items
from calrec.generation.memory import Footprint, user_batches

END = 5


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, for as long as they live."""

    now = peak = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        known = {tensor.untyped_storage().data_ptr() for tensor in args if isinstance(tensor, torch.Tensor)}
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in known:
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage):
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size):
        self.now -= size


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16])
def large(request):
    """A model whose logits are the large part, as they are in real ones."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).to(request.param).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    drawn = [(*rng.integers(10, 14, rng.integers(2, 12)).tolist(), END) for _ in range(200)]
    users = [Prompt(str(number), tuple(rng.integers(0, 4096, 10 + 6 * number).tolist())) for number in range(12)]
    return users, ItemTrie(drawn)


@pytest.mark.parametrize(("parts", "together"), [(1, 16), (2, 16), (4, 16), (1, 64)])
@pytest.mark.parametrize("how", ["beam", "items", "rows", "tree", "draft", "bound"])
def test_a_limit_is_kept_and_used(large, case, parts, how, together, monkeypatch):
    monkeypatch.setattr(draws, "_ROWS_ON_A_CPU", together)
    users, trie = case
    memory_gb = parts * (0.012 if how in ("draft", "bound") else 0.002)  # a pass of guesses takes more

    def run(memory_gb):
        if how == "beam":
            return beam_search(large, users, trie, 8, batch_users=12, memory_gb=memory_gb)
        if how != "items":
            mode = "tree" if how == "bound" else how
            drawn = {"n": 32, "temperature": 1, "max_new_tokens": 6, "mode": mode, "bound": how == "bound"}
            settings = SamplingSettings(batch_users=12, memory_gb=memory_gb, **drawn)
            return sample(large, users, END, settings, trie)
        return score_items(large, users, trie, [range(0, 200, 2)] * 12, batch_users=12, memory_gb=memory_gb)

    with Alive() as alive:
        run(memory_gb)
    assert 0.1 < alive.peak / (memory_gb * 1e9) < 1


@pytest.mark.parametrize("mode", ["rows", "tree"])
def test_logits_that_are_done_with_are_not_held(mode):
    """Where a distribution is the large part and every sample goes its own way."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    wide = LlamaForCausalLM(LlamaConfig(vocab_size=20_000, num_hidden_layers=1, **shape)).eval().requires_grad_(False)
    users = [Prompt(str(number), (number, 1, 2)) for number in range(8)]
    settings = SamplingSettings(n=32, temperature=1, max_new_tokens=3, batch_users=8, memory_gb=0.035, mode=mode)
    with Alive() as alive:
        sample(wide, users, END, settings)
    assert 0.1 < alive.peak / 0.035e9 < 1


def test_users_who_are_done_first_do_not_hold_memory_twice():
    """Where keys and values are the large part, as they are of deep models and long prompts."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4}
    deep = LlamaForCausalLM(LlamaConfig(vocab_size=16, num_hidden_layers=16, **shape)).eval().requires_grad_(False)
    users = [Prompt(str(number), tuple((7 * number + np.arange(200)) % 16)) for number in range(16)]
    settings = SamplingSettings(n=1, temperature=1, max_new_tokens=12, batch_users=16, memory_gb=0.05)
    with Alive() as alive:
        drawn = sample(deep, users, END, settings)
    assert len({len(of_user[0].token_ids) for of_user in drawn}) > 3
    assert 0.1 < alive.peak / 0.05e9 < 1


def test_batches_hold_users_of_similar_length(large):
    prompts = [Prompt(str(length), (1,) * length) for length in (5, 90, 30, 91, 6)]
    assert user_batches(large, prompts, most=2, memory_gb=1, columns=9, nodes=9) == [[3, 1], [2, 4], [0]]
    one = Footprint.of(large).peak(91, 9, 9)
    assert user_batches(large, prompts, most=2, memory_gb=(one + 0.5) / 1e9, columns=9, nodes=9)[0] == [3]
    with pytest.raises(ConfigError, match="for user '91', whose prompt has 91 tokens: set at least"):
        user_batches(large, prompts, most=2, memory_gb=(one - 1) / 1e9, columns=9, nodes=9)
    assert user_batches(large, [], most=2, memory_gb=1, columns=9, nodes=9) == []
