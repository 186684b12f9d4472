"""What every case is made of: a trained run, its domain's users, and a count of what the model computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calrec.data.store import load_domain
from calrec.generation import Draw, ItemTrie, Prompt, SamplingSettings
from calrec.model.backbones import BackboneSettings, RandomSettings, load_backbone
from calrec.records import Catalogue, History
from calrec.retrieval import Bm25Index, quasi_round_robin
from calrec.text.encode import LengthSettings, SequenceEncoder
from calrec.text.item_text import ItemText, TextSettings
from calrec.training.run_folder import load_card
from harness import ROUNDS
from training_cases.setup import synthetic_domain

SAMPLES, TEMPERATURE = 32, 0.5


@dataclass(frozen=True)
class Case:
    """What a benchmark is asked for.

    Attributes:
        quick: a tiny random model and a made-up domain, to prove that it runs.
        run: the folder of a trained run.
        data: the folder of a prepared domain.
        threads: of torch.
        users: of a round; ours are computed in one batch.
        peer_users: of them the first, whom the peer takes.
        dtype: of the weights.
        device: of the model.
        memory_gb: 10^9 bytes that ours may take beside the weights.
        ways: that race the peer; none are all.
    """

    quick: bool
    run: Path
    data: Path
    threads: int
    users: int = 8
    dtype: str = "float32"
    device: str = "cpu"
    memory_gb: float = 2.0
    ways: tuple[str, ...] = ()
    peer_users: int | None = None

    @property
    def rounds(self) -> int:
        """Of which the median is taken."""
        return 1 if self.quick else ROUNDS

    @property
    def sampling(self) -> SamplingSettings:
        """As in the paper; where it is quick, few and short samples."""
        paper = SamplingSettings(n=SAMPLES, temperature=TEMPERATURE, batch_users=self.users, memory_gb=self.memory_gb)
        return paper.model_copy(update={"n": 4, "max_new_tokens": 6}) if self.quick else paper

    @property
    def served(self) -> Served:
        """The model and all that it is asked with."""
        return _served(self)


@dataclass(frozen=True)
class Served:
    """A model over a catalogue.

    Attributes:
        lm: the model. tokenizer: its tokenizer.
        encoder: of the catalogue and of histories over it.
        catalogue: the items, with the template's texts.
        histories: of all validation users.
    """

    lm: Any
    tokenizer: Any
    encoder: SequenceEncoder
    catalogue: Catalogue
    histories: Sequence[History]

    @cached_property
    def trie(self) -> ItemTrie:
        return ItemTrie([item.tolist() for item in self.encoder.items])

    @cached_property
    def index(self) -> Bm25Index:
        return Bm25Index(self.catalogue.texts)

    def prompts(self, users: int) -> list[Prompt]:
        """Some validation users, always the same ones, as long and as short as they come."""
        chosen = np.random.default_rng(0).permutation(len(self.histories))[:users].tolist()
        return [self.prompt(self.histories[place]) for place in chosen]

    def prompt(self, history: History) -> Prompt:
        encoded = self.encoder.prompt(self.catalogue.columns(history.item_ids))
        return Prompt(history.user_id, tuple(encoded.token_ids.tolist()))

    def texts(self, samples: Sequence[Sequence[int]]) -> list[str]:
        ended = [[token for token in tokens if token != self.encoder.end_id] for tokens in samples]
        return [str(text) for text in self.tokenizer.batch_decode(ended, skip_special_tokens=True)]

    def grounded(self, draws: Sequence[Draw]) -> NDArray[np.float64]:
        """Scores of the catalogue from a user's draws, as the recommender makes them."""
        scores = self.index.scores(self.texts([draw.token_ids for draw in draws]))
        return quasi_round_robin(scores, [draw.log_prob for draw in draws])


@cache
def _served(case: Case) -> Served:
    if case.quick:
        shape = RandomSettings(hidden_size=16, layers=2, heads=2)
        backbone = load_backbone(BackboneSettings(backbone="bytes", init="random", random=shape))
        domain, text = synthetic_domain(users=30, words=2), TextSettings()
        lengths = LengthSettings(max_history=2)
    else:
        card, domain = load_card(case.run), load_domain(case.data)
        backbone = load_backbone(BackboneSettings(backbone=str(case.run), dtype=case.dtype))
        text, lengths = card.plan.text, card.plan.lengths
    catalogue = domain.catalogue_with_texts(ItemText(text))
    encoder = SequenceEncoder(backbone.tokenizer, text, catalogue, lengths)
    histories = [History(example.user_id, tuple(example.history)) for example in domain.split("valid")]
    lm: Any = backbone.lm
    return Served(lm.to(case.device), backbone.tokenizer, encoder, catalogue, histories)


@dataclass
class Work:
    """What a model was asked to compute.

    Attributes:
        passes: calls of it. tokens: positions in them, padding included.
    """

    passes: int = 0
    tokens: int = 0

    def per_user(self, users: int) -> dict[str, float]:
        return {"passes": self.passes / users, "tokens": self.tokens / users}


@contextmanager
def counted(lm: Any) -> Iterator[Work]:
    """Count the passes through the model meanwhile."""
    work = Work()

    def count(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        work.passes += 1
        work.tokens += inputs[0].numel()

    # Every pass begins there, with or without the head.
    hook = lm.get_input_embeddings().register_forward_pre_hook(count)
    try:
        yield work
    finally:
        hook.remove()
