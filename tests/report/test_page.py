"""The page: sound HTML that needs nothing else, and says what the results say."""

import importlib.util
import json
import re
import sys

import pytest

from calrec.baselines import fit_baseline
from calrec.errors import DataError
from calrec.evaluation import evaluate, load_result
from calrec.metrics import holm, paired_test
from calrec.report.ledger import comparisons
from calrec.report.page import page, save_page
from calrec.report.training import training_log

DRAWN = importlib.util.find_spec("matplotlib") is not None


@pytest.fixture
def html(results, domain, logged_run):
    return page(comparisons(results, domain), "calrec report <results>", training_log(logged_run), domain)


@pytest.fixture
def logged_run(tiny_run):
    """A run with the log of a stage."""
    card = json.loads((tiny_run / "calrec.json").read_text())
    card["tokens"], card["best"] = {"stage-two": 1234}, {"stage-two": {"loss": 2.5, "nig": 2.25, "step": 2.0}}
    (tiny_run / "calrec.json").write_text(json.dumps(card))
    (tiny_run / "stage-two").mkdir()
    log = [{"step": s, "loss": 3.0 / s, "nig": 2.0 / s} for s in (1, 2, 3)] + [{"step": 2, "eval_loss": 2.5}]
    (tiny_run / "stage-two" / "history.json").write_text(json.dumps(log))
    return tiny_run


