import io
import zipfile

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calrec.data.sources import SourceOptions, open_source
from calrec.errors import DataError

BOUGHT = "user_id,item_id,timestamp\nu,1,5\nu,2,6\n"
MORE = "user_id,item_id,timestamp\nv,2,7\nv,1,8\n"
ITEMS = "item_id,title\n1,Pen\n2,Ink\n"
ROWS = [("u", "1", 5), ("u", "2", 6), ("v", "2", 7), ("v", "1", 8)]


@pytest.fixture
def folder(tmp_path):
    """A folder with a file of items beside a folder of two parts, as Spark leaves them."""
    (tmp_path / "products.csv").write_text(ITEMS)
    parts = tmp_path / "buys.csv"
    parts.mkdir()
    for name, text in (("part-0.csv", BOUGHT), ("part-1.csv", MORE), ("_SUCCESS", ""), (".part-0.csv.crc", "?")):
        (parts / name).write_text(text)
    return tmp_path


def test_parts_are_one_table(folder):
    """A folder, a pattern, or all files by name; so may be the items."""
    items = SourceOptions(items=folder / "products.csv")
    for spec in (
        folder / "buys.csv",
        str(folder / "buys.csv" / "*.csv"),
        [folder / "buys.csv" / "part-0.csv", folder / "buys.csv" / "part-1.csv"],
        [folder / "buys.csv" / "part-0.csv", str(folder / "b*" / "*1.csv")],
    ):
        source = open_source(spec, items)
        assert source.interactions.rows() == ROWS
        assert source.name == "buys"
        assert set(source.files) == {"part-0.csv", "part-1.csv", "products.csv"}
    (folder / "items.parquet").mkdir()
    for place, row in enumerate((["1", "Pen"], ["2", "Ink"])):
        table = pl.DataFrame([row], schema=["item_id", "title"], orient="row")
        table.write_parquet(folder / "items.parquet" / f"part-{place}.parquet")
    for parts in (folder / "items.parquet", folder / "items.parquet" / "*.parquet"):
        assert open_source(folder / "buys.csv", SourceOptions(items=parts)).items.rows() == [("1", "Pen"), ("2", "Ink")]


def test_parts_of_one_name_are_hashed_apart(folder):
    (folder / "items").mkdir()
    (folder / "items" / "part-0.csv").write_text(ITEMS)
    source = open_source(folder / "buys.csv", SourceOptions(items=folder / "items"))
    assert set(source.files) == {"buys.csv/part-0.csv", "items/part-0.csv", "part-1.csv"}


def test_parts_with_other_columns_or_units_are_named(folder):
    items = SourceOptions(items=folder / "products.csv")
    part = folder / "buys.csv" / "part-1.csv"
    part.write_text("user_id,item_id\nv,2\n")
    with pytest.raises(
        DataError,
        match=r"part-1.csv and .*part-0.csv have other columns .*: name the files that are meant",
    ):
        open_source(folder / "buys.csv", items)
    assert open_source(folder / "buys.csv" / "part-0.csv", items).interactions.rows() == ROWS[:2]
    part.write_text(MORE.replace(",7", ",1700000000").replace(",8", ",1700000001"))
    with pytest.raises(DataError, match=r"part-1.csv and .*part-0.csv have times in other units"):
        open_source(folder / "buys.csv", items)


def test_rows_in_order_are_counted_over_all_parts(folder):
    (folder / "buys.csv" / "part-1.csv").write_text(BOUGHT.replace("timestamp", "when").replace(",1,", ",2,"))
    (folder / "buys.csv" / "part-0.csv").write_text(BOUGHT.replace("timestamp", "when"))
    options = SourceOptions(items=folder / "products.csv", ordered=True)
    with pytest.raises(DataError, match=r"has no column 'timestamp' .*without times, --ordered takes the rows' order"):
        open_source(folder / "buys.csv", SourceOptions(items=folder / "products.csv"))
    source = open_source(folder / "buys.csv", options)
    assert source.ordered
    assert source.interactions.rows() == [("u", "1", 0), ("u", "2", 1), ("u", "2", 2), ("u", "2", 3)]


def test_several_files_of_a_folder_are_named_and_may_all_be_meant(tmp_path):
    for name, text in (("a.csv", BOUGHT), ("b.csv", MORE), ("items.csv", ITEMS)):
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"found a.csv, b.csv for the interactions, need one file: name those"):
        open_source(tmp_path)
    assert open_source([tmp_path / "a.csv", tmp_path / "b.csv"]).interactions.rows() == ROWS
    assert open_source(tmp_path / "b.csv").interactions.rows() == ROWS[2:]


def test_a_file_of_items_by_another_name_is_named_with_its_option(folder):
    with pytest.raises(DataError, match=r"--items FILE, one of part-0.csv, products.csv"):
        open_source([folder / "buys.csv" / "part-0.csv", folder / "products.csv"])
    with pytest.raises(DataError, match=r"--items FILE \(part-0.csv itself, if the titles are in it\)"):
        open_source(folder / "buys.csv" / "part-0.csv")


def test_one_table_of_purchases_with_titles(tmp_path, caplog):
    path = tmp_path / "retail.csv"
    path.write_text("user_id,item_id,timestamp,title,brand,amount\nu,1,5,Pen,A,3\nu,2,6,Ink,B,1\nv,1,7,Pen,A,2\n")
    source = open_source(path, SourceOptions(items=path))
    assert source.items.rows(named=True) == [
        {"item_id": "1", "title": "Pen", "brand": "A"}, {"item_id": "2", "title": "Ink", "brand": "B"}
    ]  # fmt: skip
    assert source.interactions.height == 3
    assert "they differ between purchases of an item: amount" in caplog.text
    assert "repeat an id" not in caplog.text


