import gzip
from pathlib import Path

import pytest

from calrec.data.prepare import prepare
from calrec.data.sources import open_source
from calrec.errors import DataError

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def amazon(write_lines, tmp_path):
    """Write a category's two files, in the fields of 2018 and 2014 or of 2023."""

    def write(reviews_name, metadata_name, described, user="reviewerID", item="asin", time="unixReviewTime"):
        reviews = [{user: f"u{who}", item: record[item], time: 10 + place, "verified": True}
                   for who in range(2) for place, record in enumerate(described)]  # fmt: skip
        write_lines(reviews_name, reviews)
        write_lines(metadata_name, [repr(record) for record in described] if "2014" in metadata_name else described)
        return tmp_path

    return write


def items_of(folder):
    return {row.pop("item_id"): row for row in open_source(folder).items.to_dicts()}


def product(asin="B1", **fields):
    return {"asin": asin, "title": "A pen", "category": ["Office", "Pens"], "brand": "Acme", "price": "$1.50", **fields}


def test_2018(amazon):
    source = open_source(amazon("Office_5.json", "meta_Office.json", [product(f"B{n}") for n in range(3)]))
    assert (source.name, source.form) == ("Office", "amazon-2018")
    assert source.items.row(0, named=True) == {
        "item_id": "B0", "title": "A pen", "category": "Pens", "brand": "Acme", "price": "$1.50"
    }  # fmt: skip
    assert source.interactions.drop("rating").rows()[:2] == [("u0", "B0", 10.0), ("u0", "B1", 11.0)]
    assert source.text_attributes == ("title", "category", "brand", "price")


def test_2014(amazon):
    described = [{"asin": "B1", "title": "Bob's", "categories": [["Office", "Pens", "Ink"], ["Gifts"]], "price": 3.5}]
    source = open_source(amazon("reviews_Office_5.json", "meta_2014.json", described))
    assert (source.name, source.form) == ("Office", "amazon-2014")
    assert source.items.row(0) == ("B1", "Bob's", "Pens, Ink", "", "$3.50")


def test_2023(amazon):
    described = [
        {"parent_asin": "B1", "title": "A", "main_category": "Office", "categories": [], "price": 9.99, "store": "S"},
        {"parent_asin": "B2", "title": "B", "main_category": "X", "categories": ["Office", "Pens"], "price": "from 3"},
    ]
    folder = amazon("Office.jsonl", "meta_Office.jsonl", described, "user_id", "parent_asin", "timestamp")
    source = open_source(folder)
    assert (source.name, source.form) == ("Office", "amazon-2023")
    assert source.items.rows() == [("B1", "A", "Office", "S", "$9.99"), ("B2", "B", "Pens", "", "")]


@pytest.mark.parametrize(
    ("field", "raw", "clean"),
    [
        ("title", "Tom &amp; Jerry&#39;s\n  <b>Pen</b>", "Tom & Jerry's Pen"),
        ("title", "a < b, c > d", "a < b, c > d"),
        ("title", "var t = new Date().getTime();", ""),
        ("title", None, ""),
        ("brand", "by\n\n    Acme", "Acme"),
        ("price", "$1,299.00 - $1,499.99", "$1,299.00 - $1,499.99"),
        ("price", ".a-box-inner{background-color:#fff}", ""),
        ("price", "\n\t\t  ", ""),
        ("price", "$0.00", ""),
        ("category", ["Office"], "Office"),
        ("category", ["Gift Cards", "Gift Cards"], "Gift Cards"),
        ("category", ["Office", "Pens", "No expiration, no fees.", "Ink"], "Pens"),
        ("category", ["Office", "Pens", "</span></span>", "Ink"], "Pens"),
        ("category", [], ""),
    ],
)
def test_fields_are_cleaned(amazon, field, raw, clean):
    folder = amazon("Office_5.json", "meta_Office.json", [product(**{field: raw})])
    assert items_of(folder)["B1"][field] == clean


def test_of_two_records_of_one_product_the_fuller_counts(amazon, write_lines):
    folder = amazon("Office_5.json", "meta_Office.json", [product()])
    for records in ([product(price=""), product()], [product(), product(price="")]):
        write_lines("meta_Office.json", records)
        assert items_of(folder)["B1"]["price"] == "$1.50"


def test_metadata_of_something_else(amazon):
    folder = amazon("Office_5.json", "meta_Office.json", [product()])
    (folder / "meta_Office.json").write_text('{"name": "pen"}\n')
    with pytest.raises(DataError, match=r"meta_Office.json: the first record has neither 'asin' nor 'parent_asin'"):
        open_source(folder)


def test_metadata_of_another_year_than_the_reviews(amazon, write_lines):
    described = [{"parent_asin": f"B{n}", "title": "A", "main_category": "Office", "categories": []} for n in range(2)]
    folder = amazon("Office_5.json", "meta_Office.json", [product(f"B{n}") for n in range(2)])
    write_lines("meta_Office.json", described)
    source = open_source(folder)
    assert source.form == "amazon-2023"
    assert source.interactions["item_id"].to_list() == source.items["item_id"].to_list() * 2
    write_lines("meta_Office.json", [product("B0")])
    review = {"user_id": "u", "asin": "B0", "parent_asin": "B9", "timestamp": 1, "rating": 4.0}
    write_lines("Office_5.json", [review])
    source = open_source(folder)
    assert source.form == "amazon-2018"
    assert source.interactions.rows() == [("u", "B0", 1.0, 4.0)]


def test_literals_of_python_2(amazon):
    folder = amazon(
        "reviews_Office_5.json", "meta_2014.json", [{"asin": "B1", "title": "Bob's", "categories": [["Pens"]]}]
    )
    (folder / "meta_2014.json").write_text("{u'asin': u'B1', u'title': u\"Bob's\", u'categories': [[u'Pens']]}\n")
    assert items_of(folder)["B1"]["title"] == "Bob's"


def test_a_missing_field_is_named(amazon, write_lines):
    folder = amazon("Office_5.json", "meta_Office.json", [product()])
    write_lines("Office_5.json", [{"asin": "B1", "unixReviewTime": 1}])
    with pytest.raises(DataError, match=r"Office_5.json: line 1 has no 'reviewerID'"):
        open_source(folder)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data, which only developers have")
def test_gift_cards_as_amazon_ships_them(tmp_path):
    domain = prepare(SHARED / "Gift_Cards", tmp_path / "gift_cards")
    first, last = domain.manifest.counts[0], domain.manifest.counts[-1]
    assert (first.users, first.items, first.interactions) == (458, 1547, 2972)
    assert (last.users, last.items, last.interactions) == (458, 148, 2968)
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in (SHARED / "Gift_Cards").iterdir():
        (plain / path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
    assert prepare(plain, tmp_path / "again").split_hash == domain.split_hash
