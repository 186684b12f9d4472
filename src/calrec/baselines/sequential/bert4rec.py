"""BERT4Rec (Sun et al., 2019) on transformers' BERT, as in its replicability study (Petrov and Macdonald, 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from calrec.baselines.sequential.method import SequentialBaseline
from calrec.baselines.sequential.settings import AttentionSettings
from calrec.baselines.sequential.vocabulary import Vocabulary
from calrec.data.store import Domain

if TYPE_CHECKING:
    from calrec.baselines.sequential.networks import Network


class Bert4RecSettings(AttentionSettings):
    """
    Attributes:
        masked: share of a sequence's items that are hidden in training, in (0, 1].
    """

    masked: float = Field(default=0.4, gt=0, le=1)


class Bert4Rec(SequentialBaseline[Bert4RecSettings]):
    """Bidirectional self-attention, trained to find hidden items; the next item is one hidden behind the history."""

    name = "bert4rec"
    settings_type = Bert4RecSettings

    def network(self, domain: Domain, vocabulary: Vocabulary) -> Network:
        from calrec.baselines.sequential.networks import Cloze

        own = self.settings
        items = len(vocabulary.columns)
        return Cloze(items, own.max_length, own.dim, own.layers, own.heads, own.dropout, own.masked)
