"""Whether a result is what its rankings say, and whether its rankings can be of the domain it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calrec.data.store import Domain
from calrec.evaluation.beyond import beyond_accuracy
from calrec.evaluation.protocol import protocol_of
from calrec.evaluation.result import RANKINGS, Means, Result, means
from calrec.evaluation.slices import slices_of
from calrec.records import Example

_TOLERANCE = 1e-9


def faults(result: Result, domain: Domain | None = None) -> list[str]:
    """Every difference between what a result says and what its rankings give; none for an honest result.

    Args:
        result: as it was read.
        domain: where it is at hand, the split, the users and the targets are checked against it, and every slice.
    """
    said = result.summary
    found = [] if said.protocol_hash == said.protocol.hash else ["protocol_hash is not that of the protocol"]
    if said.metrics.users != len(result.rankings):
        return [*found, f"{said.metrics.users} users are claimed, and {RANKINGS} has {len(result.rankings)}"]
    found += _differing("metrics", said.metrics, means(result.rankings))
    found += _misplaced(result)
    return found if domain is None else found + _against(result, domain)


def _differing(place: str, claimed: Means, true: Means) -> list[str]:
    columns = ("by_id", "by_id_error", "by_text", "by_text_error")
    parts = [_differing_numbers(f"{place}.{c}", getattr(claimed, c), getattr(true, c)) for c in columns]
    return [fault for part in parts for fault in part]


def _differing_numbers(place: str, claimed: Mapping[str, float | None], true: Mapping[str, float | None]) -> list[str]:
    found = []
    for name, value in true.items():
        given = claimed.get(name)
        equal = given == value if value is None or given is None else abs(given - value) <= _TOLERANCE
        if not equal:
            found.append(f"{place}.{name} is {given}, and the rankings give {value}")
    return found


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
    found += _excluded(result, examples) + _misplaced_texts(result, domain)
    for name, members in slices_of(domain, examples).items():
        claimed, true = result.summary.slices.get(name), means(result.rankings.filter(members))
        found += [f"slice {name!r} is missing"] if claimed is None else _differing(f"slices.{name}", claimed, true)
    return found + _differing_numbers("beyond", result.summary.beyond, beyond_accuracy(result.rankings, domain))


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
