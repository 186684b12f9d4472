"""A fitted ranking of candidates: several sources' scores and facts of items, weighed by a conditional logit."""

from calrec.ranker.features import CandidateTable, ItemFacts, candidate_table
from calrec.ranker.fitting import FOLDS, PENALTIES, FittedRanker, fit_ranker, fold_of
from calrec.ranker.logit import ConditionalLogit
from calrec.ranker.weights import Contribution, RankerWeights

__all__ = [
    "FOLDS",
    "PENALTIES",
    "CandidateTable",
    "ConditionalLogit",
    "Contribution",
    "FittedRanker",
    "ItemFacts",
    "RankerWeights",
    "candidate_table",
    "fit_ranker",
    "fold_of",
]
