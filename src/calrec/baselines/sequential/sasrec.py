"""SASRec (Kang and McAuley, 2018), trained with a softmax over all items (Klenitskiy and Vasilev, 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calrec.baselines.sequential.method import SequentialBaseline
from calrec.baselines.sequential.settings import AttentionSettings
from calrec.baselines.sequential.vocabulary import Vocabulary
from calrec.data.store import Domain

if TYPE_CHECKING:
    from calrec.baselines.sequential.networks import Network


class SasRecSettings(AttentionSettings):
    pass


class SasRec(SequentialBaseline[SasRecSettings]):
    """Causal self-attention over embeddings of the items, which predicts the next item at every position."""

    name = "sasrec"
    settings_type = SasRecSettings

    def network(self, domain: Domain, vocabulary: Vocabulary) -> Network:
        from calrec.baselines.sequential.networks import Causal

        own = self.settings
        return Causal(len(vocabulary.columns), own.max_length, own.dim, own.layers, own.heads, own.dropout)
