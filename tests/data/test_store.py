import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calrec.data.filters import FilterSettings
from calrec.data.prepare import build_domain
from calrec.data.store import Domain, load_domain, read_catalogue, save, split_hash
from calrec.errors import DataError
from calrec.records import Example, History

WALK = [(user, item, float(time)) for user in ("v", "u") for time, item in enumerate(("1", "2", "10", "3"))]

rows_of_a_long_user = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from(["1", "2", "3", "10", "11"]), st.integers(0, 4).map(float)),
    max_size=20,
).map(lambda rows: [*rows, *(("x", item, 0.0) for item in ("1", "2", "3"))])


@pytest.fixture
def domain(shop, tmp_path):
    return build_domain(shop(WALK), FilterSettings(), tmp_path / "shop")


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_domain_comes_back_as_it_was(domain):
    assert save(domain)
    loaded = load_domain(domain.path)
    assert loaded.items.equals(domain.items)
    assert loaded.sequences.equals(domain.sequences)
    assert loaded.manifest == domain.manifest
    assert read_catalogue(domain.path / "items.parquet") == domain.catalogue


def test_splits_and_training_sequences(domain):
    assert domain.split("test") == [Example(user, ("1", "2", "10"), "3") for user in "uv"]
    assert domain.split("valid") == [Example(user, ("1", "2"), "10") for user in "uv"]
    assert domain.split("train") == [Example(user, ("1",), "2") for user in "uv"]
    assert domain.training_sequences() == [History(user, ("1", "2")) for user in "uv"]
    assert domain.exclude_last


def test_histories_are_whole(domain):
    assert [(h.user_id, *h.item_ids) for h in domain.histories()] == [
        (user, *ids) for user, ids in domain.sequences.select("user_id", "item_ids").iter_rows()
    ]


def test_purchases_are_those_of_the_training_sequences(domain):
    bought = [item_id for history in domain.training_sequences() for item_id in history.item_ids]
    assert bought
    for item_id in (*domain.catalogue.ids, "no such item"):
        assert domain.purchases[item_id] == bought.count(item_id)


def test_catalogue_and_groups_share_their_order(domain):
    assert domain.catalogue.ids == ("1", "10", "11", "2", "3")
    assert domain.catalogue.texts == ("pen", "paper", "glue", "ink", "pen")
    branded = domain.catalogue_with_texts(lambda item: f"{item.title} of {item.attributes['brand']}")
    assert branded.texts[2] == "glue of b"
    groups = domain.text_groups
    assert groups[0] == groups[4]
    assert len(set(groups.tolist())) == 4
    assert np.issubdtype(groups.dtype, np.integer)


@settings(max_examples=40)
@given(rows_of_a_long_user)
def test_the_same_input_gives_the_same_bytes(shop, tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("same")
    for name in ("one", "other"):
        save(build_domain(shop(rows), FilterSettings(), folder / name))
    assert _bytes(folder / "one") == _bytes(folder / "other")


@settings(max_examples=40)
@given(rows_of_a_long_user, st.randoms(use_true_random=False), st.sampled_from(["keep", "merge"]))
def test_the_order_of_the_rows_does_not_change_the_domain(shop, rows, random, identical_texts):
    rules = FilterSettings(identical_texts=identical_texts)
    # Merged, the three items of x can be fewer than three texts: another keeps the domain from being empty.
    rows = [*rows, *(("y", item, 0.0) for item in ("2", "10", "11"))]
    shuffled = random.sample(rows, len(rows))
    one, other = (build_domain(shop(order), rules, Path("shop")) for order in (rows, shuffled))
    assert one.manifest == other.manifest
    assert one.sequences.equals(other.sequences)


@settings(max_examples=40)
@given(rows_of_a_long_user)
def test_no_split_leaks(shop, rows):
    """Times never go back, and what is learnt from ends before the targets of validation and test."""
    domain = build_domain(shop(rows), FilterSettings(), Path("shop"))
    whole = dict(domain.sequences.select("user_id", "item_ids").iter_rows())
    assert all(times == sorted(times) for times in domain.sequences["timestamps"].to_list())
    learnt = {history.user_id: history.item_ids for history in domain.training_sequences()}
    valid = {example.user_id: example for example in domain.split("valid")}
    for example in domain.split("test"):
        user = example.user_id
        assert [*learnt[user], valid[user].target, example.target] == whole[user]
        assert example.history == (*valid[user].history, valid[user].target)


def test_the_hash_knows_users_items_order_and_attributes(domain):
    items, sequences = domain.items, domain.sequences
    changed = [
        (items.with_columns(title=pl.col("title").str.to_uppercase()), sequences),
        (items.rename({"brand": "maker"}), sequences),
        (items, sequences.with_columns(user_id=pl.lit("z") + pl.col("user_id"))),
        (items, sequences.with_columns(pl.col("item_ids").list.reverse())),
    ]
    hashes = {split_hash(*tables) for tables in [(items, sequences), *changed]}
    assert len(hashes) == 1 + len(changed)
    assert split_hash(items, sequences.with_columns(timestamps=pl.col("timestamps") * 2)) == domain.split_hash


def test_manifest_has_no_paths(domain):
    save(domain)
    assert str(domain.path.parent) not in (domain.path / "manifest.json").read_text()


def test_saving_again_changes_nothing(domain):
    save(domain)
    times = [path.stat().st_mtime_ns for path in domain.path.iterdir()]
    assert not save(domain)
    assert times == [path.stat().st_mtime_ns for path in domain.path.iterdir()]


def test_a_different_domain_gives_way_only_when_told(shop, domain):
    save(domain)
    before = _bytes(domain.path)
    longer = build_domain(shop([*WALK, ("u", "1", 9.0)]), FilterSettings(), domain.path)
    with pytest.raises(DataError, match=r"different domain.*--force"):
        save(longer)
    assert _bytes(domain.path) == before
    assert save(longer, replace=True)
    assert load_domain(domain.path).split_hash == longer.split_hash
    assert [path.name for path in domain.path.parent.iterdir()] == ["shop"]


def test_what_is_no_domain_is_never_replaced(domain):
    domain.path.mkdir()
    (domain.path / "thesis.tex").write_text("years")
    with pytest.raises(DataError, match="is no domain"):
        save(domain, replace=True)
    assert (domain.path / "thesis.tex").read_text() == "years"


def test_an_empty_folder_is_taken(domain):
    domain.path.mkdir()
    assert save(domain)


def _spoil_json(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "skipped_lines": "many"}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "items.parquet").unlink(), "has no items.parquet"),
        (lambda folder: (folder / "items.parquet").write_bytes(b"?"), "prepare the domain again"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json.*prepare the domain again"),
        (_spoil_json, "manifest.json: skipped_lines: .*prepare the domain again"),
        (lambda folder: pl.read_parquet(folder / "items.parquet").head(2).write_parquet(folder / "items.parquet"),
         "are not those of manifest.json"),
    ],
)  # fmt: skip
def test_a_spoilt_domain_is_one_line(domain: Domain, spoil, message):
    save(domain)
    spoil(domain.path)
    with pytest.raises(DataError, match=message) as error:
        load_domain(domain.path)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"is no domain.*calrec data prepare"):
        load_domain(tmp_path / "nowhere")
