"""Tokens a second against what the machine's matrix products would give, and where the rest of the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from harness import Claim, interleaved, medians
from training_cases.cache import top_layers
from training_cases.setup import Case, Ours

# A single product is over too soon for a clock.
_SECONDS_A_ROUND = 0.1


def share_of_products(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """Goal 0.6 of the tokens a second that a step would make if all of its operations ran at the best rate measured.

    In bfloat16 as well, where this machine's products are quicker in it.
    """
    claims, details = [], {}
    rates = {dtype: product_rates(case, dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = {dtype: max(of_dtype.values()) for dtype, of_dtype in rates.items()}
    for dtype, of_dtype in rates.items():
        print(f"  products in {_name(dtype)}, GFLOP/s: {_numbers(of_dtype)}")
    for dtype in rates:
        if best[dtype] >= best[torch.float32]:
            claim, details[_name(dtype)] = _share(case, dtype, best[dtype])
            claims.append(claim)
    return claims, details | {"gflops": {_name(dtype): of_dtype for dtype, of_dtype in rates.items()}}


def _share(case: Case, dtype: torch.dtype, gflops: float) -> tuple[Claim, dict[str, Any]]:
    ours = top_layers(case, kept=True, autocast=dtype == torch.bfloat16)
    operations, tokens = training_operations(ours), ours.batches.tokens
    seconds = interleaved({"ours": lambda: ours().seconds}, case.rounds)
    claim = Claim.more_is_better(
        f"share of what matrix products in {_name(dtype)} give",
        0.6,
        tokens / medians(seconds)["ours"],
        tokens / (operations / gflops / 1e9),
        "tokens/s",
    )
    shares = time_by_part(ours)
    print(f"  {operations / tokens / 1e6:.3g} MFLOP a token; where the time goes in {_name(dtype)}: {_numbers(shares)}")
    return claim, {"operations": operations, "tokens": tokens, "seconds": seconds, "shares": shares}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _numbers(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def product_rates(case: Case, dtype: torch.dtype) -> dict[str, float]:
    """GFLOP/s of the model's own products over one batch of 2,048 tokens, 1,024 of them predicting."""
    config = case.backbone(None).lm.config
    tokens, predicting = (256, 128) if case.quick else (2048, 1024)
    width, inner, vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
    shapes = {
        "attention": (tokens, width, width),
        "mlp up": (tokens, width, inner),
        "mlp down": (tokens, inner, width),
        "vocabulary": (predicting, width, vocabulary),
        "vocabulary, back": (predicting, vocabulary, width),
    }
    runs = {name: partial(_seconds_a_product, *shape, dtype) for name, shape in shapes.items()}
    taken = medians(interleaved(runs, case.rounds))
    return {name: 2 * m * k * n / taken[name] / 1e9 for name, (m, k, n) in shapes.items()}


def _seconds_a_product(m: int, k: int, n: int, dtype: torch.dtype) -> float:
    """(m, k) by (k, n), as a linear layer lays them out."""
    states, weight = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
    count, begin = 0, time.perf_counter()
    while (taken := time.perf_counter() - begin) < _SECONDS_A_ROUND or not count:
        F.linear(states, weight)
        count += 1
    return taken / count


def training_operations(ours: Ours) -> int:
    """Floating point operations in the matrix products of a run, forward and backward, attention's included."""
    aten = torch.ops.aten
    attention = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        ours()
    return counter.get_total_flops()


def _attention_forward(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Two products, of which a causal mask leaves half; torch has no formula for its CPU kernel."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * width


def _attention_backward(gradient: Sequence[int], *shapes: Any, **__: Any) -> int:
    """Four products; the scores that the kernel computes anew are no work that the model asks for."""
    return 2 * _attention_forward(*shapes[:3])


def time_by_part(ours: Ours) -> dict[str, float]:
    """Share of a run's time in each part of it, by torch's profiler, which itself costs a little."""
    vocabulary = int(ours.alignment.towers.head_weight.shape[0])
    profiler = _Profiler()
    watched = replace(ours, collator=_Watched(ours.collator))
    taken = watched(profiler).seconds * 1e6
    parts: dict[str, float] = defaultdict(float)
    for event in profiler.profile.key_averages(group_by_input_shape=True):
        parts[_part(event.key, event.input_shapes, vocabulary)] += event.self_cpu_time_total / taken
    parts["between operations"] += max(0.0, 1 - sum(parts.values()))
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


class _Profiler(TrainerCallback):
    """Watches from a run's first batch to its last update."""

    def __init__(self) -> None:
        self.profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.profile.start()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.profile.stop()


class _Watched:
    """A collator that the profiler sees."""

    def __init__(self, collator: Callable[[Any], Any]) -> None:
        self._collator = collator

    def __call__(self, windows: Any) -> Any:
        with record_function("collation"):
            return self._collator(windows)


def _part(name: str, shapes: Any, vocabulary: int) -> str:
    product = name in ("aten::mm", "aten::addmm", "aten::bmm")
    if name == "collation":
        return name
    if "adam" in name.lower() or "_foreach" in name or name.startswith("Optimizer"):
        return "optimizer"
    if any(vocabulary in shape for shape in shapes if isinstance(shape, (list, tuple))):
        return "vocabulary, products" if product else "vocabulary, softmax"
    if product:
        return "layers, products"
    if "scaled_dot_product" in name:
        return "attention"
    return "elementwise and copies" if name.startswith("aten::") else "between operations"
