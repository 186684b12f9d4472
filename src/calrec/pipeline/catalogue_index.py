"""The catalogue, and all that is looked up in it: made when first asked for, and kept up when items come and go."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calrec.atomic import replacing
from calrec.errors import DataError, StorageError
from calrec.generation import ItemTrie, Prompt, catalogue_log_probs, score_items
from calrec.model.vectors import item_vectors
from calrec.pipeline.histories import HistoryReader
from calrec.pipeline.settings import InferenceSettings
from calrec.ranker import ItemFacts
from calrec.records import Catalogue, History
from calrec.retrieval import Bm25Index, DenseIndex
from calrec.text.decisions import DecisionTree
from calrec.text.encode import SequenceEncoder

logger = logging.getLogger(__name__)


class CatalogueIndex:
    """The items that can be recommended. It never changes: ``changed`` gives another one, and requests in flight keep
    theirs.

    Args:
        lm: the model, which reads the items for ``vectors`` and ``priors``.
        encoder: whose items are the catalogue's.
        catalogue: its texts are the template's.
        settings: of inference.
        store: folder where vectors, priors and BM25 are kept, and found again; None keeps nothing.
        weights: SHA-256 of the model's weights.

    Raises:
        DataError: the catalogue is empty.
    """

    def __init__(
        self,
        lm: Any,
        encoder: SequenceEncoder,
        catalogue: Catalogue,
        settings: InferenceSettings,
        store: Path | None,
        weights: str,
    ) -> None:
        if not len(catalogue):
            raise DataError("the catalogue is empty: at least one item must be there to be recommended")
        self.catalogue, self.encoder = catalogue, encoder
        self._lm, self._settings, self._store, self._weights = lm, settings, store, weights
        self._facts: ItemFacts | None = None

    def changed(self, catalogue: Catalogue) -> CatalogueIndex:
        """The index of another catalogue: only items that are new, or have a new text, are read.

        Raises:
            DataError: the catalogue is empty, or a new text is empty or too long.
        """
        origin = _origin(self.catalogue, catalogue)
        new = np.flatnonzero(origin < 0).tolist()
        added = Catalogue(
            tuple(catalogue.items[column] for column in new), tuple(catalogue.texts[column] for column in new)
        )
        encoder = self.encoder.changed(origin, added)
        other = CatalogueIndex(self._lm, encoder, catalogue, self._settings, None, self._weights)
        # What was made, or is kept in the store, is made over; the rest waits until it is asked for.
        if self._has("bm25", self._bm25_folder):
            other.bm25 = self.bm25.changed(origin, added.texts)
        if self._has("trie", None):
            other.trie = self.trie.changed(origin, [encoder.items[column].tolist() for column in new])
        if self._has("vectors", self._vectors_folder):
            other.vectors = self.vectors.changed(origin, other._vectors(new))
        # Over the catalogue every prior changes with it.
        if self._settings.likelihood != "catalogue" and self._has("priors", self._priors_file):
            other.priors = np.where(origin < 0, 0.0, self.priors[origin])
            other.priors[new] = other._priors(new)
        return other

    def _has(self, name: str, kept: Path | None) -> bool:
        return name in vars(self) or (kept is not None and kept.exists())

    def require_known(self, history: History) -> None:
        """Refuse a history that is empty, or holds an item that the catalogue does not have.

        Raises:
            DataError: it does.
        """
        if not history.item_ids:
            raise DataError(f"user {history.user_id!r}: the history is empty; name at least one item")
        unknown = [item_id for item_id in history.item_ids if item_id not in self.catalogue.positions]
        if unknown:
            raise DataError(f"user {history.user_id!r}: item {unknown[0]!r} is not in the catalogue")

    def prompt(self, history: History) -> Prompt:
        """A user's prompt; the user's id, or without one the history itself, seeds the samples."""
        encoded = self.encoder.prompt(self.catalogue.columns(history.item_ids))
        return Prompt(history.user_id or "\x1f".join(history.item_ids), tuple(encoded.token_ids.tolist()))

    @cached_property
    def reader(self) -> HistoryReader:
        return HistoryReader(self.catalogue)

    @cached_property
    def bm25(self) -> Bm25Index:
        texts, settings, folder = self.catalogue.texts, self._settings.bm25, self._bm25_folder
        return Bm25Index(texts, settings) if folder is None else Bm25Index.stored(folder, texts, settings)

    @cached_property
    def trie(self) -> ItemTrie:
        return ItemTrie([item.tolist() for item in self.encoder.items])

    @cached_property
    def decisions(self) -> DecisionTree:
        """The places where the items' texts part."""
        return DecisionTree(self.trie)

    def facts(self, purchases: Mapping[str, int]) -> ItemFacts:
        """Facts of the items for a fitted ranking; the first caller's purchases stay those of this index."""
        if self._facts is None:
            counts = np.array([purchases.get(item_id, 0) for item_id in self.catalogue.ids])
            self._facts = ItemFacts(self.catalogue, counts)
        return self._facts

    @cached_property
    def token_counts(self) -> NDArray[np.int64]:
        """(I,) tokens of every item, its end included."""
        return np.array([len(item) for item in self.encoder.items])

    @cached_property
    def priors(self) -> NDArray[np.float64]:
        """(I,) log p(item) after an empty history, in nats, by the likelihood that is set."""
        columns, path = range(len(self.catalogue)), self._priors_file
        if path is None:
            return self._priors(columns)
        try:
            return _read_priors(path, len(columns))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError) as error:
            logger.warning("%s cannot be read (%s); it is computed anew", path, error)
        priors = self._priors(columns)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part:
                np.save(part, priors, allow_pickle=False)
        except (OSError, StorageError) as error:
            logger.warning("the items' priors are made at every start, for %s", error)
        return priors

    @cached_property
    def vectors(self) -> DenseIndex:
        """The target tower's vector of every item."""
        columns, folder = range(len(self.catalogue)), self._vectors_folder
        if folder is None:
            return DenseIndex(self._vectors(columns), self._settings.dense)
        return DenseIndex.stored(folder, self._key, lambda: self._vectors(columns), self._settings.dense)

    def _priors(self, columns: Sequence[int]) -> NDArray[np.float64]:
        if not len(columns):
            return np.empty(0)
        opening = Prompt("", tuple(self.encoder.prompt([]).token_ids.tolist()))
        # Priors correct beams and candidates, and keep the lower of their limits.
        limit = min(self._settings.beam.memory_gb, self._settings.candidates.memory_gb)
        if self._settings.likelihood == "catalogue":
            return catalogue_log_probs(self._lm, [opening], self.decisions, [columns], memory_gb=limit)[0]
        return score_items(self._lm, [opening], self.trie, [columns], memory_gb=limit)[0]

    def _vectors(self, columns: Iterable[int]) -> NDArray[np.float32]:
        return item_vectors(self._lm, [self.encoder.item(column) for column in columns])

    @cached_property
    def _bm25_folder(self) -> Path | None:
        if self._store is None:
            return None
        # Of the version, too: another one may see other words in a text.
        key = hashlib.sha256("\0".join((version("calrec"), *self.catalogue.texts)).encode()).hexdigest()
        return self._store / f"bm25-{key[:16]}"

    @property
    def _vectors_folder(self) -> Path | None:
        return None if self._store is None else self._store / self._key[:16] / "vectors"

    @property
    def _priors_file(self) -> Path | None:
        name = "priors-catalogue.npy" if self._settings.likelihood == "catalogue" else "priors.npy"
        return None if self._store is None else self._store / self._key[:16] / name

    @cached_property
    def _key(self) -> str:
        """Of all that vectors and priors depend on."""
        digest = hashlib.sha256(f"{self._weights} {self._lm.dtype}".encode())
        for item in self.encoder.items:
            digest.update(item.tobytes())
        return digest.hexdigest()


def _read_priors(path: Path, items: int) -> NDArray[np.float64]:
    kept: NDArray[np.float64] = np.load(path, allow_pickle=False)
    if kept.shape != (items,) or not np.isfinite(kept).all():
        raise ValueError(f"it holds no {items} numbers")
    return kept


def _origin(old: Catalogue, new: Catalogue) -> NDArray[np.int64]:
    """(I,) of every item of ``new``: its column in ``old`` where it had the same text there, else -1."""
    columns = [old.positions.get(item_id, -1) for item_id in new.ids]
    same = [
        column if column >= 0 and old.texts[column] == text else -1
        for column, text in zip(columns, new.texts, strict=True)
    ]
    return np.array(same, dtype=np.int64)
