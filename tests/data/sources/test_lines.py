import gzip

import polars as pl
import pytest

from calrec.data.sources.lines import first_record, is_literal, read_lines, read_whole_lines
from calrec.errors import DataError

SCHEMA = {"id": pl.String(), "time": pl.Float64(), "tags": pl.List(pl.String())}
REQUIRED = ["id", "time"]
GOOD = [{"id": "a", "time": 1, "tags": ["x", "y"], "other": 0}, {"id": "b", "time": 2.5, "tags": None}]
READ = [{"id": "a", "time": 1.0, "tags": ["x", "y"]}, {"id": "b", "time": 2.5, "tags": None}]


def read(path, skip_bad=False):
    return read_lines(path, SCHEMA, REQUIRED, skip_bad)


def test_json(write_lines):
    frame, skipped = read(write_lines("a.json", GOOD))
    assert (frame.to_dicts(), skipped) == (READ, 0)


def test_gzipped_whatever_the_name(write_lines):
    plain = write_lines("a.json", GOOD).read_bytes()
    for name in ("b.json.gz", "b.json"):
        path = write_lines(name, [])
        path.write_bytes(gzip.compress(plain))
        assert read(path)[0].to_dicts() == READ


def test_python_literals(write_lines):
    path = write_lines("a.json", map(repr, GOOD))
    assert is_literal(path)
    assert read(path)[0].to_dicts() == READ
    assert first_record(path) == GOOD[0]


def test_literals_are_never_run(write_lines):
    path = write_lines("a.json", ["{'id': __import__('os').getcwd(), 'time': 1}"])
    with pytest.raises(DataError, match="line 1 is no record"):
        read(path)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"id": "c", ', "is no record"),
        ("<html>", "is no record"),
        ("[1]", "is no record"),
        ('{"time": 1}', "has no 'id'"),
        ('{"id": "c", "time": null}', "has 'time' None"),
        ('{"id": "c", "time": "noon"}', "has 'time' 'noon'"),
    ],
)
def test_a_bad_line_is_named_or_skipped(write_lines, bad, says):
    path = write_lines("a.json", [GOOD[0], "", bad, GOOD[1]])
    with pytest.raises(DataError, match=rf"a\.json: line 3 {says}.*--skip-bad-lines"):
        read(path)
    frame, skipped = read(path, skip_bad=True)
    assert (frame.to_dicts(), skipped) == (READ, 1)


def test_all_fields(write_lines):
    """A type that changes late in the file is seen, and bad lines are as above."""
    path = write_lines("a.jsonl", [*GOOD, '{"id": ', {"id": "c", "late": 1.5}])
    with pytest.raises(DataError, match=r"a\.jsonl: line 3 is no record"):
        read_whole_lines(path, skip_bad=False)
    frame, skipped = read_whole_lines(path, skip_bad=True)
    assert (frame["id"].to_list(), frame["late"].to_list(), skipped) == (["a", "b", "c"], [None, None, 1.5], 1)


def test_bytes_that_are_no_text_spoil_their_line_alone(write_lines):
    path = write_lines("a.json", GOOD)
    path.write_bytes(b'{"id": "\xff", "time": 0}\n' + path.read_bytes())
    with pytest.raises(DataError, match="line 1 is no record"):
        read(path)
    assert read(path, skip_bad=True)[0].to_dicts() == READ


@pytest.mark.parametrize("reader", [read, lambda path: read_whole_lines(path, False), first_record])
def test_broken_gzip(write_lines, reader):
    path = write_lines("a.json.gz", [])
    path.write_bytes(b'{"id": "a"}\n')
    with pytest.raises(DataError, match=r"a\.json\.gz is not gzip though its name says so"):
        reader(path)
    # Random digits do not compress to so little that the first block of the file has them all.
    rows = "".join(f'{{"id": "{hash(str(number))}", "time": {number}}}\n' for number in range(50_000))
    path.write_bytes(gzip.compress(rows.encode())[:-4000])
    if reader is first_record:
        assert reader(path)["time"] == 0
        return
    with pytest.raises(DataError, match="ends too early"):
        reader(path)


def test_an_empty_file(write_lines):
    with pytest.raises(DataError, match="is empty"):
        first_record(write_lines("a.json", []))
