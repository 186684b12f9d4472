from hypothesis import given
from hypothesis import strategies as st

from calrec.data.splits import SHORTEST, SPLITS, leave_one_out, training_part

sequences = st.lists(st.text(max_size=3), max_size=8)


def test_the_last_three_places():
    sequence = ["a", "b", "c", "d"]
    assert leave_one_out(sequence, "test") == (("a", "b", "c"), "d")
    assert leave_one_out(sequence, "valid") == (("a", "b"), "c")
    assert leave_one_out(sequence, "train") == (("a",), "b")
    assert training_part(sequence) == ("a", "b")


@given(sequences)
def test_no_split_has_an_empty_history(sequence):
    for split in SPLITS:
        cut = leave_one_out(sequence, split)
        assert cut is None or cut[0]


@given(st.lists(st.text(max_size=3), min_size=SHORTEST, max_size=8))
def test_the_shortest_sequences_test_and_validate(sequence):
    assert leave_one_out(sequence, "test")
    assert leave_one_out(sequence, "valid")


@given(st.integers(0, 9).map(lambda length: [str(place) for place in range(length)]))
def test_targets_never_leak(sequence):
    """Items are their places here, so that an item that leaks is a place that leaks."""
    cuts = {split: leave_one_out(sequence, split) for split in SPLITS}
    for history, target in filter(None, cuts.values()):
        assert all(int(item) < int(target) for item in history)
    for split in ("valid", "test"):
        if cuts[split]:
            assert cuts[split][1] not in training_part(sequence)
    if cuts["train"]:
        assert (*cuts["train"][0], cuts["train"][1]) == training_part(sequence)
