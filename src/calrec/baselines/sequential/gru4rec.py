"""GRU4Rec (Hidasi et al., 2016), with shared embeddings (Hidasi and Karatzoglou, 2018) and a softmax over all items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from calrec.baselines.sequential.method import SequentialBaseline
from calrec.baselines.sequential.settings import SequentialSettings
from calrec.baselines.sequential.vocabulary import Vocabulary
from calrec.data.store import Domain

if TYPE_CHECKING:
    from calrec.baselines.sequential.networks import Network


class Gru4RecSettings(SequentialSettings):
    layers: int = Field(default=1, ge=1)


class Gru4Rec(SequentialBaseline[Gru4RecSettings]):
    """A GRU over embeddings of the items, which predicts the next item at every position."""

    name = "gru4rec"
    settings_type = Gru4RecSettings

    def network(self, domain: Domain, vocabulary: Vocabulary) -> Network:
        from calrec.baselines.sequential.networks import Recurrent

        own = self.settings
        return Recurrent(len(vocabulary.columns), own.dim, own.layers, own.dropout)
