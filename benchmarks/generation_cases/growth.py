"""What a user costs as samples, histories, catalogues and batches grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from calrec.generation import ItemTrie, Prompt, SamplingSettings, beam_search, sample
from calrec.retrieval import Bm25Index
from generation_cases.setup import Case, Served, counted
from harness import Claim, interleaved, medians


def growth(case: Case) -> tuple[list[Claim], dict[str, Any]]:
    """No claim with a peer: four tables, each of medians."""
    quick = case.quick
    tables = {
        "samples": _samples(case, (1, 4) if quick else (1, 2, 4, 8, 16, 32, 64, 128)),
        "items in the history": _histories(case, (1, 2) if quick else (1, 5, 10, 20, 40)),
        "users in a batch": _batches(case, (1, 2) if quick else _powers(case.users)),
        "items in the catalogue": _catalogues(case, (100, 1000) if quick else (10**3, 10**4, 10**5, 10**6)),
    }
    for name, rows in tables.items():
        print(f"  {name}:")
        for row in rows:
            print("    " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return [], tables


def _samples(case: Case, sizes: Sequence[int]) -> list[dict[str, float]]:
    prompts = case.served.prompts(case.users)
    return _table(case, {n: (prompts, case.sampling.model_copy(update={"n": n})) for n in sizes})


def _histories(case: Case, sizes: Sequence[int]) -> list[dict[str, float]]:
    """Random items of the catalogue: real histories of some lengths are too few."""
    rng, encoder = np.random.default_rng(0), case.served.encoder
    runs = {}
    for size in sizes:
        prompts = []
        for user in range(case.users):
            pieces = [encoder.items[column] for column in rng.integers(0, len(encoder.items), size)]
            opening = encoder.prompt([]).token_ids
            prompts.append(Prompt(f"{size} {user}", tuple(np.concatenate([opening, *pieces]).tolist())))
        runs[size] = (prompts, case.sampling)
    return _table(case, runs)


def _powers(most: int) -> list[int]:
    """1, 2, 4 and so on."""
    return [1 << power for power in range(most.bit_length())]


def _batches(case: Case, sizes: Sequence[int]) -> list[dict[str, float]]:
    prompts = case.served.prompts(max(sizes))
    return _table(case, {size: (prompts, case.sampling.model_copy(update={"batch_users": size})) for size in sizes})


def _table(case: Case, runs: dict[int, tuple[list[Prompt], SamplingSettings]]) -> list[dict[str, float]]:
    """From size to what is sampled: a row a size."""
    served = case.served
    calls = {
        str(size): lambda prompts=prompts, settings=settings: sample(
            served.lm, prompts, served.encoder.end_id, settings, served.trie
        )
        for size, (prompts, settings) in runs.items()
    }
    taken = medians(interleaved({name: _seconds_of(call) for name, call in calls.items()}, case.rounds))
    rows = []
    for size, (prompts, _) in runs.items():
        with counted(served.lm) as work:
            calls[str(size)]()
        tokens = float(np.mean([len(prompt.token_ids) for prompt in prompts]))
        per_user = {"seconds_per_user": taken[str(size)] / len(prompts), **work.per_user(len(prompts))}
        rows.append({"size": float(size), "prompt_tokens": tokens, **per_user})
    return rows


def _catalogues(case: Case, sizes: Sequence[int]) -> list[dict[str, float]]:
    """The real items and made-up ones; where fewer are asked for, the first of the real ones."""
    rows = []
    for size in sizes:
        sequences, texts = _made_up(case.served, size)
        trie_build, trie = _timed(lambda sequences=sequences: ItemTrie(sequences))
        index_build, index = _timed(lambda texts=texts: Bm25Index(texts))
        queries = texts[:: max(1, size // 32)][:32]
        calls = _with_catalogue(case, trie)
        calls["32 BM25 queries"] = lambda index=index, queries=queries: index.top(queries, 100)
        taken = medians(interleaved({name: _seconds_of(call) for name, call in calls.items()}, case.rounds))
        builds = {"trie built": trie_build, "BM25 built": index_build}
        rows.append({"size": float(size), **{f"{name}, s": value for name, value in (builds | taken).items()}})
    return rows


def _with_catalogue(case: Case, trie: ItemTrie) -> dict[str, Callable[[], Any]]:
    """What depends on the trie, for one user."""
    served, settings = case.served, case.sampling
    prompts, end = served.prompts(1), served.encoder.end_id
    draft = settings.model_copy(update={"mode": "draft"})
    bound = settings.model_copy(update={"mode": "tree", "bound": True})
    return {
        "draft": lambda: sample(served.lm, prompts, end, draft, trie),
        "bound": lambda: sample(served.lm, prompts, end, bound, trie),
        "beam": lambda: beam_search(served.lm, prompts, trie, width=settings.n),
    }


def _made_up(served: Served, size: int) -> tuple[list[list[int]], list[str]]:
    """Tokens and texts of so many items; a made-up one is the first half of one real item and the last of another."""
    items = [item.tolist() for item in served.encoder.items[:size]]
    texts = list(served.catalogue.texts[:size])
    rng = np.random.default_rng(0)
    for first, last in rng.integers(0, len(items), (size - len(items), 2)).tolist():
        items.append([*items[first][: len(items[first]) // 2], *items[last][len(items[last]) // 2 :]])
        words, others = texts[first].split(), texts[last].split()
        texts.append(" ".join([*words[: len(words) // 2], *others[len(others) // 2 :]]))
    return items, texts


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def _seconds_of(call: Callable[[], Any]) -> Callable[[], float]:
    return lambda: _timed(call)[0]
