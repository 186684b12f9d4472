"""A few users as the model saw them: what they bought, what it wrote, and the items that this became."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from calrec.data.store import Domain
from calrec.evaluation.result import Result
from calrec.pipeline.grounding import Grounding
from calrec.records import Catalogue, Generation, Trace
from calrec.report.ledger import Comparison
from calrec.retrieval import Bm25Index, Bm25Settings
from calrec.retrieval.bm25.vocabulary import words
from calrec.text.item_text import ItemText, TextSettings

#: The rule by which users are chosen: the first of each kind, in the order of the evaluation.
EACH, PLACES, TEXTS, PURCHASES = 2, 5, 8, 10
_KINDS: tuple[tuple[str, Callable[[int], bool]], ...] = (
    ("found first", lambda rank: rank == 1),
    ("found at 2 to 10", lambda rank: 2 <= rank <= 10),
    ("missed", lambda rank: rank == 0 or rank > 10),
)


@dataclass(frozen=True)
class Written:
    """A text that the model wrote, ``count`` times; its ``log_prob`` in nats; is it an item's, and the target's?"""

    text: str
    log_prob: float
    count: int
    exact: bool
    is_target: bool


@dataclass(frozen=True)
class Place:
    """A place of the ranking, why it is there, and its text in parts: words that the model wrote too are True."""

    rank: int
    item_id: str
    parts: tuple[tuple[str, bool], ...]
    trace: Trace | None
    is_target: bool


@dataclass(frozen=True)
class ExampleUser:
    """One user of a result.

    Attributes:
        kind: by which the user was chosen.
        user_id: of the domain.
        history: texts, oldest first, the last ``PURCHASES``. earlier: how many there were before these.
        written: distinct texts, the most probable first, ``TEXTS`` at most. more: how many others there were.
        target, rank: the text of the item to be found, and its place; 0 where it was not ranked.
        places: the best, and that of the target where it is known.
    """

    kind: str
    user_id: str
    history: tuple[str, ...]
    earlier: int
    written: tuple[Written, ...]
    more: int
    target: str
    rank: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Examples:
    """Users of the best result whose method writes.

    Attributes:
        name: of that result. samples: it drew for each user. candidates: items that it ranked.
        each: users of every kind at most. users: those chosen.
    """

    name: str
    samples: int
    candidates: int
    each: int
    users: tuple[ExampleUser, ...]


def examples(comparison: Comparison, domain: Domain) -> Examples | None:
    """Example users of a comparison's best result that keeps texts and ranks by their grounding; None without one.

    Args:
        comparison: its results.
        domain: of the comparison.
    """
    for name, result in comparison:
        inference = result.summary.settings.get("inference", {})
        if "generations" in result.rankings.columns and inference.get("method", "samples") == "samples":
            chosen = tuple(_Reader(result, domain).users())
            candidates = result.summary.protocol.candidates
            return Examples(name, inference["sampling"]["n"], candidates, EACH, chosen)
    return None


class _Reader:
    """Reads users of one result; the grounding is made again from the texts that were kept, without a model."""

    def __init__(self, result: Result, domain: Domain) -> None:
        settings: Mapping[str, Any] = result.summary.settings
        template = TextSettings.model_validate(settings["training"]["plan"]["text"])
        inference = settings["inference"]
        self._result = result
        self._catalogue: Catalogue = domain.catalogue_with_texts(ItemText(template))
        self._index = Bm25Index(self._catalogue.texts, Bm25Settings.model_validate(inference["bm25"]))
        self._epsilon: float = inference["epsilon"]
        self._histories = {e.user_id: e.history for e in domain.split(result.summary.protocol.split)}

    def users(self) -> Iterator[ExampleUser]:
        for kind, belongs in _KINDS:
            rows = (row for row in self._result.rankings.iter_rows(named=True) if belongs(row["rank_by_id"]))
            for row in islice(rows, EACH):
                yield self._user(kind, row)

    def _user(self, kind: str, row: Mapping[str, Any]) -> ExampleUser:
        history, written = self._histories[row["user_id"]], row["generations"]
        return ExampleUser(
            kind=kind,
            user_id=row["user_id"],
            history=tuple(map(self._text, history[-PURCHASES:])),
            earlier=max(len(history) - PURCHASES, 0),
            written=tuple(
                Written(w["text"], w["log_prob"], w["count"], w["exact"], w["target"]) for w in written[:TEXTS]
            ),
            more=max(len(written) - TEXTS, 0),
            target=self._text(row["target"]),
            rank=row["rank_by_id"],
            places=tuple(self._places(row)),
        )

    def _places(self, row: Mapping[str, Any]) -> Iterator[Place]:
        texts = [Generation(w["text"], (), w["log_prob"], w["count"]) for w in row["generations"]]
        grounding = Grounding(self._index, texts, self._epsilon) if texts else None
        for rank, item_id in enumerate(row["top_items"], start=1):
            if rank <= PLACES or item_id == row["target"]:
                trace = grounding.trace(self._catalogue.positions[item_id]) if grounding else None
                parts = _parts(self._text(item_id), trace.words if trace else ())
                yield Place(rank, item_id, tuple(parts), trace, item_id == row["target"])

    def _text(self, item_id: str) -> str:
        return self._catalogue.texts[self._catalogue.positions[item_id]]


def _parts(text: str, shared: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The text cut at spaces; a piece with a shared word is True."""
    for piece in text.split(" "):
        yield piece, not set(words(piece)).isdisjoint(shared)
