"""Which purchases a model has learnt, kept as hashes: what it is to be tested on must not be among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calrec.data.store import Domain
from calrec.errors import DataError
from calrec.records import Example

#: The file of a run that holds the hashes.
LEARNT = "learnt.npy"
# Of more purchases those with the lowest hashes are kept, which is a sample of them all: 8 MB.
_MOST = 1 << 20


class Overlap(NamedTuple):
    """How many targets a model has learnt, of those that could be looked for."""

    learnt: int
    looked_for: int


def learnt_purchases(domains: Iterable[Domain]) -> NDArray[np.uint64]:
    """Hashes of every user's training items, each once and ascending; see `overlap`."""
    hashes = [
        _hash(history.user_id, item_id, title)
        for domain in domains
        for titles in [_titles(domain)]
        for history in domain.training_sequences()
        for item_id, title in ((item_id, titles[item_id]) for item_id in history.item_ids)
    ]
    return np.unique(np.array(hashes, dtype=np.uint64))[:_MOST]


def overlap(learnt: NDArray[np.uint64], domain: Domain, examples: Sequence[Example]) -> Overlap:
    """How many targets of some examples are among learnt purchases, whatever the domains are called.

    A target that the user's history has as well tells nothing, since it may have been learnt from there.

    Args:
        learnt: from ``learnt_purchases``.
        domain: of the examples.
        examples: users, histories and targets.
    """
    titles = _titles(domain)
    new = [e for e in examples if e.target in titles and e.target not in e.history]
    hashes = np.array([_hash(e.user_id, e.target, titles[e.target]) for e in new], dtype=np.uint64)
    if len(learnt) == _MOST:
        hashes = hashes[hashes <= learnt[-1]]
    return Overlap(int(np.isin(hashes, learnt).sum()), len(hashes))


def load_learnt(folder: Path) -> NDArray[np.uint64] | None:
    """What a run's folder says of the purchases that it learnt; None where it says nothing, as a published one.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / LEARNT
    if not path.is_file():
        return None
    try:
        hashes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}): train the run again, or remove the file") from None
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise DataError(f"{path} holds no hashes of purchases: train the run again, or remove the file")
    return hashes  # type: ignore[no-any-return]


def _titles(domain: Domain) -> dict[str, str]:
    """Numbers that two shops both use for their items do not make one item of two titles."""
    return dict(domain.items.select("item_id", "title").iter_rows())


def _hash(user_id: str, item_id: str, title: str) -> int:
    text = f"{user_id}\x1f{item_id}\x1f{title}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
