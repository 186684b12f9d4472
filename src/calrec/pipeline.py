"""CALRec as a recommender: a history becomes a prompt, samples of the model become items."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from calrec.data.store import Domain, read_catalogue
from calrec.errors import DataError
from calrec.generation import ItemTrie, Prompt, SamplingSettings, sample
from calrec.model.backbones import BackboneSettings, load_backbone
from calrec.protocol import exclude_last, rankings
from calrec.records import Catalogue, Generation, History, Recommendation, Trace
from calrec.retrieval import Bm25Index, Bm25Settings, min_max, quasi_round_robin
from calrec.settings import Settings
from calrec.text.encode import SequenceEncoder
from calrec.text.item_text import ItemText, one_line
from calrec.training.run_folder import ITEMS, RunCard, load_card


class InferenceSettings(Settings):
    """How recommendations are made from a trained run.

    Attributes:
        sampling: 32 samples at temperature 0.5 are the paper's [B].
        bm25: of the grounding.
        epsilon: of the quasi-round-robin; 1/5000 is the paper's [B].
        dtype: of the weights.
    """

    sampling: SamplingSettings = SamplingSettings()
    bm25: Bm25Settings = Bm25Settings()
    epsilon: float = Field(default=1 / 5000, ge=0)
    dtype: str = Field(default="float32", pattern="^(float32|bfloat16|float16)$")


class CALRec:
    """A trained run over a catalogue; a ``calrec.protocol.Recommender``.

    Args:
        lm: the model, on the device it is to run on.
        tokenizer: its tokenizer.
        card: how the run writes its prompts.
        catalogue: the items that can be recommended; their texts are replaced by the template's.
        settings: of inference.
        fingerprint: SHA-256 of the weights, to stand in results.
    """

    name = "calrec"

    def __init__(
        self,
        lm: Any,
        tokenizer: Any,
        card: RunCard,
        catalogue: Catalogue,
        settings: InferenceSettings | None = None,
        fingerprint: str = "",
    ) -> None:
        self.lm = lm
        self.tokenizer = tokenizer
        self.card = card
        self.settings = settings or InferenceSettings()
        self.fingerprint = fingerprint
        item_text = ItemText(card.plan.text)
        self.catalogue = Catalogue(catalogue.items, tuple(map(item_text, catalogue.items)))
        self.encoder = SequenceEncoder(tokenizer, card.plan.text, self.catalogue, card.plan.lengths)

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        catalogue: Catalogue | None = None,
        settings: InferenceSettings | None = None,
        device: str | None = None,
    ) -> CALRec:
        """Load a run.

        Args:
            run: the folder that `calrec train` wrote.
            catalogue: other items than those the run was trained on, such as another domain's.
            settings: of inference.
            device: where the model runs; an accelerator where there is one.

        Raises:
            ModelError: the folder is no run, or its weights cannot be loaded.
        """
        folder = Path(run)
        card = load_card(folder)
        settings = settings or InferenceSettings()
        backbone = load_backbone(BackboneSettings(backbone=str(folder), dtype=settings.dtype))  # type: ignore[arg-type]
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        catalogue = catalogue or read_catalogue(folder / ITEMS)
        lm: Any = backbone.lm
        return cls(lm.to(device), backbone.tokenizer, card, catalogue, settings, backbone.fingerprint)

    @classmethod
    def for_domain(cls, run: str | Path, domain: Domain, settings: InferenceSettings | None = None) -> CALRec:
        """Load a run to recommend a domain's items, whether or not it was trained on them."""
        return cls.from_pretrained(run, domain.catalogue, settings)

    @cached_property
    def index(self) -> Bm25Index:
        return Bm25Index(self.catalogue.texts, self.settings.bm25)

    @cached_property
    def _trie(self) -> ItemTrie:
        """The catalogue's token sequences: where drafts come from."""
        return ItemTrie([item.tolist() for item in self.encoder.items])

    @property
    def described(self) -> dict[str, Any]:
        """All that decides this recommender's scores, to stand in results."""
        training = self.card.model_dump(mode="json", include={"stage", "tokens", "backbone", "plan"})
        inference = self.settings.model_dump(mode="json", exclude={"sampling": {"mode", "batch_users"}})
        return {"weights": self.fingerprint, "training": training, "inference": inference}

    def prompt(self, history: History) -> Prompt:
        """A user's prompt; the user's id, or without one the history itself, seeds the samples.

        Raises:
            DataError: the history is empty, or holds an item that the catalogue does not have.
        """
        if not history.item_ids:
            raise DataError(f"user {history.user_id!r}: the history is empty; name at least one item")
        unknown = [item_id for item_id in history.item_ids if item_id not in self.catalogue.positions]
        if unknown:
            raise DataError(f"user {history.user_id!r}: item {unknown[0]!r} is not in the catalogue")
        encoded = self.encoder.prompt(self.catalogue.columns(history.item_ids))
        return Prompt(history.user_id or "\x1f".join(history.item_ids), tuple(encoded.token_ids.tolist()))

    def generate(
        self, histories: Sequence[History], progress: Callable[[int], None] | None = None
    ) -> list[list[Generation]]:
        """What the model writes for each history: its distinct texts, the most probable first."""
        prompts = [self.prompt(history) for history in histories]
        trie = self._trie if self.settings.sampling.mode == "draft" else None
        draws = sample(self.lm, prompts, self.encoder.end_id, self.settings.sampling, trie, progress)
        return [self._distinct_texts(of_user) for of_user in draws]

    def _distinct_texts(self, draws: Iterable[Any]) -> list[Generation]:
        found: dict[str, Generation] = {}
        for draw in draws:
            tokens = draw.token_ids[:-1] if draw.token_ids[-1] == self.encoder.end_id else draw.token_ids
            text = one_line(self.tokenizer.decode(tokens, skip_special_tokens=True))
            best = found.get(text)
            # Two token sequences may spell one text; the likelier, which comes first, stands for both.
            if best is None:
                found[text] = Generation(text, draw.token_ids, draw.log_prob, draw.count)
            else:
                found[text] = Generation(text, best.token_ids, best.log_prob, best.count + draw.count)
        return list(found.values())

    def ground(self, generations: Sequence[Generation]) -> NDArray[np.float64]:
        """Quasi-round-robin BM25: scores (I,) of the catalogue; ``-inf`` where no generation has a word of the item."""
        return self._joined(self._matches(generations), generations)

    def _matches(self, generations: Sequence[Generation]) -> NDArray[np.float32]:
        """BM25 of every item for every generation: (P, I)."""
        return self.index.scores([generation.text for generation in generations])

    def _joined(self, matches: NDArray[np.float32], generations: Sequence[Generation]) -> NDArray[np.float64]:
        joined = quasi_round_robin(matches, [g.log_prob for g in generations], self.settings.epsilon)
        return np.where(joined > 0, joined, -np.inf)

    def score(self, histories: Sequence[History]) -> NDArray[np.float64]:
        """Scores of all items: (H, I)."""
        return np.stack([self.ground(generations) for generations in self.generate(histories)])

    def recommend(
        self, histories: Sequence[History] | Sequence[Sequence[str]], k: int = 10
    ) -> list[list[Recommendation]]:
        """The k best items of each history, each with the text that brought it.

        Args:
            histories: records, or lists of item ids or texts, oldest first.
            k: places.

        Raises:
            DataError: an empty history, or an item that the catalogue does not have.
        """
        resolved = [h if isinstance(h, History) else self.history(h) for h in histories]
        generations = self.generate(resolved)
        matches = [self._matches(of_user) for of_user in generations]
        scores = np.stack([self._joined(*of_user) for of_user in zip(matches, generations, strict=True)])
        if self.card.exclude_last:
            exclude_last(scores, self.catalogue, resolved)
        return [
            self._traced(ranking, of_user, min_max(scores_of_user))
            for ranking, of_user, scores_of_user in zip(
                rankings(scores, self.catalogue, k), generations, matches, strict=True
            )
        ]

    def history(self, entries: Sequence[str], user_id: str = "") -> History:
        """A history from item ids, titles or item texts.

        Raises:
            DataError: no entries, or one that is neither; the nearest title is named.
        """
        if isinstance(entries, str) or not entries:
            raise DataError("the history is empty; name at least one item, by id or by title")
        return History(user_id, tuple(map(self._resolve, entries)))

    def _resolve(self, entry: str) -> str:
        if entry in self.catalogue.positions:
            return entry
        wanted = one_line(entry).casefold()
        if not wanted:
            raise DataError(f"history: {entry!r} is empty; name an item by id or by title")
        if wanted in self._by_text:
            return self._by_text[wanted]
        near = difflib.get_close_matches(wanted, self._by_text, n=1, cutoff=0.5)
        hint = f"did you mean {self._named(near[0])}?" if near else f"{ITEMS} in the run's folder lists them"
        raise DataError(
            f"history: {entry!r} is no id, title or text of the catalogue's {len(self.catalogue)} items; {hint}"
        )

    def _named(self, text: str) -> str:
        item = self.catalogue.items[self.catalogue.positions[self._by_text[text]]]
        return f"{item.title!r} ({item.item_id})"

    @cached_property
    def _by_text(self) -> dict[str, str]:
        """Case-folded titles and texts -> item id; the first id where several share one."""
        named: dict[str, str] = {}
        for item, text in zip(self.catalogue.items, self.catalogue.texts, strict=True):
            named.setdefault(one_line(item.title).casefold(), item.item_id)
            named.setdefault(text.casefold(), item.item_id)
        return named

    def _traced(
        self, ranking: Sequence[Recommendation], generations: Sequence[Generation], matches: NDArray[np.float64]
    ) -> list[Recommendation]:
        """A ranking with the generation that gave each item its score; ``matches`` (P, I) in [0, 1]."""
        weights = np.exp(self.settings.epsilon * np.asarray([g.log_prob for g in generations]))
        traced = []
        for place in ranking:
            column = self.catalogue.positions[place.item_id]
            best = int(np.argmax(weights * matches[:, column]))
            text = generations[best].text
            words = self.index.matched_words(text, column)
            traced.append(
                replace(place, trace=Trace(text, generations[best].log_prob, float(matches[best, column]), words))
            )
        return traced
