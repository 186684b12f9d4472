"""What a result says beyond whether the target was found: how varied its items are, and how sound its texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from calrec.data.store import Domain
from calrec.records import Generation

#: The column of what a method wrote.
GENERATIONS = "generations"
_BEST = 10


def beyond_accuracy(rankings: pl.DataFrame, domain: Domain) -> dict[str, float]:
    """Numbers that no rank of a target shows.

    Args:
        rankings: one row a user; ``top_items``, ``target``, and ``generations`` of a method that writes.
        domain: whose catalogue and training sequences.

    Returns:
        ``coverage``: share of the catalogue that is among somebody's ten best. ``popularity``: purchases in training of
        the items among the ten best, over those of the targets; above 1 the method favours what is popular more than
        people do (left out where no target was bought before). Of a method that writes also ``distinct``: different
        texts a user; and as shares of all samples, ``exact``: those that are an item's text, word for word, and
        ``invalid``: those without a text, or cut off before their end. And where a miss comes from, as shares of the
        users: ``target written``: the target's text is among those written; ``target lost``: it is, and yet no item
        with it is among the ten best texts.
    """
    best = rankings.select("user_id", pl.col("top_items").list.head(_BEST)).explode("top_items").drop_nulls()
    numbers = {"coverage": best["top_items"].n_unique() / len(domain.catalogue)}
    bought = domain.purchases
    of_targets = np.mean([bought[item_id] for item_id in rankings["target"]])
    if of_targets and len(best):
        numbers["popularity"] = float(np.mean([bought[item_id] for item_id in best["top_items"]]) / of_targets)
    return numbers | (_of_texts(rankings) if GENERATIONS in rankings.columns else {})


def generations_column(
    of_users: Sequence[Sequence[Generation]], texts: frozenset[str], targets: Sequence[str]
) -> pl.Series:
    """What a method wrote, a list a user: text, log-probability (nats), count, first sample, and what became of it.

    Args:
        of_users: for each user the texts.
        texts: of the items, as the method writes them. targets: for each user the target's.
    """
    fields = ("text", "log_prob", "count", "first", "ended")
    rows = [
        [
            {name: getattr(g, name) for name in fields} | {"exact": g.text in texts, "target": g.text == target}
            for g in of_user
        ]
        for of_user, target in zip(of_users, targets, strict=True)
    ]
    kinds = (pl.String, pl.Float64, pl.Int64, pl.Int64, pl.Boolean, pl.Boolean, pl.Boolean)
    struct = pl.Struct(dict(zip((*fields, "exact", "target"), kinds, strict=True)))
    return pl.Series(GENERATIONS, rows, dtype=pl.List(struct))


def _of_texts(rankings: pl.DataFrame) -> dict[str, float]:
    generations = rankings[GENERATIONS]
    written = generations.explode().drop_nulls()
    if not len(written):
        return {}
    table = pl.DataFrame(written).unnest(GENERATIONS)
    counts = table["count"].to_numpy()
    exact, invalid = table["exact"].to_numpy(), (~table["ended"] | (table["text"] == "")).to_numpy()
    hit = generations.list.eval(pl.element().struct.field("target").any()).list.first().fill_null(False).to_numpy()
    best = rankings["rank_by_text"].is_between(1, _BEST).to_numpy()
    return {
        "distinct": len(table) / len(generations),
        "exact": float(counts[exact].sum() / counts.sum()),
        "invalid": float(counts[invalid].sum() / counts.sum()),
        "target written": float(hit.mean()),
        "target lost": float((hit & ~best).mean()),
    }
