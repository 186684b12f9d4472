import pytest

from calrec.data.sources import open_source
from calrec.errors import DataError


def test_what_is_not_there():
    with pytest.raises(DataError, match=r"nowhere does not exist: give a folder, .*journey:PASTRY, or ml-100k"):
        open_source("nowhere")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found nothing for the items"),
        (["notes.txt"], "found nothing for the items"),
        (["a.inter"], "found nothing for the items"),
        (["a.item"], "found nothing for the interactions"),
        (["a.inter", "a.item", "b.item"], "found a.item, b.item for the items"),
        (["meta_a.json", "a.json", "a_5.json"], "found a.json, a_5.json for the interactions"),
    ],
)
def test_a_folder_that_does_not_tell(tmp_path, names, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)
