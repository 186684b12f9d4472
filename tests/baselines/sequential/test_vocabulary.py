"""Items as tokens, and vectors of texts as a model gets them."""

from types import SimpleNamespace

import numpy as np

from calrec.baselines.sequential.unisrec import whitened
from calrec.baselines.sequential.vocabulary import Vocabulary, padded
from calrec.records import Catalogue, History, Item

DOMAIN = SimpleNamespace(
    catalogue=Catalogue(tuple(Item(item_id, {"title": item_id}) for item_id in "abcde")),
    training_sequences=lambda: [History("u", ("d", "a")), History("v", ("c",))],
)


def test_tokens_of_items_bought_in_training_come_first():
    without, all_items = (Vocabulary.of(DOMAIN, 50, unseen) for unseen in (False, True))
    assert without.tokens.tolist() == [1, 0, 2, 3, 0]
    assert without.columns.tolist() == [0, 2, 3]
    assert all_items.tokens.tolist() == [1, 4, 2, 3, 5]
    assert all_items.columns[:3].tolist() == without.columns.tolist()
    assert without.trained == all_items.trained == 3


def test_a_history_keeps_its_newest_known_items():
    vocabulary = Vocabulary.of(DOMAIN, 2, unseen=False)
    assert vocabulary.encode([0, 2, 1, 3, 4]).tolist() == [2, 3]
    assert vocabulary.encode([0, 2, 1, 3, 4], targets=1).tolist() == [1, 2, 3]
    assert vocabulary.encode([1]).tolist() == vocabulary.encode([]).tolist() == []
    assert padded([vocabulary.encode([0, 2]), vocabulary.encode([3])]).tolist() == [[1, 2], [3, 0]]


def test_whitened_vectors_have_the_identity_for_their_covariance():
    vectors = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32) * [9, 5, 2, 1, 1, 0] + 100
    white = whitened(vectors.astype(np.float32), 4)
    assert white.shape == (200, 4)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, ddof=0), np.eye(4), atol=1e-4)
    assert whitened(vectors.astype(np.float32), 9).shape == (200, 5)
