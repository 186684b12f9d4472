import json

import pytest

from calrec.cli import main as cli
from calrec.data.store import load_domain


@pytest.fixture
def shop(tmp_path):
    rows = [f"u{user},{item},{item}" for user in range(3) for item in range(4)]
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"{item},item {item}\n" for item in range(5)))
    (tmp_path / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    return tmp_path


def test_prepare_prints_the_counts_of_every_step(shop, capsys):
    assert cli.main(["data", "prepare", str(shop), "--out", str(shop / "out"), "--catalogue", "bought"]) == 0
    out = capsys.readouterr().out
    for step in ("source", "unknown items", "consecutive duplicates", "users with 3 items or more", "items bought"):
        assert step in out
    assert load_domain(shop / "out").split_hash[:12] in out


def test_prepare_as_json(shop, capsys):
    assert cli.main(["data", "prepare", str(shop), "--out", str(shop / "out"), "--json", "--min-length", "4"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["settings"]["min_length"] == 4
    assert manifest["counts"][0] == {"step": "source", "users": 3, "items": 5, "interactions": 12}


def test_every_option_reaches_its_setting(shop, capsys):
    options = (
        "--k-core 2 --identical-texts merge --keep-consecutive --ties source_order --catalogue bought "
        "--unknown-items drop --min-length 3 --skip-bad-lines --json"
    )
    assert cli.main(["data", "prepare", str(shop), "--out", str(shop / "out"), *options.split()]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {
        "drop_consecutive": False,
        "identical_texts": "merge",
        "ties": "source_order",
        "k_core": 2,
        "min_length": 3,
        "catalogue": "bought",
        "unknown_items": "drop",
    }


def test_a_different_domain_is_replaced_only_by_force(shop, capsys):
    prepare = ["data", "prepare", str(shop), "--out", str(shop / "out")]
    assert cli.main(prepare) == 0
    assert cli.main(prepare) == 0
    assert cli.main([*prepare, "--catalogue", "bought"]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main([*prepare, "--catalogue", "bought", "--force"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-length", "9"], "no user is left"),
        (["--min-length", "2"], "min-length"),
        (["--title-column", "name"], "has no column 'name'"),
        (["--items", "nowhere.csv"], "nowhere.csv does not exist"),
    ],
)
def test_a_mistake_is_one_line(shop, capsys, options, message):
    assert cli.main(["data", "prepare", str(shop), "--out", str(shop / "out"), *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith("calrec: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (shop / "out").exists()


def test_audit(shop, capsys):
    cli.main(["data", "prepare", str(shop), "--out", str(shop / "out")])
    capsys.readouterr()
    assert cli.main(["data", "audit", str(shop / "out")]) == 0
    assert "best recall at 1" in capsys.readouterr().out
    assert cli.main(["data", "audit", str(shop / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["users"] == 3
    assert report["faults"] == []
    assert cli.main(["data", "audit", str(shop)]) == 2
    assert "is no domain" in capsys.readouterr().err


def test_a_name_is_shown_as_it_is_and_not_as_markup(shop, capsys):
    out = str(shop / "out")
    assert cli.main(["data", "prepare", str(shop), "--out", out, "--name", "my [/b] [red]shop"]) == 0
    assert "my [/b] [red]shop (tables)" in capsys.readouterr().out
    for command in (["data", "audit", out], ["evaluate", "markov", "--data", out, "--out", str(shop / "result")]):
        assert cli.main(command) == 0
        assert "my [/b] [red]shop" in capsys.readouterr().out


@pytest.mark.parametrize("typed", ["\\t", "\t"])
def test_a_tab_can_be_typed(shop, typed):
    for name in ("interactions.csv", "items.csv"):
        (shop / name).write_text((shop / name).read_text().replace(",", "\t"))
    assert cli.main(["data", "prepare", str(shop), "--out", str(shop / "out"), "--separator", typed]) == 0


def test_what_separates_nothing_is_one_line(shop, capsys):
    assert cli.main(["data", "prepare", str(shop), "--out", str(shop / "out"), "--separator", "ä"]) == 2
    assert "error: reading: separator: columns can stand between" in capsys.readouterr().err
