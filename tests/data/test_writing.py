from pathlib import Path

import pytest

from calrec.data.writing import beside, take_place, writing
from calrec.errors import DataError


def fill(target, text):
    with beside(target) as fresh:
        (fresh / "text").write_text(text)
        take_place(fresh, target)


@pytest.fixture
def shelf(tmp_path):
    """A folder whose only entry is the target, with the text "old"."""
    fill(tmp_path / "shelf" / "target", "old")
    return tmp_path / "shelf"


def test_the_new_takes_the_place_of_the_old_and_nothing_else_is_left(shelf):
    fill(shelf / "target", "new")
    assert [path.name for path in shelf.iterdir()] == ["target"]
    assert (shelf / "target" / "text").read_text() == "new"


@pytest.mark.parametrize("refused", ["old", "target"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_an_error_while_they_change_places_leaves_the_old(shelf, monkeypatch, refused, error):
    """Be it the old that cannot leave its place, or the new that cannot take it."""
    rename = Path.rename

    def fails_once(self, target):
        if target.name == refused:
            monkeypatch.undo()
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else DataError):
        fill(shelf / "target", "new")
    assert [path.name for path in shelf.iterdir()] == ["target"]
    assert (shelf / "target" / "text").read_text() == "old"


def test_what_is_not_given_away_goes(shelf):
    with beside(shelf / "target") as fresh:
        (fresh / "text").write_text("new")
    assert [path.name for path in shelf.iterdir()] == ["target"]
    assert (shelf / "target" / "text").read_text() == "old"


def test_an_error_names_the_place_and_the_mend(tmp_path):
    for error, said in (
        (OSError(28, "No space left on device"), "No space left on device: make room there, or choose another --out"),
        (PermissionError(13, "Permission denied"), "Permission denied: choose another --out"),
    ):
        with pytest.raises(DataError) as raised, writing(tmp_path):
            raise error
        assert str(raised.value) == f"{tmp_path} cannot be written: {said}"


def test_a_place_under_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"target cannot be written: (Not a directory|File exists): choose another"):
        fill(tmp_path / "file" / "target", "new")
