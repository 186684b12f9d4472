"""Results: every user counted, resumable, verifiable, and comparable only under one protocol."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from calrec.atomic import sole_writer
from calrec.baselines import BASELINES, fit_baseline
from calrec.errors import ConfigError, DataError
from calrec.evaluation import evaluate, load_result
from calrec.evaluation.beyond import beyond_accuracy
from calrec.evaluation.compare import against, best_of, require_one_protocol
from calrec.evaluation.protocol import protocol_of
from calrec.evaluation.result import RANKINGS, RESULT, means, summarise
from calrec.evaluation.slices import slices_of
from calrec.evaluation.verify import faults
from calrec.metrics import ranking_metrics
from calrec.protocol import rankings


class Fixed:
    """Scores by a function of the user; counts how often it is asked."""

    name = "fixed"

    def __init__(self, domain, score_of):
        self.catalogue = domain.catalogue
        self.score_of = score_of
        self.asked = []

    def score(self, histories):
        self.asked += [history.user_id for history in histories]
        return np.stack([self.score_of(history) for history in histories]).astype(np.float32)

    def recommend(self, histories, k):
        return rankings(self.score(histories), self.catalogue, k)


@pytest.fixture
def targets(tiny_domain):
    return {example.user_id: example.target for example in tiny_domain.split("test")}


@pytest.fixture
def oracle(tiny_domain, targets):
    def score_of(history):
        scores = np.zeros(len(tiny_domain.catalogue))
        scores[tiny_domain.catalogue.positions[targets[history.user_id]]] = 1
        return scores

    return Fixed(tiny_domain, score_of)


@pytest.fixture
def silent(tiny_domain):
    return Fixed(tiny_domain, lambda history: np.full(len(tiny_domain.catalogue), -np.inf))


def test_an_oracle_is_perfect_and_who_says_nothing_misses(tiny_domain, oracle, silent, tmp_path):
    perfect = evaluate(oracle, tiny_domain, "test", tmp_path / "oracle").summary
    assert set(perfect.metrics.by_id.values()) == set(perfect.metrics.by_text.values()) == {1.0}
    nothing = evaluate(silent, tiny_domain, "test", tmp_path / "silent").summary
    assert set(nothing.metrics.by_id.values()) == {0.0}
    assert nothing.unranked == nothing.metrics.users == len(tiny_domain.split("test"))


@pytest.mark.parametrize("name", BASELINES)
def test_what_is_stored_is_what_the_scores_say(tiny_domain, tmp_path, name):
    method = fit_baseline(name, tiny_domain)
    result = load_result(evaluate(method, tiny_domain, "test", tmp_path / name).path)
    table = result.rankings
    assert table.columns == ["user_id", "target", "rank_by_id", "rank_by_text", "top_items"]
    assert result.summary.metrics.by_id["mrr"] == ranking_metrics(table["rank_by_id"].to_numpy())["mrr"]
    assert faults(result, tiny_domain) == []
    for row, example in zip(table.iter_rows(named=True), tiny_domain.split("test"), strict=True):
        assert example.history[-1] not in row["top_items"]
        place = row["top_items"].index(row["target"]) + 1 if row["target"] in row["top_items"] else 0
        assert place == row["rank_by_id"]
        assert 0 <= row["rank_by_text"] <= row["rank_by_id"]


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_the_batch_size_changes_nothing(tiny_domain, tmp_path, batch_size):
    method = fit_baseline("item-knn", tiny_domain)
    one = evaluate(method, tiny_domain, "test", tmp_path / "one", batch_size=7)
    other = evaluate(method, tiny_domain, "test", tmp_path / "other", batch_size=batch_size)
    assert one.rankings.equals(other.rankings)


def interrupted_at(user_id, plain):
    def score_of(history):
        if history.user_id == user_id:
            raise KeyboardInterrupt
        return plain(history)

    return score_of


def test_an_interrupted_evaluation_goes_on(tiny_domain, oracle, targets, tmp_path):
    plain, users = oracle.score_of, list(targets)
    oracle.score_of = interrupted_at(users[7], plain)
    with pytest.raises(KeyboardInterrupt):
        evaluate(oracle, tiny_domain, "test", tmp_path / "out", batch_size=3)
    assert not (tmp_path / "out").exists()
    oracle.asked, oracle.score_of = [], plain
    result = evaluate(oracle, tiny_domain, "test", tmp_path / "out", batch_size=3)
    assert oracle.asked == users[6:]
    assert result.rankings["user_id"].to_list() == users
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_one_network_scores_all_users(tiny_domain, oracle, targets, tmp_path):
    """A method that learns first learns anew after an interruption, and may round otherwise."""
    plain, users, learnt = oracle.score_of, list(targets), []
    oracle.prepare = lambda: learnt.append(None) or [0.25, 0.5]
    oracle.score_of = interrupted_at(users[7], plain)
    with pytest.raises(KeyboardInterrupt):
        evaluate(oracle, tiny_domain, "test", tmp_path / "out", batch_size=3)
    oracle.asked, oracle.score_of = [], plain
    for _ in range(2):  # the second finds the result
        result = evaluate(oracle, tiny_domain, "test", tmp_path / "out", batch_size=4)
    assert oracle.asked == users
    assert len(learnt) == 2
    assert load_result(result.path).summary.curve == (0.25, 0.5)


def test_a_finished_evaluation_is_not_made_again_but_other_settings_are(tiny_domain, oracle, tmp_path):
    evaluate(oracle, tiny_domain, "test", tmp_path / "out", settings={"n": 1})
    oracle.asked = []
    evaluate(oracle, tiny_domain, "test", tmp_path / "out", settings={"n": 1})
    assert not oracle.asked
    evaluate(oracle, tiny_domain, "test", tmp_path / "out", settings={"n": 2})
    assert oracle.asked


def test_a_broken_result_gives_way_to_a_new_one(tiny_domain, oracle, tmp_path):
    path = evaluate(oracle, tiny_domain, "test", tmp_path / "out").path
    (path / RESULT).write_text("{")
    evaluate(oracle, tiny_domain, "test", path)
    assert faults(load_result(path), tiny_domain) == []


def test_a_sample_of_users_is_the_same_for_all_methods(tiny_domain, oracle, silent, tmp_path):
    one = evaluate(oracle, tiny_domain, "test", tmp_path / "one", users=5)
    other = evaluate(silent, tiny_domain, "test", tmp_path / "other", users=5)
    assert one.rankings["user_id"].to_list() == other.rankings["user_id"].to_list()
    assert one.summary.protocol == other.summary.protocol
    with pytest.raises(ConfigError, match="the split has 12 users"):
        evaluate(oracle, tiny_domain, "test", tmp_path / "many", users=13)


def test_the_last_item_is_excluded_for_every_method_or_for_none(tiny_domain, tmp_path):
    last = Fixed(tiny_domain, lambda h: np.array([i == h.item_ids[-1] for i in tiny_domain.catalogue.ids]))
    out = evaluate(last, tiny_domain, "test", tmp_path / "out")
    kept = evaluate(last, tiny_domain, "test", tmp_path / "kept", last_excluded=False)
    for row, example in zip(kept.rankings.iter_rows(named=True), tiny_domain.split("test"), strict=True):
        assert row["top_items"][0] == example.history[-1]
    with pytest.raises(ConfigError, match="exclude_last: True and False"):
        require_one_protocol([out, kept])


def test_results_of_different_splits_are_not_compared(tiny_domain, oracle, tmp_path):
    test = evaluate(oracle, tiny_domain, "test", tmp_path / "test")
    valid = evaluate(fit_baseline("markov", tiny_domain), tiny_domain, "valid", tmp_path / "valid")
    with pytest.raises(ConfigError, match="split: test and valid"):
        require_one_protocol([test, valid])


def test_the_filter_that_differs_is_named(tiny_domain, oracle, tmp_path):
    one = evaluate(oracle, tiny_domain, "test", tmp_path / "one")
    manifest = tiny_domain.manifest
    settings = manifest.settings.model_copy(update={"ties": "source_order"})
    other = replace(tiny_domain, manifest=manifest.model_copy(update={"settings": settings}))
    with pytest.raises(ConfigError, match=r"different protocols \(filters\.ties: hash and source_order\)"):
        require_one_protocol([one, evaluate(oracle, other, "test", tmp_path / "other")])


def test_paired_tests_are_against_the_best(tiny_domain, oracle, silent, tmp_path):
    results = [evaluate(m, tiny_domain, "test", tmp_path / n) for m, n in ((silent, "a"), (oracle, "b"))]
    best = best_of(results, "mrr", "id")
    ((test, p_value),) = against(results, best, "mrr", "id").values()
    assert best is results[1]
    assert (test.difference, test.wins, test.ties, test.losses) == (-1.0, 0, 0, 12)
    assert p_value < 0.01


def change(folder, **columns):
    table = pl.read_parquet(folder / RANKINGS)
    table.with_columns(**columns).write_parquet(folder / RANKINGS)


def test_a_changed_number_beyond_accuracy_is_found(tiny_domain, oracle, tmp_path):
    path = evaluate(oracle, tiny_domain, "test", tmp_path / "out").path
    said = json.loads((path / RESULT).read_text())
    said["beyond"]["coverage"] += 0.1
    (path / RESULT).write_text(json.dumps(said))
    assert [fault.split(" is ")[0] for fault in faults(load_result(path), tiny_domain)] == ["beyond.coverage"]


def test_one_changed_rank_is_found(tiny_domain, tmp_path):
    path = evaluate(fit_baseline("markov", tiny_domain), tiny_domain, "test", tmp_path / "out").path
    ranks = pl.read_parquet(path / RANKINGS)["rank_by_id"].to_list()
    change(path, rank_by_id=pl.Series([ranks[0] % 9 + 1, *ranks[1:]]))
    found = faults(load_result(path))
    assert any("mrr" in fault for fault in found)
    assert any("the target stands at" in fault for fault in found)


def test_a_change_that_no_mean_shows_is_found(tiny_domain, tmp_path):
    result = evaluate(fit_baseline("popularity", tiny_domain), tiny_domain, "test", tmp_path / "out")
    tops = result.rankings["top_items"].to_list()
    last = [[*items[:-2], items[-1], items[-2]] for items in tops]
    known = [rank < len(items) - 1 for rank, items in zip(result.rankings["rank_by_id"], tops, strict=True)]
    changed = [other if free else items for other, items, free in zip(last, tops, known, strict=True)]
    assert changed != tops
    found = faults(replace(result, rankings=result.rankings.with_columns(top_items=pl.Series(changed))))
    assert found == ["rankings_hash is not that of the rankings"]


def test_users_who_stand_there_twice_are_found(tiny_domain, silent, tmp_path):
    result = evaluate(silent, tiny_domain, "test", tmp_path / "out")
    twice = pl.concat([result.rankings, result.rankings])
    protocol = protocol_of(tiny_domain, "test", twice["user_id"].to_list(), None)
    said = result.summary.model_copy(update={"protocol": protocol, "protocol_hash": protocol.hash})
    assert any("neither all" in fault for fault in faults(replace(result, rankings=twice, summary=said), tiny_domain))


def test_users_who_were_picked_by_hand_are_found(tiny_domain, oracle, tmp_path):
    result = evaluate(oracle, tiny_domain, "test", tmp_path / "out")
    few = result.rankings.head(5)
    protocol = protocol_of(tiny_domain, "test", few["user_id"].to_list(), None)
    slices, beyond = slices_of(tiny_domain, tiny_domain.split("test")[:5]), beyond_accuracy(few, tiny_domain)
    said = summarise("fixed", {}, protocol, few, slices, beyond, 0.0)
    assert faults(replace(result, rankings=few, summary=said)) == []
    (found,) = faults(replace(result, rankings=few, summary=said), tiny_domain)
    assert found == "the users are neither all of the domain's nor its fixed sample of 5"
    assert not faults(evaluate(oracle, tiny_domain, "test", tmp_path / "five", users=5), tiny_domain)


@pytest.mark.parametrize("fault", ["metric", "protocol", "target", "user"])
def test_other_changes_are_found(tiny_domain, tmp_path, fault):
    path = evaluate(fit_baseline("markov", tiny_domain), tiny_domain, "test", tmp_path / "out").path
    said = json.loads((path / RESULT).read_text())
    if fault == "metric":
        said["metrics"]["by_text"]["ndcg@10"] += 0.001
    elif fault == "protocol":
        said["protocol"]["exclude_last"] = False
    elif fault == "target":
        change(path, target=pl.lit("i0"), top_items=pl.lit([], dtype=pl.List(pl.String)))
    else:
        change(path, user_id=pl.lit("somebody"))
    (path / RESULT).write_text(json.dumps(said))
    assert faults(load_result(path), tiny_domain)


@pytest.mark.parametrize("fault", ["text rank", "excluded item", "rank behind a whole ranking"])
def test_ranks_that_the_best_items_contradict_are_found(tiny_domain, silent, tmp_path, fault):
    method = silent if "whole" in fault else fit_baseline("popularity", tiny_domain)
    result = evaluate(method, tiny_domain, "test", tmp_path / "out")
    table, first = result.rankings, tiny_domain.split("test")[0]
    if fault == "text rank":
        column, values = "rank_by_text", [rank % 8 + 1 for rank in table["rank_by_text"]]
    elif fault == "excluded item":
        column, values = "top_items", [[*table["top_items"][0], first.history[-1]], *table["top_items"][1:]]
    else:
        longest = ["i0"] if first.target != "i0" else ["i1"]
        table = table.with_columns(top_items=pl.Series([longest, *[[]] * (len(table) - 1)], dtype=pl.List(pl.String)))
        column, values = "rank_by_id", [0, 3, *table["rank_by_id"][2:]]
    changed = table.with_columns(pl.Series(column, values, dtype=table[column].dtype))
    said = result.summary.model_copy(update={"metrics": means(changed)})
    found = faults(replace(result, rankings=changed, summary=said), tiny_domain)
    wanted = {
        "text rank": "rank_by_text is",
        "excluded item": "last item",
        "rank behind a whole ranking": "rank_by_id is",
    }
    assert any(wanted[fault] in line for line in found)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"unranked": 1}, "result.json.unranked is 1, and the rankings give 0"),
        ({"beyond": {"charm": 1.0}}, "beyond.charm is claimed, and the rankings do not give it"),
        ({"slices": {}}, "slices.target not bought before is missing"),
    ],
)
def test_what_no_ranking_gives_is_found(tiny_domain, tmp_path, fault, said):
    path = evaluate(fit_baseline("popularity", tiny_domain), tiny_domain, "test", tmp_path / "out").path
    claimed = json.loads((path / RESULT).read_text())
    (path / RESULT).write_text(json.dumps(claimed | fault))
    found = faults(load_result(path), tiny_domain)
    assert said in found


def test_an_item_that_the_domain_lacks_is_found(tiny_domain, tmp_path):
    path = evaluate(fit_baseline("popularity", tiny_domain), tiny_domain, "test", tmp_path / "out").path
    change(path, top_items=pl.col("top_items").list.concat(pl.lit("i99")))
    assert faults(load_result(path), tiny_domain)[-1] == "i99 is ranked, and is no item of the domain (12 such places)"


@pytest.mark.parametrize("column", ["rank_by_id", "rank_by_text", "top_items", "user_id"])
def test_a_table_that_is_none_of_rankings_is_refused(tiny_domain, tmp_path, column):
    path = evaluate(fit_baseline("popularity", tiny_domain), tiny_domain, "test", tmp_path / "out").path
    change(path, **{column: pl.lit(-1)})
    with pytest.raises(DataError, match=f"the column {column} is missing, has gaps or holds something else"):
        load_result(path)


def test_a_result_is_made_by_one_process_and_what_a_killed_one_left_is_no_part_of_it(tiny_domain, tmp_path):
    method, work = fit_baseline("popularity", tiny_domain), tmp_path / ".parts-out"
    with sole_writer(work), pytest.raises(ConfigError, match="in use by another process"):
        evaluate(method, tiny_domain, "test", tmp_path / "out")

    class Killed(Fixed):
        def score(self, histories):
            if self.asked:
                (parts,) = (path for path in work.iterdir() if path.is_dir())
                (parts / ".00000003.0.part.parquet").write_bytes(b"half")
                raise KeyboardInterrupt
            return super().score(histories)

    def scores(history):
        return np.arange(9)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Killed(tiny_domain, scores), tiny_domain, "test", tmp_path / "out", batch_size=3)
    result = evaluate(Fixed(tiny_domain, scores), tiny_domain, "test", tmp_path / "out", batch_size=3)
    assert faults(result, tiny_domain) == []
    assert not work.exists()


def test_a_recommender_of_another_catalogue_is_refused(tiny_domain, oracle, tmp_path):
    oracle.catalogue = type(tiny_domain.catalogue)(tiny_domain.catalogue.items[:3])
    with pytest.raises(ConfigError, match="another catalogue"):
        evaluate(oracle, tiny_domain, "test", tmp_path / "out")


def test_a_folder_that_is_no_result_is_refused_and_kept(tiny_domain, oracle, tmp_path):
    with pytest.raises(DataError, match="is no result"):
        load_result(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="choose another --out"):
        evaluate(oracle, tiny_domain, "test", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
