"""Candidates of each history, and the features that a fitted ranking weighs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from calrec.protocol import exclude_last as take_out_last
from calrec.protocol import top_k
from calrec.records import Catalogue, History
from calrec.retrieval.bm25.vocabulary import words

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]
Column = tuple[str, Floats]

#: Sources whose scores are log-probabilities, which features take as they are.
LIKELIHOODS = ("beam", "likelihood")
#: Items at the end of a history whose words are looked at together.
RECENT = 5


@dataclass(frozen=True)
class CandidateTable:
    """C candidates of H histories, one history after the other, each history's by column.

    Attributes:
        names: of the F features.
        features: (C, F).
        columns: (C,) places of the candidates in the catalogue.
        starts: (H + 1,) the candidates of history h are ``starts[h]`` to ``starts[h + 1]``.
        sources: whose scores the features come from.
        each: best items that each source brought.
    """

    names: tuple[str, ...]
    features: Floats
    columns: Integers
    starts: Integers
    sources: tuple[str, ...]
    each: int

    def __len__(self) -> int:
        """Number of histories H."""
        return len(self.starts) - 1

    @cached_property
    def owners(self) -> Integers:
        """(C,) the history of each candidate."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def places(self, targets: Sequence[int] | Integers) -> Integers:
        """(H,) the row of each history's target in the table, -1 where it is no candidate.

        Args:
            targets: (H,) columns of the catalogue; -1 for a target that is no item of it.
        """
        places = np.full(len(self), -1, dtype=np.int64)
        found = np.flatnonzero(self.columns == np.asarray(targets, dtype=np.int64)[self.owners])
        places[self.owners[found]] = found
        return places

    def spread(self, values: Floats, items: int) -> Floats:
        """Values (C,) of the candidates as score rows (H, ``items``); ``-inf`` for all other items."""
        rows = np.full((len(self), items), -np.inf)
        rows[self.owners, self.columns] = values
        return rows

    @staticmethod
    def joined(tables: Sequence[CandidateTable]) -> CandidateTable:
        """One table of several that have the same features.

        Raises:
            ValueError: no table, or features that differ.
        """
        if len({(table.names, table.sources, table.each) for table in tables}) != 1:
            raise ValueError(
                "tables of candidates can be joined where there is one or more and all have the same names"
            )
        sizes = np.concatenate([np.diff(table.starts) for table in tables])
        return CandidateTable(
            tables[0].names,
            np.concatenate([table.features for table in tables]),
            np.concatenate([table.columns for table in tables]),
            np.concatenate([[0], np.cumsum(sizes)]),
            tables[0].sources,
            tables[0].each,
        )


@dataclass(frozen=True)
class ItemFacts:
    """Facts of I items that the features of candidates need, computed once for a catalogue.

    Attributes:
        catalogue: the items.
        purchases: (I,) how often each was bought in the training sequences.
    """

    catalogue: Catalogue
    purchases: NDArray[Any]

    @cached_property
    def words(self) -> csr_array:
        """(I + 1, V) 1 where a text has a word; the row after the last item is empty."""
        sets = [sorted(set(words(text.casefold()))) for text in self.catalogue.texts]
        numbers = {word: number for number, word in enumerate(sorted({word for found in sets for word in found}))}
        indices = np.array([numbers[word] for found in sets for word in found], dtype=np.int64)
        ends = np.cumsum([0, *map(len, sets), 0])
        shape = (len(sets) + 1, max(1, len(numbers)))
        return csr_array((np.ones(len(indices)), indices, ends), shape=shape)

    @cached_property
    def log_prices(self) -> Floats | None:
        """(I,) log price, NaN where it is unknown; None where no item has a price above 0."""
        prices = np.array([_price(item.attributes.get("price", "")) for item in self.catalogue.items])
        return np.log(prices) if np.isfinite(prices).any() else None


def candidate_table(
    scores: Mapping[str, Scores],
    histories: Sequence[History],
    items: ItemFacts,
    *,
    exclude_last: bool,
    each: int = 60,
) -> CandidateTable:
    """The candidates of histories and their features; a history's do not depend on the other histories.

    Candidates are the ``each`` best items of every source, and what the history itself holds.

    Args:
        scores: source -> (H, I), higher is better, ``-inf`` where it does not rank an item.
        histories: H of them.
        items: of the catalogue.
        exclude_last: whether a history's last item can never be the next one, and so is no candidate.
        each: best items of each source.

    Raises:
        ValueError: no source, or scores that do not fit the histories and the catalogue.
    """
    shape = (len(histories), len(items.catalogue))
    for source, table in scores.items():
        if table.shape != shape:
            raise ValueError(f"scores of {source} must be (H, I) = {shape}, got {table.shape}")
    if not scores:
        raise ValueError("candidates need one source of scores or more")
    if exclude_last:
        scores = {source: table.copy() for source, table in scores.items()}
        for table in scores.values():
            take_out_last(table, items.catalogue, histories)
    bought = [np.array(items.catalogue.columns(history.item_ids), dtype=np.int64) for history in histories]
    chosen = _chosen(scores, bought, each, exclude_last)
    owners, columns = (part.astype(np.int64) for part in np.nonzero(chosen))
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(chosen, axis=1))]).astype(np.int64)
    found: list[Column] = []
    for source, table in scores.items():
        found += _of_source(source, table, owners, columns, starts)
    found += _of_purchases(bought, columns, starts)
    found += _of_words(bought, items.words, owners, columns)
    found.append(("popularity", np.log1p(items.purchases[columns])))
    if items.log_prices is not None:
        found += _of_prices(bought, items.log_prices, owners, columns)
    names, values = zip(*found, strict=True)
    return CandidateTable(tuple(names), np.stack(values, axis=1), columns, starts, tuple(scores), each)