def test_it_is_sound_html_and_needs_nothing_else(html, read):
    shown = read(html)
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in shown.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form", "img", "image")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src", "action", "data", "aria-labelledby"):
                assert value.removeprefix("#") in ids
            assert re.findall(r"url\((?!#)", value or "") == []
        if tag == "svg":
            assert ("role" in attributes and attributes["aria-label"]) or attributes["aria-hidden"] == "true"
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    style = re.search(r"<style>(.*?)</style>", html, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in html


def test_how_a_baseline_learnt_is_shown(domain, results, read):
    assert "Did the neural baselines learn enough?" not in page(comparisons(results), "calrec report")
    markov = fit_baseline("markov", domain)
    markov.prepare = lambda: [0.125, 0.5, 0.25]
    evaluate(markov, domain, "test", results / "learnt", settings={"seed": 1})
    shown = read(page(comparisons(results), "calrec report"))
    (rows,) = (rows for caption, rows in shown.tables if caption == "Learnt for this evaluation")
    assert rows[1] == ["learnt", "3", "2", "0.5000"]
    assert any("over the passes" in (a.get("aria-label") or "") for tag, a in shown.tags if tag == "svg") == DRAWN


def test_what_data_and_models_say_is_text(html, results, read, hostile):
    shown = read(html)
    assert "<script" not in html
    for said in (hostile.replace("$x^2$", ""), "calrec report <results>", "hostile & <i>co</i>", "<zyzzyva>"):
        assert said.strip() in " ".join(shown.text.split())


def test_hostile_names_of_methods_are_text_in_tables_and_plots(domain, results, read):
    scribes = comparisons(results / "samples-4")
    markov = fit_baseline("markov", domain)
    for name in ("<svg onload=alert(1)> $x$", "another"):  # one method twice, so each is called by its folder
        evaluate(markov, domain, "test", results / "samples-4" / "deep" / name)
    both = comparisons(results / "samples-4")
    for of in (scribes, both):
        shown = read(page(of, "x"))
        assert "calrec <em>" in shown.text
        assert not [tag for tag, _ in shown.tags if tag == "em"]
    assert shown.text.count("<svg onload=alert(1)> $x$") >= 3


def test_the_main_table_is_that_of_the_results(html, results, read):
    header, *rows = read(html).table("Items by their id")
    assert header == ["method", "Recall@1", "Recall@10", "NDCG@10", "MRR"]
    assert len(rows) == 4
    for name, *cells in rows:
        metrics = load_result(results / name).summary.metrics
        for metric, cell in zip(("recall@1", "recall@10", "ndcg@10", "mrr"), cells, strict=True):
            assert cell == f"{metrics.by_id[metric]:.4f} ± {metrics.by_id_error[metric]:.4f}"


def test_the_best_of_a_column_is_bold(html, results):
    table = re.search(r"<caption>Items by their id.*?</table>", html, re.S)[0]
    best = max(load_result(folder).summary.metrics.by_id["recall@10"] for folder in results.iterdir())
    for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", table, re.S):
        shown = re.findall(r"<td>(.*?)</td>", row, re.S)[1]
        assert shown.startswith("<strong>") == (f"{best:.4f}" in shown)


def test_tests_are_paired_against_the_best_and_corrected(html, results, read):
    _, *rows = read(html).table("NDCG@10 against markov")
    values = {folder.name: load_result(folder).per_user("ndcg@10") for folder in results.iterdir()}
    tests = {row[0]: paired_test(values[row[0]], values["markov"]) for row in rows}
    corrected = dict(zip(tests, holm([test.p_value for test in tests.values()]), strict=True))
    assert sorted(tests) == ["popularity", "samples-2", "samples-4"]
    for name, difference, _, p_value, users in rows:
        assert float(difference.replace("−", "-")) == pytest.approx(tests[name].difference, abs=5e-5)
        assert p_value == ("< 0.001" if corrected[name] < 0.001 else f"{corrected[name]:.3f}")
        assert users == f"{tests[name].wins} / {tests[name].ties} / {tests[name].losses}"


def test_it_says_what_the_comparison_came_to(html, read):
    text = " ".join(read(html).text.split())
    assert re.search(r"markov has the highest NDCG@10: 0\.\d{4} ± 0\.\d{4}\.", text)
    assert re.search(r"does not tell .* apart from it|significantly better than", text)


def test_samples_groups_beyond_and_training_are_there(html, results, read):
    shown = read(html)
    text = " ".join(shown.text.split())
    assert [row[0] for row in shown.table("By the number of samples")[1:]] == ["samples-2", "samples-4"]
    assert "target not bought before" in [row[0] for row in shown.table("in groups of users")]
    header, *rows = shown.table("Variety of the ten best")
    beyond = load_result(results / "samples-4").summary.beyond
    of = dict(zip(header, next(row for row in rows if row[0] == "samples-4"), strict=True))
    assert of["exact texts"] == f"{100 * beyond['exact']:.1f} %"
    assert of["distinct texts"] == f"{beyond['distinct']:.2f}"
    assert next(row for row in rows if row[0] == "markov")[header.index("exact texts")] == ""
    assert shown.table("Validation of the weights")[1] == ["Stage two", "1,234", "2.5000", "2.2500", "2"]
    assert "None of the results above was made by its weights." in text


@pytest.mark.skipif(not DRAWN, reason="needs matplotlib")
def test_plots_have_names_and_axes_with_units(html, read):
    names = [attributes["aria-label"] for tag, attributes in read(html).tags if tag == "svg" and "role" in attributes]
    for said in ("Recall@1: differences", "NDCG@10 by purchases of the item in training", "over the number of samples"):
        assert any(said in name for name in names)
    assert {"Stage two: objective", "Stage two: L_NIG"} <= set(names)
    for label in ("samples a user", "NDCG@10 (mean ± standard error)", "update", "L_NIG, nats a token"):
        assert f">{label}</text>" in html


def test_without_matplotlib_it_stands_without_plots_and_says_so(results, domain, logged_run, monkeypatch, read):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    html = page(comparisons(results, domain), "x", training_log(logged_run), domain)
    shown = read(html)
    assert not [tag for tag, _ in shown.tags if tag == "svg"]
    assert "This page has no plots" in shown.text
    assert shown.table("in groups of users")
    assert "<details><summary>The same in numbers" not in html


def test_one_result_is_not_tested_against_itself(results, read):
    shown = read(page(comparisons(results / "markov"), "x"))
    assert "Is the best one better?" not in shown.text
    assert "markov reaches NDCG@10" in shown.text


def test_protocols_stand_apart_and_their_difference_is_named(results, domain, read):
    evaluate(fit_baseline("markov", domain), domain, "test", results / "few", users=5)
    shown = read(page(comparisons(results, domain), "x"))
    assert "Results under 2 protocols" in shown.text
    assert re.search(r"differs from that of .* in users and users_hash\.", " ".join(shown.text.split()))
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_one_user_has_no_standard_error(results, domain, tmp_path, read):
    for name in ("markov", "popularity"):
        evaluate(fit_baseline(name, domain), domain, "test", tmp_path / "one" / name, users=1)
    shown = read(page(comparisons(tmp_path / "one"), "x"))
    assert "1 test user" in shown.text
    assert "±" not in "".join(cell for row in shown.table("Items by their id")[1:] for cell in row)


def test_the_same_results_give_the_same_page(results, domain, html, logged_run):
    again = page(comparisons(results, domain), "calrec report <results>", training_log(logged_run), domain)
    assert again == html


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(html, tmp_path):
    path = tmp_path / "new" / "report.html"
    save_page(html, path)
    save_page(html + " ", path)
    assert path.read_text(encoding="utf-8") == html + " "
    for name in ("thesis.html", "data.parquet"):
        (tmp_path / name).write_text("years of work")
        with pytest.raises(DataError, match="is no report: choose another --out"):
            save_page(html, tmp_path / name)
        assert (tmp_path / name).read_text() == "years of work"


def test_a_log_that_cannot_be_read_is_a_mistake(logged_run):
    (logged_run / "stage-two" / "history.json").write_text("{")
    with pytest.raises(DataError, match=r"history\.json cannot be read"):
        training_log(logged_run)
    (logged_run / "stage-two" / "history.json").write_text("[1]")
    with pytest.raises(DataError, match="is no log of a stage"):
        training_log(logged_run)
    (logged_run / "stage-two" / "history.json").unlink()
    with pytest.raises(DataError, match="leave --run out"):
        training_log(logged_run)
