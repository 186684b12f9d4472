"""What a user can do wrong, typed as commands: one line that names place, value and mend, and nothing half-written."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from calrec.cli.main import main

REVIEWS = [
    json.dumps({"reviewerID": f"u{user}", "asin": f"B{item}", "unixReviewTime": item})
    for user in range(3)
    for item in range(4)
]
PRODUCTS = [
    json.dumps({"asin": f"B{item}", "title": f"Pen {item}", "category": ["Office", "Pens"], "brand": "Acme"})
    for item in range(5)
]


@pytest.fixture
def pens(tmp_path):
    """A category as Amazon ships it."""
    folder = tmp_path / "pens"
    folder.mkdir()
    for name, lines in (("Pens_5.json.gz", REVIEWS), ("meta_Pens.json.gz", PRODUCTS)):
        (folder / name).write_bytes(zipped(lines))
    return folder


@pytest.fixture
def tables(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    rows = [f"u{user},{item},{item}" for user in range(3) for item in range(4)]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows, ""]))
    (folder / "items.csv").write_text("\n".join(["item_id,title", *(f"{item},Pen {item}" for item in range(4)), ""]))
    return folder


@pytest.fixture
def refused(tmp_path, capsys):
    """Call a command that must fail as the user's mistake; the one line it prints, and no file made or changed."""

    def call(*arguments):
        capsys.readouterr()
        before = contents(tmp_path)
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("calrec: error: ")
        assert err.count("\n") == 1
        assert contents(tmp_path) == before
        return err

    return call


def zipped(lines):
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def swap(text, old, new):
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize("name", ["Pens_5.json.gz", "meta_Pens.json.gz"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (gzip.decompress, "is not gzip though its name says so: download it again, or take .gz off its name"),
        (lambda raw: raw[: len(raw) * 2 // 3], "ends too early, as a broken download does: download it again"),
        # A kind of block that there is none of, right after the header.
        (lambda raw: raw[:10] + b"\xff" + raw[11:], "cannot be read: Error -3 while decompressing data: invalid block"),
        (lambda raw: b"", "is empty: download it again"),
    ],
)
def test_gzip_that_is_none_or_broken(pens, tmp_path, refused, name, spoil, said):
    (pens / name).write_bytes(spoil((pens / name).read_bytes()))
    assert f"{pens / name} {said}" in refused("data", "prepare", pens, "--out", tmp_path / "out")


@pytest.mark.parametrize(("name", "lines"), [("Pens_5.json.gz", REVIEWS), ("meta_Pens.json.gz", PRODUCTS)])
def test_a_bad_line_is_named_or_skipped_and_counted(pens, tmp_path, refused, capsys, name, lines):
    (pens / name).write_bytes(zipped([*lines[:2], '{"asin": "B0", ', *lines[2:], "oops"]))
    prepare = ("data", "prepare", str(pens), "--out", str(tmp_path / "out"))
    said = refused(*prepare)
    assert f'{pens / name}: line 3 is no record (\'{{"asin": "B0",\'): correct the line' in said
    assert "--skip-bad-lines" in said
    assert main([*prepare, "--skip-bad-lines"]) == 0
    assert "Bad lines skipped: 2." in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["skipped_lines"] == 2


def test_nothing_but_bad_lines(pens, tmp_path, refused):
    (pens / "Pens_5.json.gz").write_bytes(zipped(["oops", "oops"]))
    said = refused("data", "prepare", pens, "--out", tmp_path / "out", "--skip-bad-lines")
    assert "there are no interactions" in said
    assert "bad lines skipped: 2" in said


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("interactions.csv", "timestamp", "when", "interactions.csv has no column 'timestamp' (it has ['user_id',"),
        ("items.csv", "title", "name", "items.csv has no column 'title' (it has ['item_id', 'name']): name it with"),
        ("interactions.csv", "u1,2,2", "u1,,2", "interactions.csv: row 7: item_id is empty: no item is named: add it"),
        (
            "interactions.csv",
            "u1,2,2",
            "u1,2,noon",
            "interactions.csv: row 7: timestamp is 'noon': write it as a number,",
        ),
        ("items.csv", "2,Pen 2\n", "", "tables (interactions.csv, items.csv): user 'u0' has item '2', which is not"),
    ],
)
def test_a_table_that_lacks_something(tables, tmp_path, refused, name, old, new, said):
    (tables / name).write_text(swap((tables / name).read_text(), old, new))
    assert said in refused("data", "prepare", tables, "--out", tmp_path / "out")


