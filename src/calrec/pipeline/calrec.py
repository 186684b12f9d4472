"""CALRec as a recommender: a history becomes a prompt, what the model makes of it becomes items."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calrec.baselines import BASELINES, fit_baseline
from calrec.data.learnt import LearntPurchases
from calrec.data.store import Domain, read_catalogue
from calrec.errors import DataError
from calrec.model.backbones import BackboneSettings, load_backbone
from calrec.model.precision import warn_if_slow
from calrec.pipeline.catalogue_index import CatalogueIndex
from calrec.pipeline.filters import Filter, allowed_items
from calrec.pipeline.methods import Request
from calrec.pipeline.settings import InferenceSettings
from calrec.pipeline.tuned import load_inference
from calrec.protocol import Recommender, rankings
from calrec.records import Catalogue, Generation, History, Item, Recommendation
from calrec.text.encode import SequenceEncoder
from calrec.text.item_text import ItemText
from calrec.training.run_card import RunCard
from calrec.training.run_folder import ITEMS, load_card

logger = logging.getLogger(__name__)

#: Folder in a run for what the model computed of catalogues.
COMPUTED = "computed"
# Histories that are recommended for at once.
_TOGETHER = 64


class CALRec:
    """A trained run over a catalogue; a ``calrec.protocol.Recommender``.

    Args:
        lm: the model, on the device it is to run on.
        tokenizer: its tokenizer.
        card: how the run writes its prompts.
        catalogue: the items that can be recommended; their texts are replaced by the template's.
        settings: of inference.
        fingerprint: SHA-256 of the weights, to stand in results.
        domain: that baselines learn from, where the settings name some.
        store: folder where the items' vectors and priors are kept.
        learnt: the purchases that it was trained on, where they are known.

    Raises:
        DataError: no item, or one without text, or with one that is too long.
    """

    def __init__(
        self,
        lm: Any,
        tokenizer: Any,
        card: RunCard,
        catalogue: Catalogue,
        settings: InferenceSettings | None = None,
        fingerprint: str = "",
        domain: Domain | None = None,
        store: Path | None = None,
        learnt: LearntPurchases | None = None,
    ) -> None:
        self.lm = lm
        self.tokenizer = tokenizer
        self.card = card
        self.settings = _with_likelihood(settings or InferenceSettings(), card)
        self.fingerprint = fingerprint
        self.learnt = learnt
        self._purchases = None if domain is None else domain.purchases
        used = [] if domain is None else [name for name in self.settings.used() if name in BASELINES]
        self._baselines: dict[str, Recommender] = {name: fit_baseline(name, domain) for name in used if domain}
        self._changing = Lock()
        self._item_text = ItemText(card.plan.text)
        written = self._written(catalogue.items)
        encoder = SequenceEncoder(tokenizer, card.plan.text, written, card.plan.lengths)
        self.index = CatalogueIndex(lm, encoder, written, self.settings, store, fingerprint)

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        catalogue: Catalogue | None = None,
        settings: InferenceSettings | None = None,
        device: str | None = None,
        domain: Domain | None = None,
    ) -> CALRec:
        """Load a run.

        Args:
            run: the folder that `calrec train` wrote.
            catalogue: other items than those the run was trained on, such as another domain's.
            settings: of inference; those that `calrec tune` left in the folder, or the paper's, where none are given.
            device: where the model runs; an accelerator where there is one.
            domain: that baselines learn from, where the settings name some.

        Raises:
            ModelError: the folder is no run, or its weights cannot be loaded.
        """
        folder = Path(run)
        card = load_card(folder)
        settings = settings or load_inference(folder)
        backbone = load_backbone(BackboneSettings(backbone=str(folder), dtype=settings.dtype))
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        warn_if_slow(settings.dtype, device, "set dtype=float32")
        catalogue = read_catalogue(folder / ITEMS) if catalogue is None else catalogue
        lm: Any = backbone.lm
        return cls(
            lm.to(device),
            backbone.tokenizer,
            card,
            catalogue,
            settings,
            backbone.fingerprint,
            domain,
            store=folder / COMPUTED,
            learnt=LearntPurchases.load(folder),
        )

    @classmethod
    def for_domain(
        cls, run: str | Path, domain: Domain, settings: InferenceSettings | None = None, device: str | None = None
    ) -> CALRec:
        """Load a run to recommend a domain's items, whether or not it was trained on them."""
        return cls.from_pretrained(run, domain.catalogue, settings, device, domain)

    @property
    def name(self) -> str:
        """``calrec`` is the paper's way; others say which they are."""
        method = self.settings.method
        return "calrec" if method == "samples" else f"calrec-{method}"

    @property
    def catalogue(self) -> Catalogue:
        return self.index.catalogue

    @property
    def described(self) -> dict[str, Any]:
        """All that decides this recommender's scores, to stand in results."""
        training = self.card.model_dump(mode="json", include={"stage", "tokens", "backbone", "plan"})
        return {
            "weights": self.fingerprint,
            "learnt_from": self.learnt_from,
            "learnt": self.learnt.fingerprint if self.learnt else None,
            "training": training,
            "inference": self.settings.described(),
        }

    @property
    def learnt_from(self) -> dict[str, list[str]]:
        """Split hashes of what the run was trained on, by the domain's name."""
        found: dict[str, set[str]] = {}
        for domain in chain.from_iterable(self.card.domains.values()):
            found.setdefault(domain.name, set()).add(domain.split_hash)
        return {name: sorted(hashes) for name, hashes in sorted(found.items())}

    def add_items(self, items: Iterable[Item]) -> None:
        """Put items on sale, or give known ones a new text; the next request sees them, and nothing is retrained.

        Raises:
            DataError: an item without text, or with one that is too long; nothing is changed then.
        """
        added = {item.item_id: item for item in items}
        self._replace(lambda known: known | added)

    def remove_items(self, item_ids: Iterable[str]) -> None:
        """Take items out; the next request neither finds them nor knows them in histories.

        Raises:
            DataError: an id that is not in the catalogue, or no item would be left; nothing is changed then.
        """
        gone = set(item_ids)

        def without(known: dict[str, Item]) -> dict[str, Item]:
            if unknown := sorted(gone - known.keys()):
                raise DataError(f"item {unknown[0]!r} is not in the catalogue, so it cannot be removed")
            return {item_id: item for item_id, item in known.items() if item_id not in gone}

        self._replace(without)

    def _replace(self, change: Callable[[dict[str, Item]], dict[str, Item]]) -> None:
        with self._changing:
            items = change({item.item_id: item for item in self.catalogue.items})
            self.index = self.index.changed(
                self._written([items[item_id] for item_id in sorted(items)], self.catalogue)
            )

    def _written(self, items: Sequence[Item], known: Catalogue | None = None) -> Catalogue:
        """The items with the template's texts; those that ``known`` holds keep the text that they have there."""
        texts = {} if known is None else {id(item): text for item, text in zip(known.items, known.texts, strict=True)}
        return Catalogue(tuple(items), tuple(texts.get(id(item)) or self._item_text(item) for item in items))

    def request(
        self,
        histories: Sequence[History] | Sequence[Sequence[str]],
        progress: Callable[[int], None] | None = None,
        filters: Filter | Sequence[Filter] | None = None,
        without_last: bool = False,
    ) -> Request:
        """Histories to be ranked, by one method or several.

        Args:
            histories: records, or lists of item ids or texts, oldest first.
            progress: called with the number of histories that the model is through with.
            filters: what may be recommended: one for all histories, or one for each.
            without_last: leave the last item of each history out.

        Raises:
            DataError: an empty history, an item that the catalogue does not have, or a filter that does not fit it.
        """
        index = self.index
        read = [history if isinstance(history, History) else index.reader.read(history) for history in histories]
        for history in read:
            index.require_known(history)
        allowed = None
        if filters is not None or without_last:
            allowed = allowed_items(index.catalogue, read, filters, without_last)
        return Request(
            self.lm,
            self.tokenizer,
            index,
            self.settings,
            self._baselines,
            read,
            progress,
            allowed,
            self._purchases,
            self.card.exclude_last,
        )

    def generate(
        self, histories: Sequence[History], progress: Callable[[int], None] | None = None
    ) -> list[list[Generation]]:
        """What the model writes for each history: its distinct texts, the most probable first."""
        return self.request(histories, progress).generations()

    def score(self, histories: Sequence[History]) -> NDArray[np.float64]:
        """Scores of all items: (H, I)."""
        return self.request(histories).scored(self.settings.method).scores

    def score_and_write(self, histories: Sequence[History]) -> tuple[NDArray[np.float64], list[list[Generation]]]:
        """Scores of all items, (H, I), and the texts that they come from, where the method samples any."""
        request = self.request(histories)
        scores = request.scored(self.settings.method).scores
        return scores, request.generations() if "samples" in self.settings.used() else [[] for _ in histories]

    def log_probs(
        self, histories: Sequence[History] | Sequence[Sequence[str]], items: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """log p(item | history) normalised over the catalogue, whatever ``settings.likelihood`` is.

        Args:
            histories: H of them, as for ``request``.
            items: ids, each once: normalise over these, as if the catalogue had no others.

        Returns:
            (H, I) in nats, items in the catalogue's order or in that of ``items``; exponentials of a row sum to one.

        Raises:
            DataError: as for ``request``, or an id that is unknown or named twice.
        """
        request, catalogue = self.request(histories), self.catalogue
        columns = list(range(len(catalogue)))
        if items is not None:
            unknown = [item_id for item_id in items if item_id not in catalogue.positions]
            if unknown or len(set(items)) < len(items):
                what = f"item {unknown[0]!r} is not in the catalogue" if unknown else "an id is named twice"
                raise DataError(f"items: {what}")
            columns = catalogue.columns(items)
        return request.catalogue_log_probs(columns, renormalise=items is not None)

    def allows_something(self, filters: Filter) -> bool:
        """Whether any item passes. Errors as for `Filter.mask`."""
        return bool(filters.mask(self.catalogue).any())

    def recommend(
        self,
        histories: Sequence[History] | Sequence[Sequence[str]],
        k: int = 10,
        filters: Filter | Sequence[Filter] | None = None,
    ) -> list[list[Recommendation]]:
        """The k best items of each history, each with why it is there where the method can say so.

        Args and errors as for ``request``; ``k`` places. Fewer come where a filter allows fewer.
        """
        parts = self.request(histories, filters=filters, without_last=self.card.exclude_last).parts(_TOGETHER)
        return list(chain.from_iterable(self._recommended(part, k) for part in parts))

    def _recommended(self, request: Request, k: int) -> list[list[Recommendation]]:
        scored = request.scored(self.settings.method)
        return [
            [
                replace(place, trace=scored.trace(user, request.index.catalogue.positions[place.item_id]))
                for place in of_user
            ]
            for user, of_user in enumerate(rankings(scored.scores, request.index.catalogue, k))
        ]

    def history(self, entries: Sequence[str], user_id: str = "") -> History:
        """A history from item ids, titles or item texts.

        Raises:
            DataError: no entries, or one that is neither; the nearest title is named.
        """
        return self.index.reader.read(entries, user_id)


def _with_likelihood(settings: InferenceSettings, card: RunCard) -> InferenceSettings:
    """The settings with the likelihood that the run was trained by, where they name none; a mismatch is logged."""
    trained = "catalogue" if card.plan.objective.next_item == "catalogue" else "free"
    used = settings.used()
    if settings.likelihood not in (None, trained):
        logger.warning("likelihood is %s, and the run was trained by the %s one", settings.likelihood, trained)
    elif trained == "catalogue" and "samples" in used and not settings.sampling.bound:
        logger.warning("free samples of a run trained over its catalogue: set sampling.bound=true, or method=beam")
    return settings.model_copy(update={"likelihood": settings.likelihood or trained})
