"""How good rankings are, and whether one method is better than another: numpy alone."""

from calrec.metrics.ranking import per_user_metrics, ranking_metrics, ranks_by_id, ranks_by_text, standard_errors
from calrec.metrics.significance import PairedTest, holm, paired_test

__all__ = [
    "PairedTest",
    "holm",
    "paired_test",
    "per_user_metrics",
    "ranking_metrics",
    "ranks_by_id",
    "ranks_by_text",
    "standard_errors",
]