def test_unknown_items_can_be_dropped(tables, tmp_path, refused):
    (tables / "items.csv").write_text(swap((tables / "items.csv").read_text(), "2,Pen 2\n", ""))
    prepare = ("data", "prepare", tables, "--out", tmp_path / "out")
    assert "--unknown-items drop" in refused(*prepare)
    assert main([*map(str, prepare), "--unknown-items", "drop"]) == 0


@pytest.mark.parametrize("option", [("--min-length", "5"), ("--k-core", "4")])
def test_nobody_left(tables, tmp_path, refused, option):
    said = refused("data", "prepare", tables, "--out", tmp_path / "out", *option)
    assert "tables (interactions.csv, items.csv): no user is left after the step" in said
    assert "lower --min-length or --k-core" in said


def test_another_folder_is_refused_before_anything_is_read(tables, tmp_path, refused):
    said = refused("data", "prepare", tmp_path / "nowhere.csv", "--out", tables)
    assert f"{tables} exists and is no domain: choose another --out" in said


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("stage_two: {domain: d, epoch: 3}", "recipe.yaml: unknown key 'stage_two.epoch': did you mean 'epochs'?"),
        ("stage_tow: {domain: d}", "recipe.yaml: unknown key 'stage_tow': did you mean 'stage_two'?"),
        ("stage_two: {domain: d, epochs: many}", "recipe.yaml: stage_two.epochs: "),
    ],
)
def test_a_recipe_with_a_wrong_key_or_value(tmp_path, refused, recipe, said):
    (tmp_path / "recipe.yaml").write_text(recipe)
    assert said in refused("train", tmp_path / "recipe.yaml", "--out", tmp_path / "run")


def test_a_recipe_that_is_nearly_a_shipped_one(tmp_path, refused):
    assert "did you mean 'two-cores'?" in refused("train", "two-core", "--out", tmp_path / "run")


def test_a_run_that_is_none(tiny_domain, tmp_path, refused):
    said = f"{tiny_domain.path} is no run: it has no calrec.json; make one with `calrec train`"
    assert said in refused("recommend", tiny_domain.path, "--history", "i0")
    assert said in refused("evaluate", tiny_domain.path, "--data", tiny_domain.path, "--out", tmp_path / "out")


def test_a_run_without_its_items(tiny_run, refused):
    (tiny_run / "items.parquet").unlink()
    said = refused("recommend", tiny_run, "--history", "i0")
    assert "items.parquet: there is no such file; copy it from the domain's folder" in said


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (
            ["nothing of the kind"],
            "'nothing of the kind' is no id, title or text of the catalogue's 9 items; items.par",
        ),
        (["i0", "aple 0"], "'aple 0' is no id, title or text of the catalogue's 9 items; did you mean 'apple 0' (i0)?"),
        ([""], "history: '' is empty; name an item by id or by title"),
        ([], "Missing option '--history'; see `calrec recommend --help`"),
    ],
)
def test_a_history_of_unknown_items_or_of_none(tiny_run, refused, history, said):
    assert said in refused("recommend", tiny_run, *(part for entry in history for part in ("--history", entry)))


def test_a_method_that_is_nearly_a_baseline(tiny_domain, tmp_path, refused):
    evaluate = ("--data", tiny_domain.path, "--out", tmp_path / "out")
    assert "marko is neither a run's folder nor a baseline: did you mean markov?" in refused(
        "evaluate", "marko", *evaluate
    )
    assert "unknown key 'n': there is nothing to set here" in refused("evaluate", "markov", *evaluate, "--set", "n=1")


