"""What sequence models share as baselines: fitted on training sequences, stopped by validation, asked for scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from calrec.baselines.baseline import Baseline, popularity
from calrec.baselines.sequential.settings import SequentialSettings
from calrec.baselines.sequential.vocabulary import PADDING, Vocabulary
from calrec.data.store import Domain
from calrec.records import History

if TYPE_CHECKING:
    from calrec.baselines.sequential.networks import Network
    from calrec.baselines.sequential.training import Validation

S = TypeVar("S", bound=SequentialSettings)


class SequentialBaseline(Baseline[S]):
    """A neural model of sequences; a history without any item that it knows is ranked by popularity.

    It is trained, which takes minutes, by ``prepare``, or when scores are first asked for: a result that is there
    already needs none. The same domain, settings and number of threads give the same scores.

    Attributes:
        unseen: whether items that no training sequence holds are ranked, too; else they are not recommended.
    """

    unseen: ClassVar[bool] = False

    def __init__(self, domain: Domain, settings: S) -> None:
        super().__init__(domain, settings)
        self._domain = domain
        self._share = popularity(domain)
        self._vocabulary = Vocabulary.of(domain, settings.max_length, self.unseen)

    def prepare(self) -> list[float]:
        """Train it, if it is not; NDCG@10 on validation after each pass over the training sequences."""
        return self._trained[1]

    @cached_property
    def _trained(self) -> tuple[Network, list[float]]:
        import torch

        from calrec.baselines.sequential.training import train

        columns = (self.catalogue.columns(history.item_ids) for history in self._domain.training_sequences())
        # One more than a history has, so that every place in a history is learnt from.
        sequences = [self._vocabulary.encode(of_user, targets=1) for of_user in columns]
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.seed)
            network = self.network(self._domain, self._vocabulary)
            curve = train(
                network,
                [tokens for tokens in sequences if len(tokens) > 1],
                self._validation(self._domain),
                self._vocabulary,
                self.settings,
                self.name,
            )
        return network, curve

    @abstractmethod
    def network(self, domain: Domain, vocabulary: Vocabulary) -> Network:
        """The network before training, its weights drawn from torch's generator."""

    def score(self, histories: Sequence[History]) -> NDArray[np.float32]:
        scores = np.full((len(histories), len(self.catalogue)), -np.inf, dtype=np.float32)
        known = self._vocabulary.columns
        for row, history in zip(scores, histories, strict=True):
            tokens = self._tokens(history)
            row[known] = self._scored(tokens) if len(tokens) else self._share[known]
        return scores

    def _scored(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of the vocabulary (V,). One history at a time, so that no other one changes their rounding."""
        import torch

        network, _ = self._trained
        with torch.inference_mode():
            states = network.next_states(torch.from_numpy(tokens)[None])
            scores: NDArray[np.float32] = network.logits(states, len(self._vocabulary.columns))[0].numpy()
        return scores

    def _tokens(self, history: History) -> NDArray[np.int64]:
        return self._vocabulary.encode(self.catalogue.columns(history.item_ids))

    def _validation(self, domain: Domain) -> Validation:
        from calrec.baselines.sequential.training import Validation

        examples = domain.split("valid")
        histories = [self._tokens(History(example.user_id, example.history)) for example in examples]
        targets = [self._token(example.target) for example in examples]
        excluded = [self._token(example.history[-1]) if domain.exclude_last else PADDING for example in examples]
        asked = [
            place
            for place, (tokens, target) in enumerate(zip(histories, targets, strict=True))
            if len(tokens) and target
        ]
        return Validation(
            histories=[histories[place] for place in asked],
            targets=np.array(targets, dtype=np.int64)[asked],
            excluded=np.array(excluded, dtype=np.int64)[asked],
            users=len(examples),
        )

    def _token(self, item_id: str) -> int:
        return int(self._vocabulary.tokens[self.catalogue.positions[item_id]])
