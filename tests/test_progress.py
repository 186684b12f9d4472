"""What long work shows of itself."""

import sys

import pytest

from calrec.progress import duration, progress_bar


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.02, "0.02 s"), (8.4, "8 s"), (89, "89 s"), (3060, "51 min"), (7500, "2 h 05 min"), (36000, "10 h 00 min")],
)
def test_durations(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(("terminal", "shown"), [(True, True), (False, False)])
def test_a_log_is_spared_the_bars_of_short_work(capsys, monkeypatch, terminal, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress_bar("users", 3, done=1, stays=True) as bar:
        bar.update(2)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("users" in err) == shown
