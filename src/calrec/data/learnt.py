"""Which purchases a model has learnt, kept as hashes: what it is to be tested on must not be among them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from calrec.data.store import Domain
from calrec.errors import DataError
from calrec.protocol import Recommender
from calrec.records import Example

#: The file of a run that holds the hashes.
LEARNT = "learnt.npz"
# Of more purchases those with the lowest hashes are kept, which is a sample of them all: 16 MB.
_MOST = 1 << 20
# Purchases that are hashed at once: texts take more memory than hashes.
_TOGETHER = 1 << 18

Hashes = NDArray[np.uint64]


class Overlap(NamedTuple):
    """How many targets a model has learnt, of those that could be looked for among all."""

    learnt: int
    looked_for: int
    targets: int


@dataclass(frozen=True, eq=False)
class LearntPurchases:
    """Purchases, as hashes: each once, ascending, and of more than a million the lowest.

    Attributes:
        titled: of the user, the item's id and its title, since two shops may use the same numbers.
        numbered: of the user and the item's id alone, since titles may be written otherwise another time.
    """

    titled: Hashes
    numbered: Hashes

    @classmethod
    def of(cls, domains: Iterable[Domain]) -> LearntPurchases:
        """Every user's training items."""
        return cls._of_purchases(purchase for domain in domains for purchase in _training_purchases(domain))

    @classmethod
    def _of_purchases(cls, purchases: Iterable[tuple[str, str, str]]) -> LearntPurchases:
        learnt, left = NOTHING, iter(purchases)
        while hashes := [(_hash(*purchase), _hash(*purchase[:2])) for purchase in islice(left, _TOGETHER)]:
            learnt |= cls(*np.array(hashes, dtype=np.uint64).T)
        return learnt

    def __or__(self, other: LearntPurchases) -> LearntPurchases:
        return LearntPurchases(
            np.union1d(self.titled, other.titled)[:_MOST], np.union1d(self.numbered, other.numbered)[:_MOST]
        )

    def overlaps(self, domain: Domain, examples: Sequence[Example]) -> tuple[Overlap, Overlap]:
        """How many targets are among the purchases, whatever their domains are called: with titles, and without.

        A target that the user's history has as well tells nothing, since it may have been learnt from there.

        Args:
            domain: of the examples.
            examples: users, histories and targets.
        """
        titles = _titles(domain)
        targets = [(e.user_id, e.target, titles[e.target]) for e in examples if e.target not in e.history]
        titled = np.array([_hash(*target) for target in targets], dtype=np.uint64)
        numbered = np.array([_hash(*target[:2]) for target in targets], dtype=np.uint64)
        return _overlap(self.titled, titled), _overlap(self.numbered, numbered)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the hashes, in hex."""
        return sha256(self.titled.tobytes() + self.numbered.tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        np.savez(path, titled=self.titled, numbered=self.numbered)

    @classmethod
    def load(cls, folder: Path) -> LearntPurchases | None:
        """What a run's folder says of the purchases that it learnt; None where it says nothing, as a published one.

        Raises:
            DataError: the file is damaged.
        """
        path = folder / LEARNT
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                titled, numbered = (arrays[name].astype(np.uint64, casting="no") for name in ("titled", "numbered"))
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} cannot be read ({error}): train the run again, or remove the file") from None
        return cls(titled, numbered)


#: Of a model that was trained on no purchases.
NOTHING = LearntPurchases(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64))


@runtime_checkable
class Learnt(Recommender, Protocol):
    """A method that was trained before, on domains that it names."""

    @property
    def learnt_from(self) -> Mapping[str, Sequence[str]]:
        """The name of each domain, and the hash of the split, or hashes, whose training part was learnt."""
        ...

    @property
    def learnt(self) -> LearntPurchases | None:
        """The purchases that were learnt; None where they are not known."""
        ...


def _overlap(learnt: Hashes, targets: Hashes) -> Overlap:
    looked_for = targets[targets <= learnt[-1]] if len(learnt) == _MOST else targets
    return Overlap(int(np.isin(looked_for, learnt).sum()), len(looked_for), len(targets))


def _training_purchases(domain: Domain) -> Iterator[tuple[str, str, str]]:
    titles = _titles(domain)
    for history in domain.training_sequences():
        for item_id in history.item_ids:
            yield history.user_id, item_id, titles[item_id]


def _titles(domain: Domain) -> dict[str, str]:
    return dict(domain.items.select("item_id", "title").iter_rows())


def _hash(*fields: str) -> int:
    text = "\x1f".join(fields).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
