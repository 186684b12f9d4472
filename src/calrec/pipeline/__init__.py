"""CALRec as a recommender: what stands between a trained model and a ranking of the catalogue."""

from calrec.pipeline.calrec import CALRec
from calrec.pipeline.filters import Filter
from calrec.pipeline.settings import InferenceSettings

__all__ = ["CALRec", "Filter", "InferenceSettings"]
