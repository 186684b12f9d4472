import gzip
from pathlib import Path

import pytest

from calrec.data.prepare import prepare
from calrec.data.sources import SourceOptions, open_source
from calrec.errors import DataError

SHARED = Path(__file__).parents[4] / "shared" / "data"
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\t1\t5\t3\nu\t2\t4\t1.5\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\tclass:token_seq\trelease_year:token\n"
    '1\tSay "Hi" &amp; go\tDrama\t1995\n2\t\t\t\n'
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "films.inter").write_text(INTER)
    (tmp_path / "films.item").write_text(ITEM)
    return tmp_path


def test_names_and_types(folder):
    source = open_source(folder)
    assert (source.name, source.form) == ("films", "atomic")
    assert source.items.columns == ["item_id", "title", "category", "year"]
    assert source.items.rows() == [("1", 'Say "Hi" & go', "Drama", "1995"), ("2", "", "", "")]
    assert source.interactions.rows() == [("u", "1", 3.0, 5.0), ("u", "2", 1.5, 4.0)]
    assert set(source.files) == {"films.inter", "films.item"}
    assert source.text_attributes == ("title", "category")


def test_gzipped(folder):
    plain = open_source(folder)
    for path in list(folder.iterdir()):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    zipped = open_source(folder)
    assert zipped.items.equals(plain.items)
    assert zipped.interactions.equals(plain.interactions)
    assert zipped.name == "films"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("films.inter", INTER.replace("timestamp", "time"), r"films.inter has no column 'timestamp' \(it has"),
        ("films.item", ITEM.replace("movie_title", "label"), r"films.item has no column 'title'"),
        ("films.inter", INTER.replace("1.5", "noon"), r"films.inter: row 2: timestamp is 'noon'"),
        ("films.inter", INTER.replace("u\t2", "\t2"), r"films.inter: row 2: user_id is empty"),
        (
            "films.inter",
            INTER + "u\t1\t5\t3\t4\t5\n",
            r"films.inter: line 4 has 6 fields, and the first line names 4: take",
        ),
        ("films.item", "", r"films.item is empty: give a file that has rows"),
        ("films.item", ITEM + "\tnameless\t\t\n", r"films.item: 1 items have no id"),
    ],
)
def test_what_is_wrong_is_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        open_source(folder)
    assert "\n" not in str(error.value)


def test_other_names_and_separators(folder):
    """The options that RecBole's own settings stand for; each is named where it is needed."""
    (folder / "films.inter").write_text(INTER.replace("user_id", "session_id").replace("\t", ","))
    (folder / "films.item").write_text(
        ITEM.replace("movie_title", "label").replace("item_id", "film").replace("\t", ",")
    )
    given = {}
    for message, fix in (
        (r"films.inter: its columns stand between ',': add --separator ','", {"separator": ","}),
        (r"films.inter has no column 'user_id' .*: name it with --user-column", {"user_column": "session_id"}),
        (r"films.item has no column 'item_id', 'title' .* --items-item-column, --title-column",
         {"items_item_column": "film", "title_column": "label"}),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            open_source(folder, SourceOptions(**given))
        given |= fix
    source = open_source(folder, SourceOptions(**given))
    assert source.interactions["user_id"].to_list() == ["u", "u"]
    assert source.items["title"].to_list() == ['Say "Hi" & go', ""]
    assert source.items.columns == ["item_id", "title", "category", "year"]


def test_a_split_made_beforehand_is_joined_where_its_files_are_named(folder):
    header, *rows = INTER.splitlines(keepends=True)
    (folder / "films.inter").unlink()
    for part, row in zip(("train", "test"), rows, strict=True):
        (folder / f"films.{part}.inter").write_text(header + row)
    with pytest.raises(
        DataError, match=r"found films.test.inter, films.train.inter for the interactions, .*: name those"
    ):
        open_source(folder)
    source = open_source([folder / "films.train.inter", folder / "films.test.inter"])
    assert source.interactions["item_id"].to_list() == ["1", "2"]


def test_broken_gzip(folder):
    (folder / "films.inter").rename(folder / "films.inter.gz")
    with pytest.raises(DataError, match=r"films.inter.gz is not gzip though its name says so"):
        open_source(folder)
    (folder / "films.inter.gz").write_bytes(gzip.compress(INTER.encode())[:-20])
    with pytest.raises(DataError, match=r"films.inter.gz ends too early"):
        open_source(folder)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data, which only developers have")
@pytest.mark.parametrize(
    ("name", "users", "items", "interactions"),
    [("Industrial_and_Scientific", 3271, 3686, 21731), ("Video_Games", 50546, 16859, 440264)],
)
def test_published_splits(tmp_path, name, users, items, interactions):
    last = prepare(SHARED / name, tmp_path / name).manifest.counts[-1]
    assert (last.users, last.items, last.interactions) == (users, items, interactions)
