"""Results of a domain with hostile titles, by baselines and by a method that writes; and a strict reader of pages."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from calrec.baselines import fit_baseline
from calrec.data.filters import FilterSettings
from calrec.data.prepare import build_domain
from calrec.data.sources import Source
from calrec.data.store import save
from calrec.evaluation import evaluate
from calrec.pipeline.grounding import Grounding
from calrec.pipeline.settings import InferenceSettings
from calrec.protocol import rankings
from calrec.records import Generation
from calrec.retrieval import Bm25Index
from calrec.text.item_text import ItemText, TextSettings

HOSTILE = '<script>alert("x")</script> & $x^2$'
TEXT = TextSettings(attributes=["title"])


@pytest.fixture
def domain(tmp_path):
    """Twelve users who walk a ring of nine items; the first item's title is ``HOSTILE``."""
    names = (HOSTILE, "bread <b>bold</b>", "cheese", "dates", "eggs", "figs", "grapes", "honey", "ice")
    items = pl.DataFrame({"item_id": [f"i{place}" for place in range(9)], "title": names})
    walks = [
        (f"u{user:02}", f"i{(user + (1 + user % 2) * step) % 9}", float(step))
        for user in range(12)
        for step in range(4 + user % 3)
    ]
    interactions = pl.DataFrame(walks, schema=["user_id", "item_id", "timestamp"], orient="row")
    source = Source("hostile & <i>co</i>", "test", items, interactions, files={}, text_attributes=("title",))
    made = build_domain(source, FilterSettings(), tmp_path / "domain")
    save(made)
    return made


class Scribe:
    """Writes the title bought next for users of even number, and an unknown word for the others."""

    name = "calrec <em>"

    def __init__(self, domain, samples=4):
        self.catalogue = domain.catalogue_with_texts(ItemText(TEXT))
        self.settings = InferenceSettings.model_validate({"sampling": {"n": samples}})
        self._targets = {example.user_id: example.target for example in domain.split("test")}
        self._index = Bm25Index(self.catalogue.texts, self.settings.bm25)

    @property
    def described(self):
        plan = {"text": TEXT.model_dump(mode="json")}
        return {"weights": "0" * 64, "training": {"plan": plan}, "inference": self.settings.described()}

    def written(self, user_id):
        first = self.catalogue.texts[self.catalogue.positions[self._targets[user_id]]]
        texts = [first if int(user_id[1:]) % 2 == 0 else "Title: <zyzzyva>", "Title: cheese and eggs"]
        return [Generation(text, (), -1.0 - place, 2 - place, place) for place, text in enumerate(texts)]

    def score_and_write(self, histories):
        written = [self.written(history.user_id) for history in histories]
        return np.stack([Grounding(self._index, w, self.settings.epsilon).scores for w in written]), written

    def score(self, histories):
        return self.score_and_write(histories)[0]

    def recommend(self, histories, k):
        return rankings(self.score(histories), self.catalogue, k)


@pytest.fixture
def results(domain, tmp_path):
    """The folder ``results`` with those of two baselines, and of a method that writes, with four samples and two."""
    folder = tmp_path / "results"
    for name in ("popularity", "markov"):
        method = fit_baseline(name, domain)
        evaluate(method, domain, "test", folder / name, settings=method.described)
    for samples in (4, 2):
        scribe = Scribe(domain, samples)
        evaluate(scribe, domain, "test", folder / f"samples-{samples}", settings=scribe.described)
    return folder


@pytest.fixture
def hostile():
    return HOSTILE


@pytest.fixture
def scribe(domain):
    """A method that writes, for a number of samples."""
    return lambda samples: Scribe(domain, samples)


_VOID = {"meta", "br"}


class Page(HTMLParser):
    """Refuses tags that are not closed where they must be.

    Attributes: ``tags`` (name, attributes), ``text`` that is shown, ``tables`` (caption, rows of cells).
    """

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.tables, self._open = [], "", [], []
        self._cell = None
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes), f"an attribute twice: {tag} {attributes}"
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append(["", []])
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag in ("td", "th"):
            self.tables[-1][1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        assert "svg" in self._open, f"<{tag}/> is no HTML"

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if "caption" in self._open:
            self.tables[-1][0] += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][1][-1][-1] += data

    def table(self, caption):
        return next(rows for said, rows in self.tables if caption in said)


@pytest.fixture
def read():
    """Reads a page."""
    return Page
