"""The best items of one query without a look at all that have its common words (MaxScore, Turtle and Flood 1995)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calrec.protocol import top_k
from calrec.retrieval.bm25.postings import Postings

Norm = Callable[[NDArray[np.integer[Any]]], NDArray[np.float64]]

# Levels are whole numbers of a unit, in two bytes: numpy takes half as long over a million of them as over floats.
_HIGHEST = 2**16 - 1
# Adding a word costs two nanoseconds an item that has it, scoring an item some hundred times that: measured to balance.
_ADDED_UNTIL = 0.5
# Up to so many items and additions, all of them are quicker than leaving any out.
_FEW = 100_000
# Words that so great a part of the items have are kept for later requests, most of which have them too: so many bytes
# an item at most.
_COMMON, _KEPT = 1 / 32, 40
# Queries share a unit that is at most so many times as coarse as their own would be.
_COARSER = 4.0
# Items of several queries are scored together as long as they and the longest query's words make so many pairs.
_CELLS = 1_000_000
# How many times k items must be found before the best k of them are worth scoring.
_LEADERS = 2
# Every word may round its gain up by a unit, so a query of more words than that is added up in full.
_MANY_WORDS = 10_000


@dataclass(frozen=True, slots=True)
class Query:
    """The T distinct words of a query that the catalogue has, the highest bound first: the order of all sums.

    Attributes:
        numbers: of the words: (T,).
        weights: inverse document frequencies, times how often the query has each word: (T,).
        bounds: no item gains more from the word: (T,).
        holders: how many items have the word: (T,).
    """

    numbers: NDArray[np.int64]
    weights: NDArray[np.float64]
    bounds: NDArray[np.float64]
    holders: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)


class Room:
    """Where one query after the other is worked on: a level and a mark for each of so many items, and up to 7 more."""

    def __init__(self, items: int) -> None:
        places = -(-items // 8) * 8
        self.level = np.empty(places, dtype=np.uint16)
        self.marks = np.empty(places, dtype=np.bool_)

    def above(self, low: int) -> NDArray[np.intp]:
        """The items (m,), ascending, whose level is above ``low``."""
        # A wider number would make wider ones of all levels.
        np.greater(self.level, np.uint16(low), out=self.marks)
        # Few items are, so look where any of eight is, and only there at each.
        eights = self.marks.view(np.uint64)
        some = np.flatnonzero(eights != 0)
        within = np.flatnonzero(eights[some].view(np.bool_))
        items: NDArray[np.intp] = some[within >> 3] * 8 + (within & 7)
        return items


# A word's number, its weight, and the unit that gains are counted in; then columns and gains.
_Asked = tuple[int, float, float | None]
_Gains = tuple[NDArray[np.intp], NDArray[Any]]


class CommonWords:
    """What items gain by the commonest words, kept from one request to the next.

    Args:
        items: of the catalogue.
    """

    def __init__(self, items: int) -> None:
        self._common, self._limit = _COMMON * items, _KEPT * items
        self._kept: dict[_Asked, _Gains] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": {}}

    def get(self, asked: _Asked) -> _Gains | None:
        return self._kept.get(asked)

    def keep(self, asked: _Asked, gains: _Gains) -> None:
        """Keep a word, if it is common; where there is no room for it, all others go."""
        kept, size = self._kept, _bytes(gains)
        if len(gains[0]) < self._common or size > self._limit:
            return
        if size + sum(map(_bytes, kept.values())) > self._limit:
            kept = {}
        self._kept = {**kept, asked: gains}  # anew, since several threads may ask


def _bytes(gains: _Gains) -> int:
    return sum(array.nbytes for array in gains)


class Scorer:
    """What items gain from words. It remembers the words that it was asked for, so it should live for a few queries.

    Args:
        postings: of the catalogue.
        norm: what stands beside f_iw in the denominator, for texts of some lengths (m,).
        common: what earlier ones have left.
    """

    def __init__(self, postings: Postings, norm: Norm, common: CommonWords) -> None:
        self.postings = postings
        self._norm = norm
        self._common = common
        self._known: dict[_Asked, _Gains] = {}
        counts, lengths = postings.hits.T
        self._shares = counts / (counts + norm(lengths))
        # Of each word of the catalogue its place in the query at hand, from 1; all 0 between two queries.
        self._places = np.zeros(len(postings.vocabulary), dtype=np.int32)

    def by_word(
        self, query: Query, place: int, unit: float | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float64 | np.uint16]]:
        """The items that have the query's word at ``place``, and what each gains by it.

        Args:
            query: its words.
            place: of the word in them.
            unit: to count the gains in units, each rounded up.

        Returns:
            Columns (n,), ascending, and gains (n,): float64, or uint16 where they are counted in units.
        """
        asked = int(query.numbers[place]), float(query.weights[place]), unit
        known = self._known.get(asked) or self._common.get(asked)
        if known is None:
            known = self._known[asked] = self._gains(*asked)
            self._common.keep(asked, known)
        return known

    def _gains(self, number: int, weight: float, unit: float | None) -> _Gains:
        first, last = self.postings.columns.starts[number : number + 2]
        gains = weight * self._shares
        if unit:
            gains = np.ceil(gains / unit).astype(np.uint16)
        columns = self.postings.columns.values[first:last].astype(np.intp)
        # All kinds are there; numpy is quicker where it need not say so.
        return columns, gains.take(self.postings.kinds[first:last], mode="clip")

    def totals(self, query: Query) -> NDArray[np.float64]:
        """The scores of all items, (I,), 0 where an item has no word of the query."""
        total = np.zeros(len(self.postings.texts))
        for place in range(len(query)):
            columns, gains = self.by_word(query, place)
            np.add.at(total, columns, gains)
        return total

    def by_item(self, queries: Sequence[Query], columns: Sequence[NDArray[np.intp]]) -> list[NDArray[np.float64]]:
        """The scores of some items for each query that have a word of it: as many (m,) as ``columns``.

        All of them are computed together, since so few items a query cost numpy's calls and little else.
        """
        most = max(map(len, queries))
        if most * sum(map(len, columns)) > _CELLS and len(queries) > 1:
            half = len(queries) // 2
            return self.by_item(queries[:half], columns[:half]) + self.by_item(queries[half:], columns[half:])
        items = np.concatenate(columns)
        of_queries = [len(of_query) for of_query in columns]
        numbers, lengths = self._words_of(items)
        ends = np.append(0, lengths.cumsum())[np.cumsum(of_queries)]
        places = [
            self._places_in(query, part) for query, part in zip(queries, np.split(numbers, ends[:-1]), strict=True)
        ]
        # In the first row are words that the query does not have.
        shape = most + 1, len(items)
        cells = np.concatenate(places) * len(items) + np.repeat(np.arange(len(items)), lengths)
        counts = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)[1:]
        shares = np.divide(counts, counts + self._norm(lengths), out=np.zeros(counts.shape), where=counts > 0)
        scores = np.zeros(len(items))
        for place, of_words in enumerate(shares):
            weights = [query.weights[place] if place < len(query) else 0.0 for query in queries]
            # In the order of a sum over whole columns: the same score to the last bit.
            scores += np.repeat(weights, of_queries) * of_words
        return np.split(scores, np.cumsum(of_queries)[:-1])

    def highest_shares(self, columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """No word's weight brings more than this part of it to these items: (m,)."""
        starts, most = self.postings.texts.starts, self.postings.most[columns]
        return most / (most + self._norm(starts[columns + 1] - starts[columns]))

    def _places_in(self, query: Query, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Of each word its place in the query, from 1; 0 where it is not there."""
        self._places[query.numbers] = np.arange(1, len(query) + 1)
        places: NDArray[np.int32] = self._places[numbers]
        self._places[query.numbers] = 0
        return places

    def _words_of(self, columns: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The word numbers of some texts in one array, and how many each has."""
        texts = self.postings.texts
        first = texts.starts[columns]
        lengths = texts.starts[columns + 1] - first
        before = np.cumsum(lengths) - lengths
        return texts.values[np.arange(lengths.sum()) + np.repeat(first - before, lengths)], lengths


def best(
    scorer: Scorer, queries: Sequence[Query], k: int, room: Room
) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Columns (m,) and scores (m,) of each query's k best items, or of all that have a word: score first, then column.

    Where there is little to add up, all of it is added up; else only items that can be among the best are scored.

    Args:
        scorer: of the catalogue.
        queries: each with its words.
        k: places.
        room: for the catalogue's items.
    """
    placed: dict[int, tuple[NDArray[np.intp], NDArray[np.float32]]] = {}
    for row, query in enumerate(queries):
        if len(room.level) + query.holders.sum() <= _FEW or not _is_countable(query):
            total = scorer.totals(query)
            columns = np.flatnonzero(total > 0)  # of truth values, since numpy is slow to find what is not zero
            placed[row] = _placed(columns, total[columns], k)
    rows = [row for row in range(len(queries)) if row not in placed]
    others = [queries[row] for row in rows]
    waiting: dict[int, NDArray[np.intp]] = {}
    for row, query, unit in zip(rows, others, _units(others), strict=True):
        columns = _hopeful(scorer, query, k, room, unit)
        if len(query) * len(columns) > _CELLS:  # so many words that hardly anything is left out
            placed[row] = _placed(columns, scorer.totals(query)[columns], k)
        else:
            waiting[row] = columns
    if waiting:
        scores = scorer.by_item([queries[row] for row in waiting], list(waiting.values()))
        placed |= {row: _placed(waiting[row], of_row, k) for row, of_row in zip(waiting, scores, strict=True)}
    return [placed[row] for row in range(len(queries))]


def _placed(
    columns: NDArray[np.intp], scores: NDArray[np.float64], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The k best of some items."""
    narrow = scores.astype(np.float32)
    order = top_k(narrow, k)
    return columns[order], narrow[order]


def _hopeful(scorer: Scorer, query: Query, k: int, room: Room, unit: float) -> NDArray[np.intp]:
    """Columns (m,), ascending, of items among which the k best are.

    The words are added up in their order until the remaining ones can bring, ``rest``, but a part of what k items are
    known to reach, the threshold. Most items are then too low for a place. All of it is counted in units.
    """
    rest = np.append(np.cumsum(query.bounds[::-1])[::-1], 0.0) / unit
    level = room.level
    level.fill(0)
    leaders = np.empty(0, dtype=np.intp)
    threshold, place = 0, 0
    while place < len(query) and rest[place] >= threshold * _ADDED_UNTIL:
        columns, gains = scorer.by_word(query, place, unit)
        if not threshold:
            leaders = np.concatenate([leaders, columns[level[columns] == 0]])
        np.add.at(level, columns, gains)
        place += 1
        if not threshold and len(leaders) >= _LEADERS * k:
            # No item has less in the end than it has so far; scoring k of them would cost more than it leaves out.
            threshold = _reached_by_k(level[leaders], k, place)
    if threshold:
        threshold = max(threshold, _reached_by_k(level[leaders], k, place))
    candidates = room.above(max(threshold - rest[place], 0))
    if len(candidates) <= _LEADERS * k:
        return candidates
    reached = level[candidates]
    threshold = max(threshold, _reached_by_k(reached, k, place))
    hopeful = reached + rest[place] > threshold
    candidates, reached = candidates[hopeful], reached[hopeful]
    highest = scorer.highest_shares(candidates) * query.weights[place:].sum() / unit
    chosen: NDArray[np.intp] = candidates[reached + highest > threshold]
    return chosen


def _units(queries: Sequence[Query]) -> list[float]:
    """What levels are counted in for each query; similar ones share a unit, and so what items gain by a word.

    It is a power of two of which no level can have more than ``_HIGHEST``; 0 where nothing is to be counted.
    """
    finest = [
        float(2.0 ** np.ceil(np.log2(query.bounds.sum() / (_HIGHEST - len(query))))) if _is_countable(query) else 0.0
        for query in queries
    ]
    coarsest = max(finest, default=0.0)
    return [min(coarsest, _COARSER * unit) for unit in finest]


def _is_countable(query: Query) -> bool:
    return 0 < len(query) <= _MANY_WORDS


def _reached_by_k(level: NDArray[np.uint16], k: int, words: int) -> int:
    """What k of the items surely reach: each of so many words may have rounded a level up by a unit.

    One more unit is left for scores that are equal in float32: those are told apart by column.
    """
    return max(int(np.partition(level, -k)[-k]) - words - 1, 0)
