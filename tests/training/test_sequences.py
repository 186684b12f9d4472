"""Windows: every target once, none from validation or test, and no window longer than it may be."""

from collections import Counter

import pytest

from calrec.training.sequences import all_target_windows, training_windows


@pytest.mark.parametrize("max_history", [1, 2, 3, 20])
def test_every_item_but_the_first_is_a_target_exactly_once(make_view, tiny_domain, max_history):
    view = make_view(max_history=max_history)
    histories = tiny_domain.training_sequences()
    windows = all_target_windows(view, histories)
    found = Counter(
        (window.user_id, int(column)) for window in windows for column in window.sequence.items[window.first_target :]
    )
    wanted = Counter(
        (history.user_id, view.positions[item_id]) for history in histories for item_id in history.item_ids[1:]
    )
    assert found == wanted
    assert all(len(window.sequence.items) <= max_history + 1 for window in windows)


def test_what_is_held_out_is_never_trained_on(make_view, tiny_domain):
    view = make_view()
    held_out = {e.user_id: len(e.history) + 1 for e in tiny_domain.split("test")}
    for targets in ("last", "all"):
        windows = training_windows(view, targets, tiny_domain.split("train"), tiny_domain.training_sequences())
        for window in windows:
            assert len(window.sequence.items) <= held_out[window.user_id] - 2
