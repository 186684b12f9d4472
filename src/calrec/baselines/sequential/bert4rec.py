"""BERT4Rec (Sun et al., 2019) on transformers' BERT, as in its replicability study (Petrov and Macdonald, 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from calrec.baselines.sequential.method import SequentialBaseline
from calrec.baselines.sequential.settings import AttentionSettings
from calrec.baselines.sequential.vocabulary import Vocabulary
from calrec.data.store import Domain

if TYPE_CHECKING:
    from calrec.baselines.sequential.networks import Network


class Bert4RecSettings(AttentionSettings):
    """The best of five trainings, by NDCG@10 on the validation users of Industrial_and_Scientific; one seed.

    They gave .0593; with positions counted from the beginning .0553; with larger first weights (deviation dim ** -.5)
    .0444; with dropout .5 and positions from the beginning .0443, and at learning rate .003 .0448. Only the first two
    went on for 60 passes or more: others ended where nothing improved for 5 or 10, so this search is a narrow one.

    Attributes:
        masked: share of a sequence's items that are hidden in training, in (0, 1].
    """

    dropout: float = Field(default=0.2, ge=0, lt=1)
    masked: float = Field(default=0.4, gt=0, le=1)


class Bert4Rec(SequentialBaseline[Bert4RecSettings]):
    """Bidirectional self-attention, trained to find hidden items; the next item is one hidden behind the history."""

    name = "bert4rec"
    settings_type = Bert4RecSettings
    grid: ClassVar = {"masked": (0.2, 0.4), "learning_rate": (1e-3, 3e-3)}

    def network(self, domain: Domain, vocabulary: Vocabulary) -> Network:
        from calrec.baselines.sequential.networks import Cloze

        own = self.settings
        items = len(vocabulary.columns)
        return Cloze(items, own.max_length, own.dim, own.layers, own.heads, own.dropout, own.masked)
