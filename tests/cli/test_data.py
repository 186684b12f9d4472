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


def test_prepare_and_audit_print_the_first_and_the_last_date_and_how_many_targets_are_tied(shop, capsys):
    path, out = shop / "interactions.csv", str(shop / "out")
    path.write_text(path.read_text().replace(",0,0", ",0,2024-05-01").replace(",1,1", ",1,2024-05-02")
                    .replace(",2,2", ",2,2024-05-03").replace(",3,3", ",3,2024-05-03"))  # fmt: skip
    assert cli.main(["data", "prepare", str(shop), "--out", out, "--ties", "hash"]) == 0
    printed = capsys.readouterr().out
    assert "Times: 2024-05-01 00:00:00 UTC to 2024-05-03 00:00:00 UTC." in printed
    assert (
        "Targets at the time of the purchase before: 100.0%; the rule for equal times chose them (--ties hash)."
        in printed
    )
    assert cli.main(["data", "audit", out]) == 0
    printed = capsys.readouterr().out
    assert "2024-05-01 00:00:00 UTC" in printed
    assert "2024-05-03 00:00:00 UTC" in printed
    assert "100% of the targets were chosen by the rule for equal times" in printed


def test_what_was_left_out_and_what_could_be_is_printed(shop, capsys):
    path = shop / "interactions.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text(
        "\n".join([f"{header},rating", *(f"{row},{place % 5}" for place, row in enumerate(rows)), "NA,1,1,1"])
    )
    prepare = ["data", "prepare", str(shop), "--out", str(shop / "out"), "--drop-missing"]
    assert cli.main(prepare) == 0
    printed = capsys.readouterr().out
    assert "Rows without a user, an item or a time, left out: 1." in printed
    assert "Ratings from 0 to 4 are there, and all count; --min-rating leaves lower ones out." in printed
    assert cli.main([*prepare, "--min-rating", "1", "--force", "--ordered"]) == 0
    printed = capsys.readouterr().out
    assert "rated 1 or more" in printed
    assert "and all count" not in printed
    assert "Each user's purchases are in the order of the rows." in printed


def test_every_option_reaches_how_the_source_is_read(shop, capsys):
    """Together these options read files that none of them could be left out for."""
    (shop / "buys.dat").write_bytes("".join(f"u{user}::{item}::0{item + 1}/12/2023\n"
                                            for user in range(3) for item in range(4)).encode())  # fmt: skip
    (shop / "goods.dat").write_bytes("".join(f"{item}|'Müller' \\\"{item}\n" for item in range(5)).encode("latin-1"))
    options = [
        "--items", str(shop / "goods.dat"), "--columns", "who,what,when", "--items-columns", "sku,name",
        "--separator", "::", "--items-separator", "|", "--encoding", "latin-1", "--time-format", "%d/%m/%Y",
        "--user-column", "who", "--item-column", "what", "--items-item-column", "sku", "--time-column", "when",
        "--title-column", "name", "--quotes", "backslash", "--name", "goods",
    ]  # fmt: skip
    command = ["data", "prepare", str(shop / "buys.dat"), "--out", str(shop / "out")]
    assert cli.main([*command, *options]) == 0, capsys.readouterr().err
    domain = load_domain(shop / "out")
    assert domain.items["title"].to_list()[1] == "'Müller' \"1"
    assert domain.sequences["timestamps"].to_list()[0] == [1_701_388_800 + 86_400 * place for place in range(4)]
    for place in range(0, len(options) - 2, 2):
        assert cli.main([*command, *options[:place], *options[place + 2 :], "--force"]) != 0 or (
            load_domain(shop / "out").items["title"].to_list() != domain.items["title"].to_list()
        ), options[place]


def test_every_option_reaches_its_setting(shop, capsys):
    options = (
        "--k-core 2 --identical-texts merge --keep-consecutive --ties hash --catalogue bought "
        "--unknown-items drop --min-length 3 --skip-bad-lines --json"
    )
    assert cli.main(["data", "prepare", str(shop), "--out", str(shop / "out"), *options.split()]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {
        "drop_consecutive": False,
        "identical_texts": "merge",
        "ties": "hash",
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