def test_what_is_no_result_is_refused_before_the_scoring(tiny_domain, refused):
    said = refused("evaluate", "markov", "--data", tiny_domain.path, "--out", tiny_domain.path)
    assert f"{tiny_domain.path} exists and is no result: choose another --out" in said


class FullDisk:
    """``pl.DataFrame.write_parquet`` that writes a part of the second table and fails."""

    def __init__(self, monkeypatch, error):
        self.write, self.error, self.tables = pl.DataFrame.write_parquet, error, 0
        monkeypatch.setattr(pl.DataFrame, "write_parquet", lambda *arguments: self(*arguments))

    def __call__(self, frame, path):
        self.tables += 1
        if self.tables == 2:
            path.write_bytes(b"PAR1")
            raise self.error
        self.write(frame, path)


FULL = [
    # As polars and as Python say it.
    pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("error", FULL)
def test_a_full_disk_while_a_domain_is_written(tables, tmp_path, refused, monkeypatch, error):
    prepare = ("data", "prepare", tables, "--out", tmp_path / "out")
    said = f"{tmp_path / 'out'} cannot be written: No space left on device: make room there, or choose another --out"
    with monkeypatch.context() as patch:
        FullDisk(patch, error)
        assert said in refused(*prepare)
    assert main([str(part) for part in prepare]) == 0
    FullDisk(monkeypatch, error)
    # The domain that was there stays as it was.
    assert said in refused(*prepare, "--catalogue", "bought", "--force")


def test_an_interrupt_while_a_domain_is_written(tables, tmp_path, monkeypatch):
    FullDisk(monkeypatch, KeyboardInterrupt())
    before = contents(tmp_path)
    assert main(["data", "prepare", str(tables), "--out", str(tmp_path / "out")]) == 130
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [*FULL, KeyboardInterrupt()])
def test_an_evaluation_keeps_whole_parts_and_goes_on(tiny_domain, tmp_path, capsys, monkeypatch, error):
    evaluate = [
        "evaluate",
        "markov",
        "--data",
        str(tiny_domain.path),
        "--out",
        str(tmp_path / "out"),
        "--batch-size",
        "5",
    ]
    with monkeypatch.context() as patch:
        FullDisk(patch, error)
        assert main(evaluate) == (130 if isinstance(error, KeyboardInterrupt) else 2)
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    mends = ("interrupted", "cannot be written: No space left on device", "free some and call the same command again")
    assert any(mend in err for mend in mends), err
    assert not (tmp_path / "out").exists()
    (left,) = (tmp_path / ".parts-out").rglob("*.parquet")
    assert pl.read_parquet(left).height == 5
    assert main(evaluate) == 0
    assert not (tmp_path / ".parts-out").exists()


def test_a_full_disk_under_a_library_is_no_fault_of_calrecs(tiny_domain, refused, monkeypatch):
    def full(*_):
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("calrec.data.audit.audit", full)
    assert "make room there, and call the same command again" in refused("data", "audit", tiny_domain.path)


def test_a_path_that_cannot_be_written_is_no_fault_of_calrecs(tiny_run, tiny_domain, tmp_path, refused, monkeypatch):
    def read_only(path, *_, **__):
        raise OSError(30, "Read-only file system", str(path))

    assert main(["evaluate", "markov", "--data", str(tiny_domain.path), "--out", str(tmp_path / "results" / "a")]) == 0
    monkeypatch.setattr(Path, "mkdir", read_only)
    set_ = ("--set", f"stage_two.domain={tiny_domain.path}")
    for arguments in (
        ("train", "two-cores", "--out", tmp_path / "new", *set_),
        ("report", tmp_path / "results", "--out", tmp_path / "new" / "page.html"),
        ("evaluate", "markov", "--data", tiny_domain.path, "--out", tmp_path / "new" / "a"),
    ):
        assert "ead-only file system: choose another --out" in refused(*arguments)
