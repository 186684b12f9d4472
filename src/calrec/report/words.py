"""What a page says in words: metrics, the protocol, what a comparison came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calrec.evaluation.protocol import Protocol
from calrec.metrics import PairedTest
from calrec.report.ledger import MAIN, Comparison

#: Below it, a difference counts as one.
LEVEL = 0.05
_LONGEST = 26
# One of the slices that part all users -> what they are parted by.
_PARTED_BY = {
    "1 to 4 times": "purchases of the item in training",
    "3 to 5": "length of the history",
    "target not bought before": "whether the user had bought the item before",
    "target's text is its own": "whether another item has its text",
}


def metric_name(metric: str) -> str:
    """``Recall@10`` for ``recall@10``; the others are abbreviations."""
    return metric.capitalize() if metric.startswith("recall") else metric.upper()


def shortened(name: str) -> str:
    """A name that fits beside a plot: the end of a long one, where names differ."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def stage_name(stage: str) -> str:
    """``Stage one`` for ``stage-one``."""
    return stage.replace("-", " ").capitalize()


def parted_by(groups: Sequence[str]) -> str:
    """By what users are parted into slices; the slices themselves where that is not known."""
    return next((f"by {what}" for group, what in _PARTED_BY.items() if group in groups), f"in {listed(groups)}")


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def counted(number: int, thing: str) -> str:
    """``1 user``, ``1,000 users``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def protocol_in_words(protocol: Protocol) -> list[str]:
    """What every method of a comparison was asked, as sentences."""
    last = {"train": "two before the last", "valid": "one before the last", "test": "last"}[protocol.split]
    twice = ", since the data has no item twice in a row" if protocol.filters.drop_consecutive else ""
    excluded = (
        f"The item bought just before is taken out of every ranking{twice}; the other items of the history stay in it."
        if protocol.exclude_last
        else "No item of the history is taken out of the ranking."
    )
    texts = listed(protocol.text_attributes)
    merged = (
        f"items with the same {texts} were made one"
        if protocol.filters.identical_texts == "merge"
        else f"items with the same {texts} are kept apart"
    )
    core = f", users and items with fewer than {k} purchases were dropped" if (k := protocol.filters.k_core) > 1 else ""
    users, items = counted(protocol.users, "user"), counted(protocol.candidates, "item")
    return [
        f"For each of {users} of {protocol.domain}, every method got the purchases so far and ranked all {items} of "
        f"the catalogue. The one item to be found is what the user really bought next, the {last} of the sequence.",
        excluded,
        "A user whose item a method does not rank counts as a miss. Equal scores are ordered by item id.",
        "Methods may learn from every user's sequence without its last two items.",
        f"In making the data, {merged}{core}; a user has {protocol.filters.min_length} items or more.",
    ]


def finding(comparison: Comparison, tests: Mapping[str, tuple[PairedTest, float]]) -> str:
    """What the tests by ``MAIN`` say, in a sentence or three."""
    metrics = comparison.results[0].summary.metrics
    error = metrics.by_id_error[MAIN]
    spread = "" if error is None else f" ± {error:.4f}"
    reached = f"{metrics.by_id[MAIN]:.4f}{spread}."
    if not tests:
        return f"{comparison.names[0]} reaches {metric_name(MAIN)} {reached}"
    others = [(name, tests[str(result.path)][1]) for name, result in comparison if str(result.path) in tests]
    worse = [name for name, p_value in others if p_value < LEVEL]
    alike = [name for name, p_value in others if p_value >= LEVEL]
    parts = [f"{comparison.names[0]} has the highest {metric_name(MAIN)}: {reached}"]
    if worse:
        parts.append(f"It is significantly better than {listed(worse)}.")
    if alike:
        parts.append(f"The data does not tell {listed(alike)} apart from it.")
    return " ".join(parts)


#: Numbers beyond accuracy: name in a result -> heading, what it says, whether it is a share.
BEYOND = {
    "coverage": ("coverage", "share of the catalogue that is among somebody's ten best items", True),
    "popularity": (
        "popularity",
        "how often the ten best items were bought in training, over how often the items to be found were: above 1, the "
        "method favours what is popular more than people do",
        False,
    ),
    "distinct": ("distinct texts", "different texts that the model wrote for a user, on average", False),
    "exact": ("exact texts", "share of the samples that are an item's text, word for word", True),
    "invalid": ("invalid texts", "share of the samples without a text, or cut off before their end", True),
    "target written": (
        "item written",
        "share of the users for whom the text of the item to be found is among those that the model wrote",
        True,
    ),
    "target lost": (
        "written, lost",
        "share of the users for whom it is, and yet no item with this text is among the ten best",
        True,
    ),
}
