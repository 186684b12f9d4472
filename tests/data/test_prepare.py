import pytest

from calrec.data.prepare import prepare
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


def test_a_failure_leaves_nothing_behind(tables):
    before = set(tables.iterdir())
    with pytest.raises(DataError, match="no user is left"):
        prepare(tables, tables / "out", {"min_length": 9})
    assert set(tables.iterdir()) == before
