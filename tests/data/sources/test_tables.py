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
    with pytest.raises(DataError, match=r"items.csv: its columns stand between ';': add --items-separator ';'"):
        open_source(tmp_path)
    options = SourceOptions(items_separator=";", items_item_column="item, id")
    assert open_source(tmp_path, options).items.rows() == [("i1", "Ink")]


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


def test_ratings_only_files_without_a_header(tmp_path):
    """The forms of MovieLens: no header, two letters between columns, another encoding, two marks."""
    (tmp_path / "ratings.dat").write_text("u::1::5::1700000000\nu::2::3::1700000001\n")
    (tmp_path / "movies.dat").write_bytes("1::Amélie, or not (2001)::Comedy\n2::M::Crime\n".encode("latin-1"))
    given = {"items": tmp_path / "movies.dat"}
    fixes = [
        (r"ratings.dat: its columns stand between '::': add --separator '::'", {"separator": "::"}),
        (r"ratings.dat: the first row \(u, 1, 5, 1700000000\) is no header but data: name .* --columns user_id",
         {"columns": "user_id,item_id,rating,timestamp"}),
        (r"movies.dat is not in UTF-8: name its encoding with --encoding, such as latin-1", {"encoding": "latin-1"}),
        (r"movies.dat: the first row .* is no header but data: name the 3 .* as in --items-columns item_id,title",
         {"items_columns": "item_id,title,genre"}),
    ]  # fmt: skip
    for message, fix in fixes:
        with pytest.raises(DataError, match=message):
            open_source(tmp_path / "ratings.dat", SourceOptions(**given))
        given |= fix
    source = open_source(tmp_path / "ratings.dat", SourceOptions(**given))
    assert source.interactions.rows() == [("u", "1", 1700000000, 5.0), ("u", "2", 1700000001, 3.0)]
    assert source.items.rows() == [("1", "Amélie, or not (2001)", "Comedy"), ("2", "M", "Crime")]
    (tmp_path / "movies.dat").write_text("1|Amélie||Comedy\n2|M||Crime\n")
    given |= {"items_columns": "item_id,title,date,genre"}
    with pytest.raises(DataError, match=r"movies.dat: its columns stand between '\|': add --items-separator '\|'"):
        open_source(tmp_path / "ratings.dat", SourceOptions(**given))
    source = open_source(tmp_path / "ratings.dat", SourceOptions(**given, items_separator="|"))
    assert source.items["title"].to_list() == ["Amélie", "M"]


def test_a_first_row_is_never_lost_as_a_header(tmp_path):
    (tmp_path / "buys.csv").write_text("u,1,1700000000\nu,2,1700000001\n")
    (tmp_path / "items.csv").write_text("1,title\n1,Pen\n2,Ink\n")
    names = SourceOptions(user_column="u", item_column="1", time_column="1700000000")
    with pytest.raises(DataError, match=r"buys.csv: the first row .* is no header but data: .*--columns"):
        open_source(tmp_path / "buys.csv", names)
    (tmp_path / "items.csv").write_text("item_id,title\n1,Pen\n2,Ink\n")
    options = SourceOptions(columns=("user_id", "item_id", "timestamp"))
    assert open_source(tmp_path / "buys.csv", options).interactions.height == 2
    with pytest.raises(DataError, match=r"items.csv: line 1 is a header \(item_id, title\): leave --items-columns out"):
        open_source(tmp_path / "buys.csv", options.model_copy(update={"items_columns": ("item_id", "title")}))


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_names_are_not_given_to_files_that_have_them(write, kind):
    folder = write(kind)
    for option in ("columns", "items_columns"):
        name = option.replace("_", "-")
        with pytest.raises(DataError, match=rf"{kind} names its columns itself: leave --{name} out"):
            open_source(folder, SourceOptions(**{option: ("user_id", "item_id", "timestamp")}))


def test_ids_have_another_name_in_the_file_of_the_items(write):
    folder = write(items=ITEMS.rename({"item_id": "sku"}))
    with pytest.raises(DataError, match=r"items.csv has no column 'item_id' .*: name it with --items-item-column"):
        open_source(folder)
    assert open_source(folder, SourceOptions(items_item_column="sku")).items["item_id"].to_list() == ["007", "08"]


def test_tabs_by_the_name_of_the_file(tmp_path):
    BOUGHT.write_csv(tmp_path / "buys.tsv", separator="\t")
    ITEMS.write_csv(tmp_path / "items.csv")
    assert open_source(tmp_path).interactions.rows() == BOUGHT.rows()


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_rows_without_a_user_an_item_or_a_time(write, kind):
    bought = pl.DataFrame(
        {
            "user_id": ["u", "NA", "u", "u", "u"],
            "item_id": ["007", "007", " ", "007", "08"],
            "timestamp": [1.0, 2.0, 3.0, None, 5.0],
        }
    )
    folder = write(kind, bought=bought)
    with pytest.raises(
        DataError, match=r"row 2: user_id is 'NA': no user is named: .* with --drop-missing \(1 such rows"
    ):
        open_source(folder)
    source = open_source(folder, SourceOptions(drop_missing=True))
    assert (source.interactions.rows(), source.missing_rows) == ([("u", "007", 1.0), ("u", "08", 5.0)], 3)
    write(kind, bought=bought.with_columns(timestamp=pl.Series(["1", "2", "3", None, "noon"])))
    with pytest.raises(DataError, match="row 5: timestamp is 'noon'"):
        open_source(folder, SourceOptions(drop_missing=True))


