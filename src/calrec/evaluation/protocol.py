"""What has to be equal for two results to be comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from calrec.data.filters import FilterSettings
from calrec.data.store import Domain
from calrec.settings import Settings


class Protocol(Settings):
    """Everything about an evaluation but the method.

    Attributes:
        domain: name of the domain. split_hash: of its items and sequences. filters: what its making left out, and how
            ties in time were ordered. text_attributes: those by which items count as identical.
        split: which targets are to be found.
        users: how many users are evaluated. users_hash: of their ids, in order.
        candidates: items that are ranked: all of the catalogue.
        exclude_last: whether a history's last item is taken out of the ranking.
        filter_seen: whether the other items of the history are.
        ties: how equal scores are ordered.
        identity: what makes items one: each result is given by item id and by item text.
        learnt_from: what a method may learn from.
    """

    domain: str
    split_hash: str
    filters: FilterSettings
    text_attributes: tuple[str, ...]
    split: Literal["train", "valid", "test"]
    users: int
    users_hash: str
    candidates: int
    exclude_last: bool
    filter_seen: Literal[False] = False
    ties: Literal["score, then item id"] = "score, then item id"
    identity: Literal["id and text"] = "id and text"
    learnt_from: Literal["sequences without their last two items"] = "sequences without their last two items"

    @property
    def hash(self) -> str:
        """SHA-256 of all fields, in hex."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def differences(self, other: Protocol) -> list[str]:
        """The fields in which two protocols differ, with both values."""
        mine, theirs = _flat(self.model_dump()), _flat(other.model_dump())
        differing = [name for name in mine if mine[name] != theirs[name]]
        return [f"{name}: {_shown(name, mine)} and {_shown(name, theirs)}" for name in differing]


def _shown(name: str, fields: Mapping[str, Any]) -> str:
    """Of a hash as much as a person compares."""
    return str(fields[name])[:12] if name.endswith("hash") else str(fields[name])


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, those of the filters by names of their own."""
    filters = {f"filters.{name}": value for name, value in fields["filters"].items()}
    return {name: value for name, value in fields.items() if name != "filters"} | filters


def protocol_of(
    domain: Domain, split: Literal["train", "valid", "test"], user_ids: Sequence[str], exclude_last: bool | None
) -> Protocol:
    """The protocol of evaluating some users of a domain; None leaves ``exclude_last`` to how the domain was built."""
    return Protocol(
        domain=domain.name,
        split_hash=domain.split_hash,
        filters=domain.manifest.settings,
        text_attributes=domain.manifest.text_attributes,
        split=split,
        users=len(user_ids),
        users_hash=users_hash(user_ids),
        candidates=len(domain.catalogue),
        exclude_last=domain.exclude_last if exclude_last is None else exclude_last,
    )


def users_hash(user_ids: Sequence[str]) -> str:
    """SHA-256 of user ids in their order, in hex."""
    return hashlib.sha256("\x1f".join(user_ids).encode("utf-8", "surrogatepass")).hexdigest()
