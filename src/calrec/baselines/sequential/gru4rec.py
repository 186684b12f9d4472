"""GRU4Rec (Hidasi et al., 2016), with shared embeddings (Hidasi and Karatzoglou, 2018) and a softmax over all items."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from calrec.baselines.sequential.method import SequentialBaseline
from calrec.baselines.sequential.settings import SequentialSettings
from calrec.baselines.sequential.vocabulary import Vocabulary
from calrec.data.store import Domain

if TYPE_CHECKING:
    from calrec.baselines.sequential.networks import Network


class Gru4RecSettings(SequentialSettings):
    """The best of five trainings, by NDCG@10 on the validation users of Industrial_and_Scientific; one seed.

    At learning rate .003 dropout .3 gave .0724 and, with more patience, .0726; .5 gave .0720 and, in batches of 128
    sequences of any length, .0719. Rate .001 with small first embeddings (deviation .02) gave .0420.
    """

    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    learning_rate: float = Field(default=3e-3, gt=0)


class Gru4Rec(SequentialBaseline[Gru4RecSettings]):
    """A GRU over embeddings of the items, which predicts the next item at every position."""

    name = "gru4rec"
    settings_type = Gru4RecSettings
    grid: ClassVar = {"dropout": (0.3, 0.5), "learning_rate": (1e-3, 3e-3)}

    def network(self, domain: Domain, vocabulary: Vocabulary) -> Network:
        from calrec.baselines.sequential.networks import Recurrent

        own = self.settings
        return Recurrent(len(vocabulary.columns), own.dim, own.layers, own.dropout)
