"""What all baselines share: fitted on construction, they speak the recommender's protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from calrec.data.store import Domain
from calrec.protocol import rankings
from calrec.records import Catalogue, History, Recommendation
from calrec.settings import Settings

S = TypeVar("S", bound=Settings)


class NoSettings(Settings):
    """Of a baseline that has nothing to set."""


class Baseline(ABC, Generic[S]):
    """A method fitted on ``domain.training_sequences()``: sequences without the targets of validation and test.

    Args:
        domain: what to learn from, and whose catalogue to rank.
        settings: the method's own.

    Attributes:
        name: what it is called by.
        settings_type: of its settings.
        grid: values by key that are worth trying on another domain, few enough for `calrec.search`.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[Settings]] = NoSettings
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def __init__(self, domain: Domain, settings: S) -> None:
        self._catalogue = domain.catalogue
        self.settings = settings

    @property
    def described(self) -> dict[str, Any]:
        """All that decides its scores, to stand in results."""
        return self.settings.model_dump(mode="json")

    @property
    def catalogue(self) -> Catalogue:
        return self._catalogue

    @abstractmethod
    def score(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """Shape (len(histories), len(catalogue)), higher is better, ``-inf`` for an item that is not recommended."""

    def recommend(self, histories: Sequence[History], k: int) -> list[list[Recommendation]]:
        """The k best items of each history, best first; fewer where the method recommends fewer."""
        return rankings(self.score(histories), self.catalogue, k)


def popularity(domain: Domain) -> NDArray[np.float64]:
    """How often each item was bought in the training sequences, over one more than the maximum: (I,) in [0, 1)."""
    counts = np.array([domain.purchases[item_id] for item_id in domain.catalogue.ids])
    share: NDArray[np.float64] = counts / (counts.max() + 1)
    return share


def fill_by_popularity(scores: NDArray[np.float32], share: NDArray[np.float64]) -> NDArray[np.float32]:
    """Where the method found nothing (score 0), rank by popularity, after everything that it found (score above 0)."""
    return np.where(scores > 0, scores, share - 1).astype(np.float32)