@pytest.mark.parametrize(
    "options", [{"user_column": "who"}, {"separator": ";"}, {"ordered": True}, {"time_format": "%d"}]
)
def test_options_without_effect_are_refused(write_lines, options):
    reviews = [{"reviewerID": "u", "asin": "1", "unixReviewTime": 1}]
    write_lines("meta_a.json", [{"asin": "1", "title": "Pen", "category": []}])
    name = next(iter(options)).replace("_", "-")
    for spec in (write_lines("a.json", reviews), "journey:PASTRY", "ml-100k"):
        with pytest.raises(DataError, match=rf"--{name}: without effect on "):
            open_source(spec, SourceOptions(**options))
    assert open_source(write_lines("a.json", reviews)).interactions.height == 1


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_compressed_files(tmp_path, kind):
    ending = {"gzip": "gz", "zstd": "zst"}[kind]
    for name, text in (("interactions", BOUGHT), ("items", ITEMS)):
        table = pl.read_csv(text.encode(), infer_schema=False)
        table.write_csv(tmp_path / f"{name}.csv.{ending}", compression=kind)
    assert open_source(tmp_path).interactions.rows() == ROWS[:2]
    (tmp_path / f"interactions.csv.{ending}").rename(tmp_path / "interactions.csv")
    assert open_source(tmp_path).interactions.rows() == ROWS[:2]
    (tmp_path / f"items.csv.{ending}").write_text(ITEMS)
    with pytest.raises(
        DataError, match=rf"items.csv.{ending} is not {kind} though its name says so: .*take .{ending} off"
    ):
        open_source(tmp_path)
    (tmp_path / f"items.csv.{ending}").rename(tmp_path / "items.csv")
    assert open_source(tmp_path).items.height == 2


def test_a_zip_of_one_file(tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS)
    for name, member in (
        ("buys.zip", "b.csv"),
        ("buys.csv", "b.csv"),
        ("more.zip", "b.jsonl"),
        ("most.zip", "b.parquet"),
    ):
        data = BOUGHT.encode()
        if member == "b.jsonl":
            data = b'{"user_id": "u", "item_id": 1, "timestamp": 5}\n{"user_id": "u", "item_id": "2", "timestamp": 6}\n'
        if member == "b.parquet":
            stream = io.BytesIO()
            pl.read_csv(data, infer_schema=False).write_parquet(stream)
            data = stream.getvalue()
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, data)
            archive.writestr("__MACOSX/._b.csv", "?")
        assert open_source(tmp_path / name).interactions.rows() == ROWS[:2]


@pytest.mark.parametrize(
    ("members", "message"),
    [(["a.csv", "b.csv"], r"is a zip of 2 files \(a.csv, b.csv\): unpack it"), ([], "is a zip of 0 files"),
     (["[Content_Types].xml", "xl/a.xml"], "is a spreadsheet: save it as 'CSV UTF-8'")],
)  # fmt: skip
def test_a_zip_of_something_else(tmp_path, members, message):
    (tmp_path / "items.csv").write_text(ITEMS)
    for name in ("buys.zip", "buys.csv"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.comment = b"so that no zip is empty"
            for member in members:
                archive.writestr(member, BOUGHT)
        if members or name == "buys.zip":
            with pytest.raises(DataError, match=message if members else "zip"):
                open_source(tmp_path / name)


@pytest.mark.parametrize(("first", "kind"), [(b"BZh91AY", "bzip2"), (b"\xfd7zXZ\x00", "xz")])
def test_other_compressions_are_named(tmp_path, first, kind):
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "buys.csv").write_bytes(first)
    with pytest.raises(DataError, match=rf"buys.csv is compressed with {kind}: unpack it"):
        open_source(tmp_path / "buys.csv")


def test_what_is_not_there():
    with pytest.raises(DataError, match=r"nowhere does not exist: give a folder, .*journey:PASTRY, or ml-100k"):
        open_source("nowhere")


_PIECES = [
    *("user_id", "item_id", "timestamp", "title", "u", "1", "2", "NA", "inf", "2024-01-01", "01/02/2024", "1e400"),
    *(
        ",",
        "::",
        "\t",
        "|",
        ";",
        " ",
        "\n",
        "\r",
        '"',
        '""',
        "\\",
        "'",
        "&amp;amp;",
        "\x00",
        "\ufeff",
        "é",
        "{",
        "}",
        "[",
        "]",
    ),
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([".csv", ".tsv", ".dat", ".inter", ".jsonl", ".json"]),
    st.lists(st.sampled_from(_PIECES), max_size=20),
    st.integers(0, 60),
    st.sampled_from([{}, {"separator": "::"}, {"quotes": "fields"}, {"drop_missing": True}, {"ordered": True}]),
)
def test_whatever_the_text_it_is_read_or_refused_in_one_line(tmp_path_factory, ending, pieces, place, options):
    folder = tmp_path_factory.mktemp("any")
    whole = BOUGHT if ending != ".jsonl" else '{"user_id": "u", "item_id": 1, "timestamp": 5}\n'
    text = f"{whole[:place]}{''.join(pieces)}{whole[place:]}"
    (folder / f"interactions{ending}").write_bytes(text.encode())
    (folder / "items.csv").write_text(ITEMS)
    said = ""
    try:
        open_source(folder, SourceOptions(**options))
    except DataError as error:
        said = str(error)
    assert "\n" not in said


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
