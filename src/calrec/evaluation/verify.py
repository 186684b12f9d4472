"""Whether a result is what its rankings say, and whether its rankings can be of the domain it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calrec.data.store import Domain
from calrec.evaluation.beyond import beyond_accuracy
from calrec.evaluation.protocol import protocol_of, users_hash
from calrec.evaluation.result import RESULT, Result, means, unranked
from calrec.evaluation.slices import slices_of
from calrec.records import Example

_TOLERANCE = 1e-9


def faults(result: Result, domain: Domain | None = None) -> list[str]:
    """Every difference between what a result says and what its rankings give; none for an honest result.

    Args:
        result: as it was read.
        domain: where it is at hand, the split, the users and the targets are checked against it, and every slice.
    """
    said, users = result.summary, result.rankings["user_id"].to_list()
    found = [] if said.protocol_hash == said.protocol.hash else ["protocol_hash is not that of the protocol"]
    found += _differing("metrics", said.metrics.model_dump(), means(result.rankings).model_dump())
    found += _differing(RESULT, {"unranked": said.unranked}, {"unranked": unranked(result.rankings)})
    of_users = said.protocol.model_dump(include={"users", "users_hash"})
    found += _differing("protocol", of_users, {"users": len(users), "users_hash": users_hash(users)})
    found += _misplaced(result)
    return found if domain is None else found + _against(result, domain)


def _differing(place: str, claimed: Mapping[str, Any], true: Mapping[str, Any]) -> list[str]:
    """What is claimed otherwise than the rankings give it, claimed without them, or not claimed; below ``place``."""
    found = []
    for name in dict.fromkeys((*true, *claimed)):
        where = f"{place}.{name}"
        if name not in claimed or name not in true:
            found.append(f"{where} is {'missing' if name in true else 'claimed, and the rankings do not give it'}")
            continue
        given, value = claimed[name], true[name]
        if isinstance(value, Mapping):
            found += _differing(where, given, value)
        elif given != value and not _near(given, value):
            found.append(f"{where} is {given}, and the rankings give {value}")
    return found


def _near(given: Any, value: Any) -> bool:
    return isinstance(given, float) and isinstance(value, float) and abs(given - value) <= _TOLERANCE


def _misplaced(result: Result) -> list[str]:
    """Ranks that the stored best items contradict."""
    kept = max(map(len, result.rankings["top_items"]), default=0)
    found = []
    for row in result.rankings.iter_rows(named=True):
        items, rank = row["top_items"], row["rank_by_id"]
        place = items.index(row["target"]) + 1 if row["target"] in items else 0
        # A list shorter than the others is a whole ranking: nothing stands behind it.
        beyond = rank > len(items) == kept
        if place != rank and not (place == 0 and (rank == 0 or beyond)):
            found.append(f"user {row['user_id']}: rank_by_id is {rank}, and the target stands at {place or 'no place'}")
    return found


def _against(result: Result, domain: Domain) -> list[str]:
    said = result.summary.protocol
    users = result.rankings["user_id"].to_list()
    found = [f"domain: {text}" for text in said.differences(protocol_of(domain, said.split, users, said.exclude_last))]
    if found:
        return found
    by_user = {example.user_id: example for example in domain.split(said.split)}
    examples = [by_user[user] for user in users if user in by_user]
    targets = result.rankings["target"].to_list()
    if [example.target for example in examples] != targets:
        return ["the targets are not those of the domain's split"]
    known = domain.catalogue.positions
    strange = [item_id for items in result.rankings["top_items"] for item_id in items if item_id not in known]
    if strange:
        return [f"{strange[0]} is ranked, and is no item of the domain ({len(strange)} such places)"]
    found += _excluded(result, examples) + _misplaced_texts(result, domain)
    claimed = result.summary.model_dump(include={"slices", "beyond"})
    slices = slices_of(domain, examples).items()
    true = {name: means(result.rankings.filter(members)).model_dump() for name, members in slices}
    found += _differing("slices", claimed["slices"], true)
    return found + _differing("beyond", claimed["beyond"], beyond_accuracy(result.rankings, domain))


def _excluded(result: Result, examples: Sequence[Example]) -> list[str]:
    """Rankings with an item that the protocol takes out."""
    if not result.summary.protocol.exclude_last:
        return []
    tops = result.rankings["top_items"].to_list()
    return [
        f"user {example.user_id}: the history's last item {example.history[-1]} is ranked"
        for example, items in zip(examples, tops, strict=True)
        if example.history[-1] in items
    ]


def _misplaced_texts(result: Result, domain: Domain) -> list[str]:
    """Ranks by text that the stored best items contradict."""
    groups, positions = domain.text_groups, domain.catalogue.positions
    found = []
    for row in result.rankings.iter_rows(named=True):
        texts = list(dict.fromkeys(int(groups[positions[item_id]]) for item_id in row["top_items"]))
        target, rank = int(groups[positions[row["target"]]]), row["rank_by_text"]
        place = texts.index(target) + 1 if target in texts else 0
        if place != rank and (place or 1 <= rank <= len(texts)):
            found.append(f"user {row['user_id']}: rank_by_text is {rank}, and the text stands at {place or 'no place'}")
    return found
