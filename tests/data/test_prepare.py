import pytest

from calrec.data.prepare import prepare
from calrec.data.sources import SourceOptions
from calrec.data.store import load_domain
from calrec.errors import ConfigError, DataError


@pytest.fixture
def tables(tmp_path):
    rows = [f"u{user},{item},{item}" for user in range(3) for item in range(4)]
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"{item},item {item}\n" for item in range(5)))
    (tmp_path / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    return tmp_path


def test_preparing_twice_gives_the_same_bytes(tables):
    for name in ("one", "other"):
        prepare(tables, tables / name)
    for name in ("items.parquet", "sequences.parquet", "manifest.json"):
        assert (tables / "one" / name).read_bytes() == (tables / "other" / name).read_bytes()


def test_settings_given_win_over_those_of_the_source(tables):
    assert prepare(tables, tables / "all").items.height == 5
    bought = prepare(tables, tables / "bought", {"catalogue": "bought"})
    assert bought.items.height == 4
    assert bought.manifest.settings.catalogue == "bought"


def test_a_wrong_setting_is_named(tables):
    with pytest.raises(ConfigError, match=r"filters: k_core = -1: .*; min_lenght = 5: "):
        prepare(tables, tables / "out", {"min_lenght": 5, "k_core": -1})


def test_all_items_and_a_core_contradict_each_other(tables):
    """A core leaves items out; either option alone holds."""
    with pytest.raises(ConfigError, match="--catalogue all: --k-core leaves items out: drop one of the two options"):
        prepare(tables, tables / "out", {"catalogue": "all", "k_core": 3})
    assert prepare(tables, tables / "out", {"k_core": 3}).items.height == 4
    assert prepare(tables, tables / "all", {"catalogue": "all"}).items.height == 5


def test_how_the_source_was_read_is_in_the_manifest(tables):
    path = tables / "interactions.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{rows[0]},stars", *(f"{row},{place % 5}" for place, row in enumerate(rows[1:]))]))
    with pytest.raises(DataError, match="no column of ratings for --min-rating: name it with --rating-column"):
        prepare(tables, tables / "out", options=SourceOptions(min_rating=1))
    path.write_text(f"{path.read_text()}\n,3,9,4\n")
    options = SourceOptions(min_rating=1, rating_column="stars", drop_missing=True, ordered=True)
    manifest = prepare(tables, tables / "out", {"ties": "hash"}, options).manifest
    assert (manifest.ratings, manifest.min_rating, manifest.missing_rows, manifest.ordered) == (
        (0.0, 4.0),
        1.0,
        1,
        True,
    )
    assert manifest.settings.ties == "hash"
    assert load_domain(tables / "out").manifest == manifest


def test_a_failure_leaves_nothing_behind(tables):
    before = set(tables.iterdir())
    with pytest.raises(DataError, match="no user is left"):
        prepare(tables, tables / "out", {"min_length": 9})
    assert set(tables.iterdir()) == before