def _chosen(
    scores: Mapping[str, Scores], bought: Sequence[Integers], each: int, exclude_last: bool
) -> NDArray[np.bool_]:
    """(H, I) which items are candidates."""
    chosen = np.zeros(next(iter(scores.values())).shape, dtype=bool)
    for user, own in enumerate(bought):
        for table in scores.values():
            chosen[user, top_k(table[user], each)] = True
        chosen[user, own] = True
        # An item that was bought last may have been bought before, too.
        if exclude_last:
            chosen[user, own[-1:]] = False
    return chosen


def _of_source(source: str, table: Scores, owners: Integers, columns: Integers, starts: Integers) -> Iterator[Column]:
    own = table[owners, columns].astype(np.float64)  # (C,)
    ahead = np.empty(len(columns))  # (C,) items with a better score; equal scores share a place
    for user, ordered in enumerate(np.sort(table, axis=1)):
        part = slice(starts[user], starts[user + 1])
        ahead[part] = len(ordered) - np.searchsorted(ordered, table[user, columns[part]], side="right")
    ranked = own > -np.inf
    filled = np.where(ranked, own, 0.0)
    yield f"{source}: ranked", ranked.astype(np.float64)
    yield f"{source}: reciprocal rank", np.where(ranked, 1 / (1 + ahead), 0.0)
    # All that is not ranked stands behind the last that is.
    yield f"{source}: log rank", np.log1p(ahead)
    yield f"{source}: score", filled if source in LIKELIHOODS else np.sign(filled) * np.log1p(np.abs(filled))


def _of_purchases(bought: Sequence[Integers], columns: Integers, starts: Integers) -> list[Column]:
    counts, recency, last = np.zeros((3, len(columns)))
    for user, own in enumerate(bought):
        # From the end, so that the first place of an item is its latest purchase.
        items, ago, times = np.unique(own[::-1], return_index=True, return_counts=True)
        start, end = starts[user], starts[user + 1]
        places = start + np.searchsorted(columns[start:end], items)
        there = places < end
        there[there] = columns[places[there]] == items[there]
        counts[places[there]] = times[there]
        recency[places[there]] = 1 / (1 + ago[there])
        last[places[there & (ago == 0)]] = 1
    return [("bought before", np.log1p(counts)), ("recency", recency), ("last item", last)]


def _of_words(bought: Sequence[Integers], table: csr_array, owners: Integers, columns: Integers) -> Iterator[Column]:
    # Row -1 is the empty one, for histories without a known item.
    last = np.array([own[-1] if len(own) else -1 for own in bought], dtype=np.int64)
    yield "words: last item", _jaccard(table[columns], table[last], owners)
    recent = [np.unique(own[-RECENT:]) for own in bought]
    ends = np.cumsum([0, *map(len, recent)])
    chosen = csr_array(
        (np.ones(ends[-1]), np.concatenate([*recent, np.empty(0, dtype=np.int64)]), ends),
        shape=(len(bought), table.shape[0]),
    )
    joined = chosen @ table  # (H, V)
    joined.data[:] = 1
    yield f"words: last {RECENT} items", _jaccard(table[columns], joined, owners)


def _jaccard(candidates: csr_array, histories: csr_array, owners: Integers) -> Floats:
    """(C,) common words of candidates (C, V) and their owners (H, V) over those of either; 0 where neither has one."""
    common = np.asarray((candidates * histories[owners]).sum(axis=1), dtype=np.float64)
    sizes = np.diff(candidates.indptr) + np.diff(histories.indptr)[owners] - common
    shares: Floats = np.divide(common, sizes, out=np.zeros_like(common), where=sizes > 0)
    return shares


def _of_prices(bought: Sequence[Integers], log_prices: Floats, owners: Integers, columns: Integers) -> list[Column]:
    usual = np.full(len(bought), np.nan)  # (H,) mean log price of what was bought
    for user, own in enumerate(bought):
        known = log_prices[own][np.isfinite(log_prices[own])]
        if len(known):
            usual[user] = known.mean()
    prices = log_prices[columns]
    known, distance = np.isfinite(prices), np.abs(prices - usual[owners])
    return [
        ("price: known", known.astype(np.float64)),
        ("price", np.where(known, prices, float(np.nanmean(log_prices)))),
        ("price: distance", np.where(np.isfinite(distance), distance, 0.0)),
    ]


def _price(text: str) -> float:
    """A price above 0 as a shop writes it, such as $1,299.00; NaN for anything else."""
    try:
        price = float(str(text).strip().lstrip("$€£").replace(",", ""))
    except ValueError:
        return math.nan
    return price if 0 < price < math.inf else math.nan
