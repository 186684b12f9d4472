"""The records that travel between the rooms: all frozen, none knows a library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Item:
    """A thing that can be bought.

    Attributes:
        item_id: unique in its catalogue.
        attributes: name to value, e.g. ``{"title": …, "brand": …}``; an unknown value is an empty string.
    """

    item_id: str
    attributes: Mapping[str, str]

    @property
    def title(self) -> str:
        return self.attributes.get("title", "")


@dataclass(frozen=True, slots=True)
class History:
    """What a user bought, oldest first. ``user_id`` seeds the user's samples and says whose errors they are."""

    user_id: str
    item_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A history and the item that came next: the unit of training and of evaluation."""

    user_id: str
    history: tuple[str, ...]
    target: str

    def __iter__(self) -> Iterator[object]:
        """So that ``user_id, history, target = example`` works."""
        return iter((self.user_id, self.history, self.target))


@dataclass(frozen=True, slots=True)
class Generation:
    """One distinct text that the model wrote for a user.

    Attributes:
        text: the decoded item text, without the end of the item.
        token_ids: what was drawn, the end of the item included where it was reached.
        log_prob: sum of the model's own log-probabilities (temperature 1) of ``token_ids``, in nats.
        count: how many of the user's samples came out as this text.
        first: number of the first of them, from 0: what the first n samples wrote are the texts with ``first`` below n.
        ended: whether the model ended the item itself; False where it was cut off at the most tokens.
    """

    text: str
    token_ids: tuple[int, ...]
    log_prob: float
    count: int = 1
    first: int = 0
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Trace:
    """Why an item was recommended: the generation that brought it, and how well the two texts match.

    Attributes:
        generation: the text that the model wrote; empty where a fitted ranking has the item from elsewhere.
        log_prob: its log-probability, in nats.
        match: BM25 of the item for that text, scaled to [0, 1] over the catalogue.
        words: the words that both texts have, in the item's order.
        features: of a fitted ranking: what put the item above or below the user's other candidates, largest first.
    """

    generation: str
    log_prob: float
    match: float
    words: tuple[str, ...] = ()
    features: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One place of a ranking; ``rank`` counts from 1; ``trace`` only where the method can say why."""

    item_id: str
    score: float
    rank: int
    text: str
    trace: Trace | None = None


@dataclass(frozen=True)
class Catalogue:
    """The items that can be recommended, in the order of their ids.

    The place of an item in ``items`` is its column in every score matrix, so that ties broken by column are ties
    broken by item id.
    """

    items: tuple[Item, ...]
    texts: tuple[str, ...] = field(repr=False, default=())

    def __post_init__(self) -> None:
        ids = [item.item_id for item in self.items]
        if any(a >= b for a, b in pairwise(ids)):
            raise ValueError("a catalogue's items must be sorted by item_id, each id once")
        if not self.texts:
            object.__setattr__(self, "texts", tuple(item.title for item in self.items))

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(item.item_id for item in self.items)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """item id -> column."""
        return {item_id: position for position, item_id in enumerate(self.ids)}

    def columns(self, item_ids: Sequence[str]) -> list[int]:
        """Columns of the ids that the catalogue knows, in the order given; unknown ids are left out."""
        return [self.positions[item_id] for item_id in item_ids if item_id in self.positions]
