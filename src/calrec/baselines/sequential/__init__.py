"""Neural models of sequences, built from the modules of torch and transformers; fitting one trains it for minutes."""

from calrec.baselines.sequential.bert4rec import Bert4Rec
from calrec.baselines.sequential.gru4rec import Gru4Rec
from calrec.baselines.sequential.method import SequentialBaseline
from calrec.baselines.sequential.sasrec import SasRec
from calrec.baselines.sequential.unisrec import UniSRec

__all__ = ["Bert4Rec", "Gru4Rec", "SasRec", "SequentialBaseline", "UniSRec"]
