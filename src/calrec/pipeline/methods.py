"""The ways from histories to scores of the catalogue, by name: the model's own, the baselines, and joined ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calrec.errors import ConfigError
from calrec.generation import (
    Draw,
    Prompt,
    beam_search,
    catalogue_beam,
    catalogue_log_probs,
    sample,
    score_items,
)
from calrec.model.vectors import user_vectors
from calrec.pipeline.catalogue_index import CatalogueIndex
from calrec.pipeline.filters import Mask
from calrec.pipeline.grounding import Grounding
from calrec.pipeline.settings import CorrectionSettings, InferenceSettings
from calrec.protocol import Recommender, top_k
from calrec.ranker import RankerWeights, candidate_table
from calrec.records import Generation, History, Trace
from calrec.retrieval import fuse
from calrec.text.item_text import one_line

Scores = NDArray[np.float64]


# Features that a trace names.
_SHOWN_FEATURES = 5


def no_trace(user: int, column: int) -> Trace | None:
    """Of a method that cannot say why."""
    return None


@dataclass(frozen=True)
class Scored:
    """What a method says of H histories.

    Attributes:
        scores: (H, I), higher is better, ``-inf`` where an item is not recommended.
        trace: of a history's number and a column: why the item is where it is.
    """

    scores: Scores
    trace: Callable[[int, int], Trace | None] = no_trace


@dataclass
class Request:
    """Some histories to be ranked; what several methods need is computed once.

    Args:
        lm, tokenizer: the model.
        index: the catalogue as it is now.
        settings: of all methods.
        baselines: fitted ones, by name.
        histories: H of them, each with items of the catalogue.
        progress: called with the number of histories that the model is through with.
        allowed: for each history the items that may be recommended, (I,); None allows all.
        purchases: item id -> how often it was bought in training, 0 for ids that are not there; None without a domain.
        exclude_last: whether a history's last item is never the next one.
    """

    lm: Any
    tokenizer: Any
    index: CatalogueIndex
    settings: InferenceSettings
    baselines: Mapping[str, Recommender]
    histories: Sequence[History]
    progress: Callable[[int], None] | None = None
    allowed: Sequence[Mask | None] | None = None
    purchases: Mapping[str, int] | None = None
    exclude_last: bool = False
    _scored: dict[str, Scored] = field(default_factory=dict)
    _written: list[list[Generation]] | None = None

    def parts(self, size: int) -> Iterator[Request]:
        """The same of at most ``size`` histories at a time, whose progress is not told: scores take memory for each."""
        for start in range(0, len(self.histories), size):
            here = slice(start, start + size)
            yield replace(
                self,
                histories=self.histories[here],
                allowed=None if self.allowed is None else self.allowed[here],
                _scored={},
                _written=None,
                progress=None,
            )

    def scored(self, source: str) -> Scored:
        """The scores of a method or baseline; items that are not allowed have none.

        Raises:
            ConfigError: a baseline that is not at hand.
        """
        if source not in self._scored:
            own: dict[str, Callable[[], Scored]] = {
                "samples": self._samples,
                "beam": self._beam,
                "towers": self._towers,
                "likelihood": self._likelihood,
                "fused": self._fused,
            }
            scored = own[source]() if source in own else self._baseline(source)
            for row, mask in zip(scored.scores, self.allowed or (), strict=self.allowed is not None):
                if mask is not None:
                    row[~mask] = -np.inf
            self._scored[source] = scored
        return self._scored[source]

    def uncorrected(self, source: str) -> Scores:
        """The scores of a source, likelihoods as they are: log p(item | history) in nats.

        Raises:
            ConfigError: a baseline that is not at hand.
        """
        if source == "beam":
            return self._found_by_beam
        return self._candidate_likelihoods if source == "likelihood" else self.scored(source).scores

    def generations(self) -> list[list[Generation]]:
        """What the model writes for each history: its distinct texts, the most probable first."""
        if self._written is None:
            sampling = self.settings.sampling
            trie = self.index.trie if sampling.bound or sampling.mode == "draft" else None
            end_id, over_catalogue = self.index.encoder.end_id, sampling.bound and self._over_catalogue
            draws = sample(self.lm, self._prompts(), end_id, sampling, trie, self.progress, over_catalogue)
            self._written = [self._distinct_texts(of_user) for of_user in draws]
        return self._written

    def catalogue_log_probs(self, columns: Sequence[int], renormalise: bool = False) -> Scores:
        """log p(item | history) over the catalogue, or over the given columns alone: (H, len(columns)), in nats."""
        chosen = self.settings.candidates
        found = catalogue_log_probs(
            self.lm,
            self._prompts(),
            self.index.decisions,
            [columns] * len(self.histories),
            renormalise,
            chosen.batch_users,
            chosen.memory_gb,
            self.progress,
        )
        return np.stack(found) if found else np.empty((0, len(columns)))

    def _samples(self) -> Scored:
        grounded = [
            Grounding(self.index.bm25, generations, self.settings.epsilon) for generations in self.generations()
        ]
        scores = np.stack([of_user.scores for of_user in grounded]) if grounded else self._nothing()
        return Scored(scores, lambda user, column: grounded[user].trace(column))

    def _beam(self) -> Scored:
        return self._corrected(self._found_by_beam)

    def _likelihood(self) -> Scored:
        return self._corrected(self._candidate_likelihoods)

    @property
    def _over_catalogue(self) -> bool:
        return self.settings.likelihood == "catalogue"

    @cached_property
    def _found_by_beam(self) -> Scores:
        """(H, I) log p(item | history) of the items that the beam finds, in nats; ``-inf`` of others."""
        beam = self.settings.beam
        limits = beam.batch_users, beam.memory_gb, self.progress
        if self._over_catalogue:
            renormalise = beam.normalise == "allowed"
            found = catalogue_beam(
                self.lm, self._prompts(), self.index.decisions, beam.width, self.allowed, renormalise, *limits
            )
        else:
            found = beam_search(self.lm, self._prompts(), self.index.trie, beam.width, *limits)
        scores = self._nothing()
        for row, items in zip(scores, found, strict=True):
            row[[item.column for item in items]] = [item.log_prob for item in items]
        return scores

    @cached_property
    def _candidate_likelihoods(self) -> Scores:
        """(H, I) log p(item | history) of all candidates, in nats; ``-inf`` of other items."""
        candidates = self._candidates()
        chosen = self.settings.candidates
        limits = chosen.batch_users, chosen.memory_gb, self.progress
        if self._over_catalogue:
            found = catalogue_log_probs(self.lm, self._prompts(), self.index.decisions, candidates, False, *limits)
        else:
            found = score_items(self.lm, self._prompts(), self.index.trie, candidates, *limits)
        scores = self._nothing()
        for row, columns, log_probs in zip(scores, candidates, found, strict=True):
            row[columns] = log_probs
        return scores

    def _towers(self) -> Scored:
        encoder, columns = self.index.encoder, self.index.catalogue.columns
        users = user_vectors(self.lm, [encoder.prompt(columns(history.item_ids)) for history in self.histories])
        vectors = self.index.vectors
        if vectors.search == "exact":
            return Scored(vectors.scores(users).astype(np.float64))
        scores = self._nothing()
        for row, near, reached in zip(scores, *vectors.top(users, vectors.settings.candidates), strict=True):
            row[near[near >= 0]] = reached[near >= 0]
        return Scored(scores)

    def _fused(self) -> Scored:
        fusion = self.settings.fusion
        if fusion.ranker is not None and fusion.how == "fitted":
            return self._fitted(fusion.ranker)
        used = {name: weight for name, weight in fusion.weights.items() if weight}
        parts = [self.scored(name) for name in used]
        rows = [
            fuse([part.scores[user] for part in parts], list(used.values()), fusion.rule)
            for user in range(len(self.histories))
        ]
        scores = np.stack(rows) if rows else self._nothing()
        return Scored(
            scores, lambda user, column: next(filter(None, (part.trace(user, column) for part in parts)), None)
        )

    def _fitted(self, ranker: RankerWeights) -> Scored:
        """Candidates of all sources by a fitted ranking; other items are not recommended."""
        if self.purchases is None:
            raise ConfigError("a fitted ranking looks at a domain's purchases: name the domain with --data")
        parts = {name: self.scored(name) for name in ranker.sources}
        raw = {name: self.uncorrected(name) for name in parts}
        facts = self.index.facts(self.purchases)
        table = candidate_table(raw, self.histories, facts, exclude_last=self.exclude_last, each=ranker.each)
        scores = table.spread(ranker.score(table), len(self.index.catalogue))

        def trace(user: int, column: int) -> Trace | None:
            candidate = np.flatnonzero((table.owners == user) & (table.columns == column))
            if not len(candidate):
                return None
            known = next(filter(None, (part.trace(user, column) for part in parts.values())), Trace("", 0.0, 0.0))
            found = ranker.explain(table, int(candidate[0]))[:_SHOWN_FEATURES]
            return replace(known, features=tuple((part.feature, part.log_odds) for part in found))

        return Scored(scores, trace)

    def _baseline(self, name: str) -> Scored:
        if name not in self.baselines:
            raise ConfigError(f"{name} learns from a domain's purchases: name the domain with --data")
        baseline = self.baselines[name]
        ranked = baseline.score(self.histories)
        # It was fitted on a domain's catalogue; of items that came later it knows nothing.
        places = self.index.catalogue.positions
        both = [(places[item], column) for column, item in enumerate(baseline.catalogue.ids) if item in places]
        scores = self._nothing()
        if both:
            here, there = np.array(both).T
            scores[:, here] = ranked[:, there]
        return Scored(scores)

    def _candidates(self) -> list[list[int]]:
        chosen = self.settings.candidates
        parts = [self.scored(source).scores for source in chosen.sources]
        return [
            np.unique(np.concatenate([top_k(part[user], chosen.each) for part in parts])).tolist()
            for user in range(len(self.histories))
        ]

    def _corrected(self, log_probs: Scores) -> Scored:
        catalogue = self.index.catalogue

        def trace(user: int, column: int) -> Trace | None:
            log_prob = float(log_probs[user, column])
            return None if log_prob == -np.inf else Trace(catalogue.texts[column], log_prob, 1.0)

        return Scored(corrected(log_probs, self.index, self.settings.correction), trace)

    def _distinct_texts(self, draws: Iterable[Draw]) -> list[Generation]:
        found: dict[str, Generation] = {}
        for draw in sorted(draws, key=lambda draw: draw.first):
            ended = draw.token_ids[-1] == self.index.encoder.end_id
            tokens = draw.token_ids[:-1] if ended else draw.token_ids
            text = one_line(self.tokenizer.decode(tokens, skip_special_tokens=True))
            # Two token sequences may spell one text; the one drawn first stands for both, however many are drawn.
            known = found.get(text, Generation(text, draw.token_ids, draw.log_prob, 0, draw.first, ended))
            found[text] = replace(known, count=known.count + draw.count)
        return sorted(found.values(), key=lambda written: (-written.log_prob, written.token_ids))

    def _prompts(self) -> list[Prompt]:
        return [self.index.prompt(history) for history in self.histories]

    def _nothing(self) -> Scores:
        return np.full((len(self.histories), len(self.index.catalogue)), -np.inf)


def corrected(log_probs: Scores, index: CatalogueIndex, settings: CorrectionSettings) -> Scores:
    """Log-probabilities (H, I) less what makes an item likely for everyone; see ``CorrectionSettings``."""
    scores = log_probs
    if settings.prior:
        scores = scores - settings.prior * index.priors
    return scores / index.token_counts**settings.length if settings.length else scores