def test_items_without_an_id(write):
    folder = write(items=ITEMS.vstack(pl.DataFrame([[" ", "?", "?"]], schema=ITEMS.schema, orient="row")))
    with pytest.raises(DataError, match=r"1 items have no id, the first in row 3 .*--drop-missing"):
        open_source(folder)
    assert open_source(folder, SourceOptions(drop_missing=True)).items.height == 2


def test_columns_that_are_no_texts(write, caplog):
    """Lists of texts are joined, categories are texts; what is left out is named."""
    items = ITEMS.select("item_id", "title").with_columns(
        tags=pl.Series([["a", "b"], None], dtype=pl.List(pl.String)),
        kinds=pl.Series([["x"], ["y"]], dtype=pl.Array(pl.String, 1)),
        shelf=pl.Series(["A", "B"], dtype=pl.Categorical),
        note=pl.Series([b"text", None], dtype=pl.Binary),
        weight=pl.Series([1.5, float("nan")]),
        picture=pl.Series([b"\xff", None], dtype=pl.Binary),
        sizes=pl.Series([[1], [2]]),
        lasts=pl.Series([1, 2], dtype=pl.Duration("us")),
        details=pl.Series([{"a": 1}, {"a": 2}]),
    )
    source = open_source(write("parquet", items=items))
    assert source.items.drop("item_id", "title").rows() == [
        ("a, b", "x", "A", "text", "1.5"), ("", "y", "B", "", "")
    ]  # fmt: skip
    for name in ("picture (Binary)", "sizes (List", "lasts (Duration", "details (Struct"):
        assert name in caplog.text
    with pytest.raises(
        DataError, match=r"items.parquet: the titles are no texts but title \(Struct.*: write them as text"
    ):
        open_source(write("parquet", items=items.with_columns(title="details")))


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_json_list(write, ending):
    folder = write("jsonl")
    records = BOUGHT.write_json()
    (folder / "interactions.jsonl").unlink()
    for text in (records, records.replace("},{", "},\n  {"), f"\ufeff [\n {records[1:]}"):
        (folder / f"interactions.{ending}").write_text(text)
        assert open_source(folder).interactions.rows() == BOUGHT.rows()
    (folder / f"interactions.{ending}").write_text(records[:-1])
    with pytest.raises(DataError, match=r"begins like a JSON list, but is none: .*column"):
        open_source(folder)
    (folder / f"interactions.{ending}").write_text(records[:-1] + ", 3]")
    with pytest.raises(DataError, match="record 3 is no record"):
        open_source(folder)
    assert open_source(folder, SourceOptions(skip_bad_lines=True)).skipped_lines == 1


def test_one_id_with_a_point_changes_no_other_id(write):
    """As floats these ids would be one."""
    folder = write("jsonl", bought=BOUGHT.clear())
    ids = [2**56 + 1, 2**56 + 2, 2**56 + 3]
    lines = [
        f'{{"user_id": {number}, "item_id": "007", "timestamp": 1}}\n' for number in [ids[0], f"{ids[1]}.0", ids[2]]
    ]
    (folder / "interactions.jsonl").write_text("".join(lines))
    with pytest.raises(
        DataError, match=rf"line 2: user_id is {ids[1]}.0, a number with a point among ids: write it as"
    ):
        open_source(folder)
    for fixed in (str(ids[1]), f'"{ids[1]}"'):
        (folder / "interactions.jsonl").write_text("".join(lines).replace(f"{ids[1]}.0", fixed))
        assert open_source(folder).interactions["user_id"].to_list() == list(map(str, ids))


def test_a_field_of_several_types(write):
    folder = write("jsonl")
    (folder / "items.jsonl").write_text(
        '{"item_id": 1, "title": "A", "note": ["x", "y"]}\n{"item_id": 2, "title": "B", "note": "z"}\n'
    )
    (folder / "interactions.jsonl").write_text('{"user_id": "u", "item_id": 1, "timestamp": 1}\n')
    assert open_source(folder).items["note"].to_list() == ['["x", "y"]', "z"]
    with (folder / "items.jsonl").open("a") as stream:
        stream.write("oops\n")
    source = open_source(folder, SourceOptions(skip_bad_lines=True))
    assert source.items["note"].to_list() == ['["x", "y"]', "z"]


def test_ratings_that_are_no_numbers_matter_only_where_they_decide(write):
    folder = write(bought=BOUGHT.with_columns(stars=pl.Series(["4", "four"])))
    assert open_source(folder, SourceOptions(rating_column="stars")).interactions["rating"].to_list() == [4.0, None]
    with pytest.raises(DataError, match="row 2: stars is 'four': --min-rating needs a number in every row"):
        open_source(folder, SourceOptions(rating_column="stars", min_rating=4))


def test_an_encoding_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no such encoding; known are utf-8"):
        SourceOptions(encoding="latin-one")
