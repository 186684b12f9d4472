"""Results that can be compared: any recommender, one protocol, every user counted."""

from calrec.evaluation.protocol import Protocol
from calrec.evaluation.result import Result, load_result
from calrec.evaluation.run import evaluate, sample_users
from calrec.evaluation.unseen import require_unseen

__all__ = ["Protocol", "Result", "evaluate", "load_result", "require_unseen", "sample_users"]
