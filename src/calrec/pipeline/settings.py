"""How recommendations are made from a trained run."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from itertools import product
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from calrec.baselines import BASELINES
from calrec.generation import SamplingSettings
from calrec.ranker import RankerWeights
from calrec.retrieval import Bm25Settings, DenseSettings, FusionSettings
from calrec.settings import Settings

Method = Literal["samples", "beam", "towers", "likelihood", "fused"]
#: What can be joined or bring candidates: the model's own ways, and the baselines where the domain is at hand.
SOURCES = ("samples", "beam", "towers", "likelihood", *BASELINES)


def known_source(name: str, without: str = "") -> str:
    """The name again.

    Raises:
        ValueError: there is no such source, or it is the one that is left out; the nearest is named.
    """
    known = [source for source in SOURCES if source != without]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise ValueError(f"{name!r} is no method that can be asked here: {mend}")
    return name


class CorrectionSettings(Settings):
    """A likelihood favours short and common texts. Score of an item of t tokens:

        (log p(item | history) - prior * log p(item)) / t ** length

    where log p(item) is the model's after an empty history. Both are 0, no correction, until ``calrec tune`` has found
    better on validation.

    Attributes:
        prior: how much of what makes an item likely for everyone is taken away.
        length: 0 leaves sums over the tokens, 1 makes them means.
    """

    prior: float = Field(default=0.0, ge=0, le=2)
    length: float = Field(default=0.0, ge=0, le=2)


class BatchSettings(Settings):
    """How much is computed at once; it changes speed, and a score by rounding alone.

    Attributes:
        batch_users: users computed together, fewer where memory is short.
        memory_gb: 10^9 bytes that may be taken beside the model's weights.
    """

    batch_users: int = Field(default=8, ge=1, le=4096)
    memory_gb: float = Field(default=2.0, gt=0)


class BeamSettings(BatchSettings):
    """Of the search that can only end at an item.

    Attributes:
        width: beginnings that are kept at each step, and so the items that are found at most; as wide as the catalogue,
            it scores every item.
        normalise: with ``likelihood: catalogue`` and a filter, what probabilities sum to one over: ``catalogue`` ranks
            as dropping items after an exhaustive ranking would, ``allowed`` as if there were no other items.
    """

    width: int = Field(default=32, ge=1)
    normalise: Literal["catalogue", "allowed"] = "catalogue"


class CandidateSettings(BatchSettings):
    """Whose items the exact likelihood re-ranks.

    Attributes:
        sources: methods or baselines. each: best items that each of them brings.
    """

    sources: tuple[str, ...] = ("towers",)
    each: int = Field(default=50, ge=1)

    @field_validator("sources")
    @classmethod
    def _known(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if not sources:
            raise ValueError("name at least one source of candidates")
        return tuple(known_source(source, without="likelihood") for source in sources)


class FusedSettings(Settings):
    """Which methods are joined, and how.

    Attributes:
        how: ``reciprocal-rank`` and ``weighted`` as in `calrec.retrieval.FusionSettings`; ``fitted`` ranks candidates
            by a conditional logit that ``calrec tune`` fitted on validation users.
        k: of reciprocal rank fusion.
        weights: method or baseline -> how much it counts; 0 leaves it out. With ``fitted`` they name the sources alone.
        ranker: what was fitted.
    """

    how: Literal["reciprocal-rank", "weighted", "fitted"] = "reciprocal-rank"
    k: float = Field(default=60.0, ge=0)
    weights: Mapping[str, float] = {"samples": 1.0, "beam": 1.0, "towers": 1.0}
    ranker: RankerWeights | None = None

    @field_validator("weights")
    @classmethod
    def _usable(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        if min(weights.values(), default=0) < 0 or not any(weights.values()):
            raise ValueError("weights must be >= 0, and one of them more")
        return {known_source(source): weight for source, weight in weights.items()}

    @model_validator(mode="after")
    def _fitted_on_its_sources(self) -> FusedSettings:
        if self.how != "fitted":
            return self
        if self.ranker is None:
            raise ValueError("how: fitted needs a fitted ranking: calrec tune makes it")
        if set(self.ranker.sources) != {name for name, weight in self.weights.items() if weight}:
            fitted = ", ".join(self.ranker.sources)
            raise ValueError(f"the ranking was fitted on {fitted}: set how=reciprocal-rank to join others")
        return self

    @property
    def rule(self) -> FusionSettings:
        """How rankings are joined where nothing was fitted."""
        return FusionSettings(how="weighted" if self.how == "weighted" else "reciprocal-rank", k=self.k)


class InferenceSettings(Settings):
    """How recommendations are made from a trained run.

    Attributes:
        method: ``samples`` is the paper's: samples, each grounded by BM25, joined by quasi-round-robin. Beyond the
            paper, ``beam`` searches among the catalogue's texts alone, ``towers`` compares the towers' vectors,
            ``likelihood`` re-ranks candidates by the model's exact probabilities, and ``fused`` joins several.
        likelihood: what beams, exact likelihoods and the log-probabilities of constrained samples are normalised over:
            ``free``, all texts, as the paper's loss, or ``catalogue``, its texts alone, where decisions between items
            are all that counts. None takes what the run was trained by.
        sampling: 32 samples at temperature 0.5 are the paper's [B].
        bm25: of the grounding.
        epsilon: of the quasi-round-robin; 1/5000 is the paper's [B].
        beam, correction, dense, candidates, fusion: of the other methods.
        dtype: of the weights.
    """

    method: Method = "samples"
    likelihood: Literal["free", "catalogue"] | None = None
    sampling: SamplingSettings = SamplingSettings()
    bm25: Bm25Settings = Bm25Settings()
    epsilon: float = Field(default=1 / 5000, ge=0)
    beam: BeamSettings = BeamSettings()
    correction: CorrectionSettings = CorrectionSettings()
    dense: DenseSettings = DenseSettings()
    candidates: CandidateSettings = CandidateSettings()
    fusion: FusedSettings = FusedSettings()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def used(self) -> tuple[str, ...]:
        """The sources that the method asks, itself first; those of weight 0 are not asked."""
        return tuple(dict.fromkeys(self._used_by(self.method)))

    def _used_by(self, source: str) -> tuple[str, ...]:
        below: tuple[str, ...] = ()
        if source == "fused":
            below = tuple(name for name, weight in self.fusion.weights.items() if weight)
        if source == "likelihood":
            below = self.candidates.sources
        return (source, *(name for part in below for name in self._used_by(part)))

    def described(self) -> dict[str, Any]:
        """What decides the method's scores, to stand in results: not how fast they come, nor what is not asked."""
        used, whole = self.used(), self.model_dump(mode="json")
        parts = {
            "sampling": ("samples",),
            "bm25": ("samples",),
            "epsilon": ("samples",),
            "beam": ("beam",),
            "correction": ("beam", "likelihood"),
            "dense": ("towers",),
            "candidates": ("likelihood",),
            "fusion": ("fused",),
        }
        kept = {name: whole[name] for name, methods in parts.items() if set(methods) & set(used)}
        if self.likelihood == "catalogue" and {"beam", "likelihood"} & set(used):
            kept["likelihood"] = "catalogue"
        if "fusion" in kept and self.fusion.ranker is None:
            kept["fusion"].pop("ranker")
        if "beam" in kept and "likelihood" not in kept:
            kept["beam"].pop("normalise")
        for part, name in product(kept, ("mode", "batch_users", "memory_gb", "threads")):
            if isinstance(kept[part], dict):
                kept[part].pop(name, None)
        return {**({} if self.method == "samples" else {"method": self.method}), **kept, "dtype": self.dtype}
