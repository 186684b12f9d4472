"""Example users: chosen by a rule, and grounded as they were when they were ranked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calrec.evaluation import load_result
from calrec.pipeline.grounding import Grounding
from calrec.report.examples import EACH, PLACES, _parts, examples
from calrec.report.ledger import comparisons
from calrec.retrieval import Bm25Index
from calrec.retrieval.bm25.vocabulary import words


@pytest.fixture
def shown(results, domain):
    (comparison,) = comparisons(results, domain)
    return examples(comparison, domain)


def test_the_first_users_of_every_kind_are_shown(shown, results):
    ranks = dict(load_result(results / shown.name).rankings.select("user_id", "rank_by_id").iter_rows())
    kinds = {"found first": lambda r: r == 1, "found at 2 to 10": lambda r: 2 <= r <= 10, "missed": lambda r: r == 0}
    for kind, belongs in kinds.items():
        chosen = [user.user_id for user in shown.users if user.kind == kind]
        assert chosen == [user_id for user_id, rank in ranks.items() if belongs(rank)][:EACH]
    assert {user.kind for user in shown.users} >= {"found first", "missed"}


def test_places_are_those_of_the_result_and_traces_those_of_the_grounding(shown, results, scribe):
    stored = {row["user_id"]: row for row in load_result(results / shown.name).rankings.iter_rows(named=True)}
    writer = scribe(shown.samples)
    index = Bm25Index(writer.catalogue.texts, writer.settings.bm25)
    for user in shown.users:
        best = stored[user.user_id]["top_items"]
        assert [place.item_id for place in user.places][: len(best[:PLACES])] == best[:PLACES]
        grounding = Grounding(index, writer.written(user.user_id), writer.settings.epsilon)
        for place in user.places:
            assert place.trace == grounding.trace(writer.catalogue.positions[place.item_id])
            assert place.item_id == best[place.rank - 1]
            assert place.is_target == (place.rank == user.rank)


def test_the_history_and_the_target_are_texts_of_the_domain(shown, domain):
    by_user = {example.user_id: example for example in domain.split("test")}
    titles = dict(domain.items.select("item_id", "title").iter_rows())
    for user in shown.users:
        example = by_user[user.user_id]
        assert user.history == tuple(f"Title: {titles[item_id]}" for item_id in example.history)
        assert user.target == f"Title: {titles[example.target]}"


def test_results_without_texts_have_no_examples(results, domain):
    (comparison,) = comparisons(results / "markov", domain)
    assert examples(comparison, domain) is None


@given(st.text(), st.text())
def test_marking_shared_words_loses_no_text(text, written):
    parts = list(_parts(text, words(written)))
    assert " ".join(piece for piece, _ in parts) == text
    for piece, shared in parts:
        assert shared == bool(set(words(piece)) & set(words(written)))
