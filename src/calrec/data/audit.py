"""What is wrong or suspicious in a domain, and how far its texts can tell the items apart."""

from __future__ import annotations

import numpy as np
import polars as pl

from calrec.data.sources.times import FIRST_DATE, shown, unit_of
from calrec.data.store import Domain
from calrec.settings import Settings


class Audit(Settings):
    """Shares are of 1; an interaction is a place in a sequence; a target is the last place, which tests.

    Attributes:
        users: in the domain.
        items: in the catalogue.
        interactions: in all sequences.
        mean_length: of a sequence.
        first_time: the earliest, as a date in UTC where it can be one, or as the number that it is.
        last_time: the latest.
        items_never_bought: items of the catalogue that nobody bought.
        consecutive_repeats: interactions with the item just before them; these reward copying.
        repeats: share of interactions with an item that the user had before.
        shared_times: share of interactions at the same time as another of the user's.
        ties: the rule that ordered interactions at equal times.
        targets_tied: share of targets at the same time as the item before: here the rule for ties chose the target.
        targets_seen_before: share of targets that the user had bought before.
        targets_never_trained: share of targets that are in no training sequence.
        users_out_of_order: users whose times go back.
        unknown_items: interactions with items that the catalogue does not have.
        times_are_positions: whether the times only number the interactions, so that they cannot be compared.
        training_after_target: mean share of all training interactions that are later than a target, which
            leave-one-out allows; None where times cannot be compared.
        items_sharing_text: items that read the same as another.
        largest_text_group: most items with one text.
        targets_with_unique_text: share of targets that no other item reads the same as.
        best_recall_at_1: by item id, of a method that always names the right text and draws among its items.
    """

    users: int
    items: int
    interactions: int
    mean_length: float
    first_time: str
    last_time: str
    items_never_bought: int
    consecutive_repeats: int
    repeats: float
    shared_times: float
    ties: str
    targets_tied: float
    targets_seen_before: float
    targets_never_trained: float
    users_out_of_order: int
    unknown_items: int
    times_are_positions: bool
    training_after_target: float | None
    items_sharing_text: int
    largest_text_group: int
    targets_with_unique_text: float
    best_recall_at_1: float

    @property
    def faults(self) -> tuple[str, ...]:
        """What breaks a measurement on this domain."""
        found = {
            f"{self.unknown_items} interactions have items that the catalogue lacks": self.unknown_items,
            f"{self.users_out_of_order} users' times go back: later items leak into histories": self.users_out_of_order,
        }
        return tuple(text for text, number in found.items() if number)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before numbers are compared."""
        found = {
            f"{self.consecutive_repeats} interactions repeat the one before: copying the last item is rewarded": (
                self.consecutive_repeats > 0
            ),
            f"{self.targets_tied:.0%} of the targets were chosen by the rule for equal times, {self.ties}"
            f"{'' if self.ties == 'hash' else ', which methods may find: compare with --ties hash'}": (
                self.targets_tied > 0.05
            ),
            f"{self.targets_seen_before:.0%} of the targets were bought before: compare with the user's own items": (
                self.targets_seen_before > 0.1
            ),
            f"{self.targets_never_trained:.0%} of the targets are in no training sequence": (
                self.targets_never_trained > 0.05
            ),
            f"{self.items_sharing_text} items read the same as another: compare by text, too": (
                self.items_sharing_text > 0
            ),
        }
        return tuple(text for text, holds in found.items() if holds)


def audit(domain: Domain) -> Audit:
    """Measure a domain; nothing is changed."""
    places = _places(domain)
    targets = places.filter(pl.col("from_end") == 1)
    training = places.filter(pl.col("from_end") > 2)
    _, group, sizes = np.unique(domain.text_groups, return_inverse=True, return_counts=True)
    size_of = domain.items.select("item_id", size=pl.Series(sizes[group], dtype=pl.Float64))
    target_sizes = targets.join(size_of, on="item_id", how="left")["size"]
    # Real clocks do not start for everybody at once, and long after 1970.
    started = places.filter(pl.col("last_time").is_null())["time"].n_unique() == 1
    positions = domain.manifest.ordered or (started and float(places["time"].max()) < FIRST_DATE)  # type: ignore[arg-type]
    first_time, last_time = time_span(domain)
    return Audit(
        users=domain.sequences.height,
        items=domain.items.height,
        interactions=places.height,
        mean_length=places.height / domain.sequences.height,
        first_time=first_time,
        last_time=last_time,
        items_never_bought=domain.items.join(places, on="item_id", how="anti").height,
        consecutive_repeats=places.filter(pl.col("item_id") == pl.col("last_item")).height,
        repeats=_share(places["seen_before"]),
        shared_times=_share(places.select(pl.struct("user_id", "time").is_duplicated()).to_series()),
        ties=domain.manifest.settings.ties,
        targets_tied=targets_tied(domain),
        targets_seen_before=_share(targets["seen_before"]),
        targets_never_trained=_share(~targets["item_id"].is_in(training["item_id"].implode())),
        users_out_of_order=places.filter(pl.col("time") < pl.col("last_time"))["user_id"].n_unique(),
        unknown_items=places.join(domain.items, on="item_id", how="anti").height,
        times_are_positions=positions,
        training_after_target=None if positions else _share_after(training["time"], targets["time"]),
        items_sharing_text=int((sizes[group] > 1).sum()),
        largest_text_group=int(sizes.max()),
        targets_with_unique_text=_share(target_sizes == 1),
        best_recall_at_1=float((1 / target_sizes).mean() or 0),  # type: ignore[arg-type]
    )


def time_span(domain: Domain) -> tuple[str, str]:
    """The first and the last time, as people read them."""
    times = domain.sequences["timestamps"].explode()
    ticks = unit_of(times)
    return shown(times.min(), ticks), shown(times.max(), ticks)  # type: ignore[arg-type]


def targets_tied(domain: Domain) -> float:
    """Share of targets at the same time as the item before."""
    times = pl.col("timestamps").list
    return _share(domain.sequences.select(times.get(-1) == times.get(-2)).to_series())


def _places(domain: Domain) -> pl.DataFrame:
    """One row a place of a sequence: item, time, what stood before it, and how far it is from the end (1 is last)."""
    return (
        domain.sequences.rename({"item_ids": "item_id", "timestamps": "time"})
        .explode("item_id", "time")
        .with_columns(
            from_end=pl.int_range(pl.len(), 0, -1).over("user_id"),
            last_item=pl.col("item_id").shift(1).over("user_id"),
            last_time=pl.col("time").shift(1).over("user_id"),
            seen_before=~pl.struct("user_id", "item_id").is_first_distinct(),
        )
    )


def _share(holds: pl.Series) -> float:
    return float(holds.fill_null(value=False).sum()) / len(holds)


def _share_after(training: pl.Series, targets: pl.Series) -> float:
    """Mean over the targets of the share of training times that are later."""
    times = np.sort(training.to_numpy())
    if not len(times):
        return 0.0
    return float(1 - np.searchsorted(times, targets.to_numpy(), side="right").mean() / len(times))
