import polars as pl
import pytest

from calrec.data.sources import SourceOptions, open_source
from calrec.errors import DataError

BOUGHT = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["007", "08"], "timestamp": [1.0, 2.0]})
ITEMS = pl.DataFrame({"item_id": ["007", "08"], "title": ["A, b", "C"], "colour": ["red", None]})
WRITERS = {"csv": pl.DataFrame.write_csv, "parquet": pl.DataFrame.write_parquet, "jsonl": pl.DataFrame.write_ndjson}


@pytest.fixture
def write(tmp_path):
    def write(kind="csv", bought=BOUGHT, items=ITEMS):
        folder = tmp_path / "shop"
        folder.mkdir(exist_ok=True)
        WRITERS[kind](bought, folder / f"interactions.{kind}")
        WRITERS[kind](items, folder / f"items.{kind}")
        return folder

    return write


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_reads_the_same(write, kind):
    source = open_source(write(kind))
    assert (source.name, source.form) == ("shop", "tables")
    assert source.items.rows() == [("007", "A, b", "red"), ("08", "C", "")]
    assert source.interactions.rows() == BOUGHT.rows()
    assert source.text_attributes == ("title",)


def test_files_instead_of_a_folder(write, tmp_path):
    folder = write()
    assert open_source(folder / "interactions.csv").items.height == 2
    (folder / "items.csv").rename(tmp_path / "products.csv")
    options = SourceOptions(items=tmp_path / "products.csv")
    assert open_source(folder / "interactions.csv", options).items.height == 2


def test_columns_of_other_names(write):
    new = {"user_id": "who", "item_id": "sku", "timestamp": "at", "title": "name"}
    folder = write(bought=BOUGHT.rename(new, strict=False), items=ITEMS.rename(new, strict=False))
    with pytest.raises(DataError, match=r"interactions.csv has no column 'user_id', .*--user-column"):
        open_source(folder)
    options = SourceOptions(user_column="who", item_column="sku", time_column="at", title_column="name")
    source = open_source(folder, options)
    assert source.interactions.rows() == BOUGHT.rows()
    assert source.items.columns == ["item_id", "title", "colour"]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["1970-01-01", "1970-01-02"], [0.0, 86400.0]),
        (["1970-01-01T00:00:01", "1970-01-01T00:00:02.5"], [1.0, 2.5]),
        (["1970-01-01 00:00:01", "1970-01-01 00:00:02"], [1.0, 2.0]),
        (["1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.000Z"], [1.0, 2.0]),
        (["1970-01-01T01:00:01+01:00", "1970-01-01T00:00:02.5-00:00"], [1.0, 2.5]),
        (["1970-01-01 00:00:01+00", "1970-01-01 00:00:02+00"], [1.0, 2.0]),
        (["1970-01-01T00:00:01Z", "1970-01-01T02:00:02+02:00"], [1.0, 2.0]),
        (["1970-01-01 00:01+00:00", "1970-01-01"], [60.0, 0.0]),
        (["3", "4.5"], [3.0, 4.5]),
    ],
)
def test_times(write, times, seconds):
    folder = write(bought=BOUGHT.with_columns(timestamp=pl.Series(times)))
    assert open_source(folder).interactions["timestamp"].to_list() == seconds


def test_a_time_that_is_none_is_named(write):
    folder = write(bought=BOUGHT.with_columns(timestamp=pl.Series(["1", "noon"])))
    with pytest.raises(DataError, match=r"interactions.csv: row 2: timestamp is 'noon': write it as a number, 2024-05"):
        open_source(folder)


def test_errors_call_columns_as_the_file_does(write):
    folder = write(bought=BOUGHT.with_columns(timestamp=pl.Series(["1", None])).rename({"timestamp": "when"}))
    with pytest.raises(DataError, match=r"row 2: when is empty: no time is given: .*\(1 such rows\)"):
        open_source(folder, SourceOptions(time_column="when"))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_separators_are_read_and_named_where_they_are_not_said(write, mark):
    folder = write()
    for name, table in (("interactions", BOUGHT.with_columns(price=pl.lit("3,50"))), ("items", ITEMS)):
        table.write_csv(folder / f"{name}.csv", separator=mark)
    with pytest.raises(DataError, match=r"interactions.csv: its columns stand between .*: add --separator"):
        open_source(folder)
    assert open_source(folder, SourceOptions(separator=mark)).interactions.rows() == BOUGHT.rows()


