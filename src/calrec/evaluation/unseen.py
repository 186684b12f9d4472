"""Whether a method may be tested on a domain: what it is to find must not be what it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain

from calrec.data.learnt import Learnt, LearntPurchases, Overlap
from calrec.data.splits import Split
from calrec.data.store import Domain
from calrec.errors import ConfigError
from calrec.protocol import Recommender

# Some catalogues share a few purchases, such as categories of one shop with an item in both.
_FEW, _TOLERATED = 2, 0.01
# Two shops that number users and items from 1 share more than a few of such purchases, but not most of them.
_MOST_NUMBERS = 0.5
_MEND = "evaluate it on the data that it was trained on, or train it on these"

logger = logging.getLogger(__name__)


def require_unseen(recommender: Recommender, domain: Domain, split: Split) -> None:
    """Refuse a method that was trained on what it is to find, be it in another version of the domain or elsewhere.

    Args:
        recommender: that may be `Learnt`.
        domain: on which it is to be tested.
        split: all of its targets count, whichever users are drawn.

    Raises:
        ConfigError: it has learnt more than a few of the targets; a few are logged. Or which purchases it has learnt is
            not known, and another version of a domain of this name was among them.
    """
    if not isinstance(recommender, Learnt) or not recommender.learnt_from:
        return
    trained_on_these = domain.split_hash in chain.from_iterable(recommender.learnt_from.values())
    if recommender.learnt is not None:
        _require_no_target(recommender.name, recommender.learnt, domain, split)
    else:
        _require_no_other_version(recommender, domain)
    if not trained_on_these and recommender.learnt is None:
        unknown = "which purchases %s has learnt is not known, nor whether these targets are among them"
        logger.warning(unknown, recommender.name)
    if not trained_on_these:
        logger.warning("%s was not trained on %s: it knows these items by their texts", recommender.name, domain.path)


def other_versions(learnt_from: Mapping[str, Sequence[str]], domain: Domain) -> list[str]:
    """Splits of a domain of this name that are not this one."""
    return [known for known in learnt_from.get(domain.name, ()) if known != domain.split_hash]


def _require_no_target(name: str, learnt: LearntPurchases, domain: Domain, split: Split) -> None:
    titled, numbered = learnt.overlaps(domain, domain.split(split))
    most = titled if titled.learnt >= numbered.learnt else numbered
    told = f"{name} has learnt {most.learnt:,} of {most.looked_for:,} targets of {domain.path}"
    if _more_than(_TOLERATED, titled) or _more_than(_MOST_NUMBERS, numbered):
        raise ConfigError(
            f"{told}: it was trained on another version of these data, or on others with the same purchases; {_MEND}"
        )
    if titled.learnt:
        logger.warning("%s", told)


def _more_than(share: float, overlap: Overlap) -> bool:
    # Where only a part could be looked for, a few of all targets are fewer there.
    few = max(1.0, _FEW * overlap.looked_for / max(1, overlap.targets))
    return overlap.learnt > max(few, share * overlap.looked_for)


def _require_no_other_version(recommender: Learnt, domain: Domain) -> None:
    """All that can be said where purchases are not known, as of a run from a hub: a name is little, but not nothing."""
    name = recommender.name
    if others := other_versions(recommender.learnt_from, domain):
        raise ConfigError(
            f"{name} was trained on another version of {domain.name} (split {others[0][:12]}, and {domain.path} has "
            f"{domain.split_hash[:12]}), in which targets of this one may be training data: {_MEND}"
        )
