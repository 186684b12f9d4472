"""A shop with five items, two of which read the same, and files of lines."""

import json

import polars as pl
import pytest

from calrec.data.sources import Source


@pytest.fixture(scope="session")
def shop():
    """Make a source of (user, item, time) rows; items 1 and 3 read the same."""
    items = pl.DataFrame(
        {
            "item_id": ["1", "2", "3", "10", "11"],
            "title": ["pen", "ink", "pen", "paper", "glue"],
            "brand": ["a", "a", "a", "", "b"],
        }
    )
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64}

    def make(rows, **changes):
        interactions = pl.DataFrame(rows, schema=schema, orient="row")
        return Source("shop", "test", **{"items": items, "interactions": interactions, "files": {},
                                         "text_attributes": ("title", "brand"), **changes})  # fmt: skip

    return make


@pytest.fixture
def write_lines(tmp_path):
    """Write records as JSON lines; a str goes in as it is."""

    def write(name, records):
        path = tmp_path / name
        lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write