def test_a_separator_within_a_quoted_name_separates_nothing(tmp_path):
    (tmp_path / "items.csv").write_text('"item, id";title\ni1;Ink\n')
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu1,i1,1\n")
    with pytest.raises(DataError, match=r"items.csv: its columns stand between ';': add --separator"):
        open_source(tmp_path)


@pytest.mark.parametrize("separator", ["ä", '"', "", ",,"])
def test_what_separates_no_columns_is_refused(separator):
    with pytest.raises(ValueError, match=r"columns can stand between ',', ';'"):
        SourceOptions(separator=separator)


@pytest.mark.parametrize(
    ("text", "encoding"), [("item_id,title\n007,Müller\n", encoding) for encoding in ("latin-1", "utf-16")]
)
def test_another_encoding_is_named(write, text, encoding):
    """Following the message reads the file, and its neighbour, which is UTF-8, as it is."""
    folder = write()
    (folder / "items.csv").write_bytes(text.encode(encoding))
    with pytest.raises(
        DataError, match=r"items.csv is not in UTF-8: name its encoding with --encoding, such as latin-1"
    ):
        open_source(folder)
    source = open_source(folder, SourceOptions(encoding=encoding))
    assert source.items["title"].to_list() == ["Müller"]


def test_a_line_with_too_many_fields_is_named(write):
    folder = write()
    (folder / "items.csv").write_text('item_id,title\n007,"A\nb"\n08,C, D\n')
    with pytest.raises(DataError, match=r"items.csv: line 4 has 3 fields, and the first line names 2: put a field"):
        open_source(folder)


def test_a_line_that_cannot_be_counted_is_told_nevertheless(write):
    folder = write()
    (folder / "items.csv").write_text(f'item_id,title\n007,"{"x" * 200_000}"\n08,C, D\n')
    with pytest.raises(DataError, match=r"items.csv: a line has more fields than the first line names"):
        open_source(folder)


def test_two_columns_that_could_be_the_title_are_named(write):
    folder = write(items=ITEMS.with_columns(name="the " + pl.col("title")))
    with pytest.raises(DataError, match=r"items.csv has a column 'title' beside 'name', which is to be it"):
        open_source(folder, SourceOptions(title_column="name"))


def test_columns_keep_the_order_of_the_file(write):
    folder = write(items=ITEMS.select("colour", "item_id", "title"))
    assert open_source(folder).items.columns == ["item_id", "colour", "title"]


def test_items_listed_twice_are_counted_aloud(write, caplog):
    open_source(write(items=pl.concat([ITEMS, ITEMS.with_columns(colour=pl.lit("blue"))])))
    assert "2 rows repeat an id; one row of each id counts" in caplog.text


def test_a_domain_may_have_another_name(write):
    assert open_source(write(), SourceOptions(name="my shop")).name == "my shop"


def test_bad_lines_of_jsonl(write):
    folder = write("jsonl")
    with (folder / "interactions.jsonl").open("a") as stream:
        stream.write("oops\n")
    with pytest.raises(DataError, match=r"interactions.jsonl: line 3 is no record"):
        open_source(folder)
    source = open_source(folder, SourceOptions(skip_bad_lines=True))
    assert (source.interactions.height, source.skipped_lines) == (2, 1)


def test_what_is_no_parquet(write):
    folder = write("parquet")
    (folder / "items.parquet").write_text("oops")
    with pytest.raises(DataError, match=r"items.parquet cannot be read: "):
        open_source(folder)


def test_an_unknown_kind(write, tmp_path):
    path = tmp_path / "interactions.xlsx"
    path.write_text("")
    with pytest.raises(DataError, match=r"interactions.xlsx: unknown kind of table: give .csv"):
        open_source([path, write() / "items.csv"])
