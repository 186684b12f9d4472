"""Retrieval by vectors against inner products in exact arithmetic and plain sorting."""

import json
import logging
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calrec.errors import ConfigError, DataError
from calrec.retrieval.dense import DenseIndex, DenseSettings, inner_products

GRAPH = DenseSettings(exact_below=300, candidates=100)


def unit(rng, count, width=24):
    """Vectors around one mean, as a language model's are: no two are far apart."""
    vectors = rng.standard_normal((count, width)) + 2
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def plain_top(scores, k):
    """Columns of the k best, by the total order and nothing else."""
    return [sorted(range(len(row)), key=lambda column: (-row[column], column))[:k] for row in scores.tolist()]


def test_scores_are_inner_products_in_exact_arithmetic(rng):
    vectors, queries = unit(rng, 6), unit(rng, 3)
    scores = DenseIndex(vectors).scores(queries)
    assert scores.dtype == np.float32
    half, stepped = vectors.astype(np.float16).tolist(), np.rint(queries.astype(np.float64) * 2**28).tolist()
    for row, query in zip(scores, stepped, strict=True):
        for score, vector in zip(row, half, strict=True):
            exact = sum(Fraction(a) * Fraction(b) for a, b in zip(query, vector, strict=True)) / 2**28
            assert score == np.float32(float(exact))
    np.testing.assert_allclose(scores, queries @ vectors.T, atol=1e-3)  # what float16 leaves of them


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 70))
def test_no_batch_and_no_order_of_additions_changes_a_score(seed, queries, items):
    rng = np.random.default_rng(seed)
    vectors, asked = unit(rng, items, 200), unit(rng, queries, 200)
    scores = DenseIndex(vectors).scores(asked)
    one_by_one = [
        DenseIndex(vectors[[item]]).scores(asked[[query]]) for query in range(queries) for item in range(items)
    ]
    assert (np.ravel(one_by_one) == scores.ravel()).all()
    turned = rng.permutation(200)
    assert (DenseIndex(vectors[:, turned]).scores(asked[:, turned]) == scores).all()


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 50), st.sampled_from([(1, 1), (3, 7), (1024, 65536)]))
def test_top_is_the_sorted_scores(seed, items, k, sizes):
    rng = np.random.default_rng(seed)
    # Few distinct vectors, so that many scores are equal.
    vectors = unit(rng, 6)[rng.integers(0, 6, items)]
    queries = unit(rng, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inner_products, "_BLOCK", sizes[0])
        patch.setattr(inner_products, "_CHUNK", sizes[1])
        index = DenseIndex(vectors)
        columns, best = index.top(queries, k)
        scores = index.scores(queries)
    found = min(k, items)
    assert columns[:, :found].tolist() == plain_top(scores, k)
    assert (best[:, :found] == np.take_along_axis(scores, columns[:, :found], axis=1)).all()
    assert (columns[:, found:] == -1).all()
    assert (best[:, found:] == -np.inf).all()


@given(st.integers(0, 2**32), st.integers(1, 12), st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 5))
def test_a_changed_index_is_one_made_from_all_vectors(seed, items, stays, new):
    rng = np.random.default_rng(seed)
    old, added = unit(rng, items), unit(rng, new)
    kept = np.flatnonzero(stays[:items])
    new = new if len(kept) or new else 1
    added = unit(rng, new)
    origin = np.full(len(kept) + new, -1, dtype=np.int64)
    origin[np.sort(rng.choice(len(origin), len(kept), replace=False))] = kept
    expected = np.empty((len(origin), old.shape[1]), dtype=np.float32)
    expected[origin >= 0], expected[origin < 0] = old[kept], added
    index = DenseIndex(old)
    before = index.scores(old)
    changed, made = index.changed(origin, added), DenseIndex(expected)
    assert len(changed) == len(origin)
    assert (changed.scores(old) == made.scores(old)).all()
    assert all((a == b).all() for a, b in zip(changed.top(old, 4), made.top(old, 4), strict=True))
    assert (index.scores(old) == before).all()


