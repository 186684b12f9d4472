"""The baselines that are fitted in seconds, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calrec.baselines.baseline import Baseline
from calrec.baselines.item_knn import ItemKnn
from calrec.baselines.last_item_bm25 import LastItemBm25
from calrec.baselines.markov import Markov
from calrec.baselines.popularity import Popularity
from calrec.baselines.user_history import UserHistory

BASELINES: Mapping[str, type[Baseline[Any]]] = {
    method.name: method for method in (Popularity, UserHistory, Markov, ItemKnn, LastItemBm25)
}
