"""Whether a result is what its rankings say, and whether its rankings can be of the domain it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calrec.data.store import Domain
from calrec.errors import DataError
from calrec.evaluation.beyond import GENERATIONS, beyond_accuracy
from calrec.evaluation.protocol import protocol_of, users_hash
from calrec.evaluation.result import RESULT, Result, means, rankings_hash, unranked
from calrec.evaluation.run import ranked, sample_users
from calrec.evaluation.slices import slices_of
from calrec.evaluation.unseen import other_versions
from calrec.protocol import Recommender
from calrec.records import Example
from calrec.text.item_text import ItemText, template_of

_TOLERANCE = 1e-9
# Differences that an error names.
_NAMED = 3
# Users who are ranked again together.
_TOGETHER = 32


def require_verified(result: Result, domain: Domain | None = None, again: Recommender | None = None) -> None:
    """Refuse a result that is not what its rankings say. Arguments as for `faults`.

    Raises:
        DataError: it is not; the first differences are named.
    """
    if found := faults(result, domain, again):
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise DataError(
            f"{result.path} does not verify: {'; '.join(found[:_NAMED])}{more}; evaluate again, or move it away"
        )


def faults(result: Result, domain: Domain | None = None, again: Recommender | None = None) -> list[str]:
    """Every difference between what a result says and what its rankings give; none for an honest result.

    Args:
        result: as it was read.
        domain: where it is at hand, the split, the users and the targets are checked against it, every slice, and which
            texts are items'.
        again: with the domain, what gives the very same scores once more.
    """
    said, users = result.summary, result.rankings["user_id"].to_list()
    found = [] if said.protocol_hash == said.protocol.hash else ["protocol_hash is not that of the protocol"]
    if said.rankings_hash != rankings_hash(result.rankings):
        found += ["rankings_hash is not that of the rankings"]
    found += _differing("metrics", said.metrics.model_dump(), means(result.rankings).model_dump())
    found += _differing(RESULT, {"unranked": said.unranked}, {"unranked": unranked(result.rankings)})
    of_users = said.protocol.model_dump(include={"users", "users_hash"})
    found += _differing("protocol", of_users, {"users": len(users), "users_hash": users_hash(users)})
    found += _misplaced(result)
    if domain is None:
        return found
    found += _against(result, domain)
    return found if again is None or found else _ranked_otherwise(result, domain, again)


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
    of_split = domain.split(said.split)
    examples = sample_users(of_split, len(users)) if len(users) <= len(of_split) else []
    if [example.user_id for example in examples] != users:
        return [f"the users are neither all of the domain's nor its fixed sample of {len(users)}"]
    targets = result.rankings["target"].to_list()
    if [example.target for example in examples] != targets:
        return ["the targets are not those of the domain's split"]
    known = domain.catalogue.positions
    strange = [item_id for items in result.rankings["top_items"] for item_id in items if item_id not in known]
    if strange:
        return [f"{strange[0]} is ranked, and is no item of the domain ({len(strange)} such places)"]
    found += _learnt_otherwise(result, domain)
    found += _excluded(result, examples) + _misplaced_texts(result, domain) + _mismarked(result, domain)
    claimed = result.summary.model_dump(include={"slices", "beyond"})
    slices = slices_of(domain, examples).items()
    true = {name: means(result.rankings.filter(members)).model_dump() for name, members in slices}
    found += _differing("slices", claimed["slices"], true)
    return found + _differing("beyond", claimed["beyond"], beyond_accuracy(result.rankings, domain))


def _learnt_otherwise(result: Result, domain: Domain) -> list[str]:
    """Another version of the domain that the method was trained on, where nothing is known of the purchases.

    Where they are known, the evaluation looked for the targets among them.
    """
    settings = result.summary.settings
    others = [] if settings.get("learnt") else other_versions(settings.get("learnt_from", {}), domain)
    return [f"the method learnt the split {known} of {domain.name}" for known in others]


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


def _mismarked(result: Result, domain: Domain) -> list[str]:
    """Texts that are said to be an item's, or the target's, and are not, or the other way round."""
    template = template_of(result.summary.settings)
    if GENERATIONS not in result.rankings.columns or template is None:
        return []
    catalogue = domain.catalogue_with_texts(ItemText(template))
    texts, found = frozenset(catalogue.texts), []
    for user_id, target, written in result.rankings.select("user_id", "target", GENERATIONS).iter_rows():
        wanted = catalogue.texts[catalogue.positions[target]]
        for text in written:
            if text["exact"] != (text["text"] in texts) or text["target"] != (text["text"] == wanted):
                found.append(f"user {user_id}: the marks of the text {text['text']!r} are not those of the catalogue")
    return found


def _ranked_otherwise(result: Result, domain: Domain, again: Recommender) -> list[str]:
    """Users whom a recommender ranks otherwise than the result has it."""
    said, rankings = result.summary.protocol, result.rankings
    examples = sample_users(domain.split(said.split), len(rankings))
    kept = max(map(len, rankings["top_items"]), default=0)
    found = []
    for start in range(0, len(examples), _TOGETHER):
        anew = ranked(again, domain, said, examples[start : start + _TOGETHER], kept)
        had = rankings.slice(start, _TOGETHER).select(anew.columns)
        pairs = zip(anew.iter_rows(named=True), had.iter_rows(named=True), strict=True)
        found += [f"user {one['user_id']}: the texts give another ranking" for one, other in pairs if one != other]
    return found