class Computed:
    """Vectors, and how often they were asked for."""

    def __init__(self, vectors):
        self.vectors, self.times = vectors, 0

    def __call__(self):
        self.times += 1
        return self.vectors


@pytest.fixture
def computed(rng):
    return Computed(unit(rng, 9))


def test_a_stored_index_is_computed_once_and_mapped(tmp_path, computed):
    first = DenseIndex.stored(tmp_path / "run" / "towers", "a", computed)
    second = DenseIndex.stored(tmp_path / "run" / "towers", "a", computed)
    assert computed.times == 1
    expected = DenseIndex(computed.vectors).scores(computed.vectors)
    for index in (first, second):
        assert isinstance(index._vectors.base, np.memmap)
        assert (index.scores(computed.vectors) == expected).all()
    assert sorted(path.name for path in (tmp_path / "run" / "towers").iterdir()) == ["dense.json", "vectors.npy"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["towers"]
    stored = np.load(tmp_path / "run" / "towers" / "vectors.npy")
    assert stored.dtype == np.float16
    assert json.loads((tmp_path / "run" / "towers" / "dense.json").read_text())["key"] == "a"


def truncate(folder):
    whole = (folder / "vectors.npy").read_bytes()
    (folder / "vectors.npy").write_bytes(whole[:-8])


def other_shape(folder):
    np.save(folder / "vectors.npy", np.zeros((3, 24), dtype=np.float16))


DAMAGE = {
    "other key": lambda folder: None,
    "no card": lambda folder: (folder / "dense.json").unlink(),
    "no vectors": lambda folder: (folder / "vectors.npy").unlink(),
    "empty": lambda folder: (folder / "vectors.npy").write_bytes(b""),
    "truncated": truncate,
    "of another shape": other_shape,
    "no JSON": lambda folder: (folder / "dense.json").write_text("{"),
    "another JSON": lambda folder: (folder / "dense.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_be_trusted_is_computed_anew(tmp_path, computed, rng, caplog, damage):
    folder = tmp_path / "towers"
    DenseIndex.stored(folder, "a", computed)
    DAMAGE[damage](folder)
    others = Computed(unit(rng, 9))
    key = "b" if damage == "other key" else "a"
    with caplog.at_level(logging.INFO):
        index = DenseIndex.stored(folder, key, others)
    assert others.times == 1
    assert "computing it" in caplog.text
    assert (index.scores(others.vectors) == DenseIndex(others.vectors).scores(others.vectors)).all()
    DenseIndex.stored(folder, key, others)
    assert others.times == 1


def test_a_graph_that_cannot_be_kept_is_used(tmp_path, computed, monkeypatch, caplog):
    pytest.importorskip("usearch")
    folder = tmp_path / "towers"
    DenseIndex.stored(folder, "a", computed)
    monkeypatch.setattr(DenseIndex, "save", lambda *_: (_ for _ in ()).throw(DataError("the disk is read-only")))
    index = DenseIndex.stored(folder, "a", computed, DenseSettings(exact_below=4))
    assert (index.search, len(index)) == ("graph", 9)
    assert "the vectors are made at every start, for the disk is read-only" in caplog.text


def test_a_pickle_is_not_read(tmp_path, computed):
    folder = tmp_path / "towers"
    DenseIndex.stored(folder, "a", computed)
    np.save(folder / "vectors.npy", np.asarray([print], dtype=object), allow_pickle=True)
    DenseIndex.stored(folder, "a", computed)
    assert computed.times == 2


def test_an_index_that_cannot_be_kept_is_used_and_leaves_the_old_one(tmp_path, computed, monkeypatch, caplog):
    folder = tmp_path / "towers"
    DenseIndex.stored(folder, "a", computed)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        assert len(DenseIndex.stored(folder, "b", computed)) == 9
    assert "No space left" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["towers"]
    DenseIndex.stored(folder, "a", computed)
    assert computed.times == 2


def test_wrong_input(rng):
    vectors = unit(rng, 4)
    index = DenseIndex(vectors)
    with pytest.raises(DataError, match="at least one item"):
        DenseIndex(np.empty((0, 8)))
    with pytest.raises(ValueError, match=r"vectors must be \(I, D\), got \(24,\)"):
        DenseIndex(vectors[0])
    with pytest.raises(ValueError, match="vector 2 has length 2 and not 1"):
        DenseIndex(vectors * np.asarray([[1], [1], [2], [1]]))
    with pytest.raises(ValueError, match="vector 0 has length nan"):
        DenseIndex(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="query 1 has length 0 and not 1"):
        index.scores(vectors[:2] * np.asarray([[1], [0]]))
    with pytest.raises(ValueError, match=r"queries must be \(Q, 24\), got \(4, 23\)"):
        index.top(vectors[:, 1:], 3)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.top(vectors, 0)
    with pytest.raises(ValidationError):
        DenseSettings(candidates=0)
    assert [part.shape for part in index.top(vectors[:0], 2)] == [(0, 2), (0, 2)]
    assert index.scores(vectors[:0]).shape == (0, 4)


@pytest.mark.parametrize("origin", [[1, 0], [0, 4], [0, 0]])
def test_a_change_that_does_not_fit(rng, origin):
    index = DenseIndex(unit(rng, 4))
    with pytest.raises(ValueError, match="old columns below 4 in ascending order"):
        index.changed(np.asarray(origin), np.empty((0, 24)))


def test_a_change_of_wrong_vectors(rng):
    index = DenseIndex(unit(rng, 4))
    with pytest.raises(ValueError, match=r"2 new items, but vectors of shape \(1, 24\)"):
        index.changed(np.asarray([0, -1, -1]), unit(rng, 1))
    with pytest.raises(ValueError, match="vector 1 has length 3"):
        index.changed(np.asarray([0, -1, -1]), unit(rng, 2) * np.asarray([[1], [3]]))
    with pytest.raises(DataError, match="no item would be left"):
        index.changed(np.asarray([], dtype=np.int64), np.empty((0, 24)))


def test_without_usearch_a_large_catalogue_is_an_error_and_no_other_result(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    vectors = unit(rng, GRAPH.exact_below + 1)
    assert DenseIndex(vectors[1:], GRAPH).search == "exact"
    with pytest.raises(ConfigError, match=r'301 vectors .* pip install "calrec\[ann\]", or raise dense.exact_below'):
        DenseIndex(vectors, GRAPH)


class TestGraph:
    """Above the threshold: candidates come from a graph, and their scores are exact."""

    @pytest.fixture(autouse=True)
    def _usearch(self):
        pytest.importorskip("usearch")

    @pytest.fixture
    def vectors(self, rng):
        return unit(rng, 2000)

    @pytest.fixture
    def queries(self, rng):
        return unit(rng, 20)

    def recall(self, columns, exact):
        return np.mean([len(np.intersect1d(*pair)) / len(pair[1]) for pair in zip(columns, exact, strict=True)])

    def test_it_finds_nearly_all_and_scores_them_exactly(self, vectors, queries):
        index = DenseIndex(vectors, GRAPH)
        assert index.search == "graph"
        columns, scores = index.top(queries, 20)
        assert (np.take_along_axis(index.scores(queries), columns, axis=1) == scores).all()
        assert (np.diff(scores, axis=1) <= 0).all()
        exact, _ = DenseIndex(vectors).top(queries, 20)
        assert self.recall(columns, exact) > 0.95
        alone = np.concatenate([index.top(query[None], 20)[0] for query in queries])
        assert (alone == columns).all()
        assert index.top(queries[:0], 20)[0].shape == (0, 20)
        again, _ = DenseIndex(vectors, GRAPH).top(queries, 20)
        assert (again == columns).all()

    def test_a_ranking_longer_than_the_candidates_is_exact(self, vectors, queries):
        columns, scores = DenseIndex(vectors, GRAPH).top(queries, 101)
        exact, exact_scores = DenseIndex(vectors).top(queries, 101)
        assert (columns == exact).all()
        assert (scores == exact_scores).all()

    def test_it_is_stored_with_the_vectors(self, tmp_path, vectors, queries):
        computed = Computed(vectors)
        made = DenseIndex(vectors, GRAPH).top(queries, 20)
        for _ in range(2):
            stored = DenseIndex.stored(tmp_path / "towers", "a", computed, GRAPH)
            assert stored.search == "graph"
            assert all((a == b).all() for a, b in zip(stored.top(queries, 20), made, strict=True))
        assert computed.times == 1
        (tmp_path / "towers" / "graph.usearch").write_bytes(b"no graph")
        DenseIndex.stored(tmp_path / "towers", "a", computed, GRAPH)
        assert computed.times == 2

    def test_another_threshold_needs_no_new_vectors(self, tmp_path, vectors, queries):
        computed = Computed(vectors)
        assert DenseIndex.stored(tmp_path / "towers", "a", computed).search == "exact"
        assert DenseIndex.stored(tmp_path / "towers", "a", computed, GRAPH).search == "graph"
        assert (tmp_path / "towers" / "graph.usearch").exists()
        assert DenseIndex.stored(tmp_path / "towers", "a", computed).search == "exact"
        assert computed.times == 1

    def test_a_changed_catalogue_keeps_its_graph(self, tmp_path, vectors, queries, rng):
        index, added = DenseIndex(vectors, GRAPH), unit(rng, 90)
        kept = np.sort(rng.choice(2000, 1200, replace=False))
        origin = np.full(1290, -1, dtype=np.int64)
        origin[np.sort(rng.choice(1290, 1200, replace=False))] = kept
        changed = index.changed(origin, added)
        assert changed._graph._graph is index._graph._graph
        exact = DenseIndex(np.where((origin >= 0)[:, None], vectors[origin], 0) + self.placed(origin, added))
        columns, scores = changed.top(queries, 20)
        assert (np.take_along_axis(exact.scores(queries), columns, axis=1) == scores).all()
        assert self.recall(columns, exact.top(queries, 20)[0]) > 0.95
        # What is new is never missed.
        new = np.flatnonzero(origin < 0)
        assert (changed.top(added, 1)[0][:, 0] == new).all()
        # Changed twice, and kept on disk.
        twice = changed.changed(np.arange(5, 1290), np.empty((0, 24)))
        twice.save(tmp_path / "towers", "c")
        stored = DenseIndex.stored(tmp_path / "towers", "c", Computed(None), GRAPH)
        for later in (twice, stored):
            found = later.top(queries, 20)[0]
            assert all(len(np.unique(row)) == 20 for row in found)
            assert self.recall(found, DenseIndex(exact._vectors[5:]).top(queries, 20)[0]) > 0.95
            assert (later.top(added[new >= 5], 1)[0][:, 0] == new[new >= 5] - 5).all()

    def test_new_items_keep_their_place_among_equal_scores(self, vectors):
        """Ten copies of one vector, of which five are new to the graph: every other one."""
        copies = np.repeat(vectors[:1], 5, axis=0)
        index = DenseIndex(np.concatenate([copies, vectors[1:]]), GRAPH)
        origin = np.asarray([-1, 0, -1, 1, -1, 2, -1, 3, -1, *range(4, 2004)])
        columns, scores = index.changed(origin, copies).top(copies[:1], 8)
        assert columns[0].tolist() == list(range(8))
        assert len(set(scores[0].tolist())) == 1

    def placed(self, origin, added):
        result = np.zeros((len(origin), added.shape[1]), dtype=np.float32)
        result[origin < 0] = added
        return result

    def test_a_worn_graph_is_made_anew(self, vectors, rng):
        index = DenseIndex(vectors, GRAPH)
        half_gone = index.changed(np.arange(1001, 2000), np.empty((0, 24)))
        many_new = index.changed(np.append(np.arange(2000), np.full(301, -1)), unit(rng, 301))
        for changed, size in ((half_gone, 999), (many_new, 2301)):
            assert len(changed._graph.columns) == changed._graph.alive == size
        small = index.changed(np.arange(300), np.empty((0, 24)))
        assert small.search == "exact"
        assert small.changed(np.append(np.arange(300), -1), unit(rng, 1)).search == "graph"
