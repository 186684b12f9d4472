"""The quickstart on a tiny run: everything but its downloads and its training."""

import shutil

from rich.console import Console

from calrec import quickstart


def test_model_and_baselines_are_joined_compared_and_found_again(tiny_run, tiny_domain, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "prepare_domains", lambda folder: [tiny_domain, tiny_domain])
    monkeypatch.setattr(quickstart, "train", lambda plan, run, *_: shutil.copytree(tiny_run, run, dirs_exist_ok=True))
    monkeypatch.setattr("calrec.tuning.FITTED_FROM", 12)
    done = quickstart.run_quickstart(tmp_path / "out", Console())
    assert [result.summary.method for result in done.results][-2:] == ["fused-baselines", "calrec-fused"]
    assert "the model adds" in capsys.readouterr().out
    example = quickstart.example_household(done.results[-1], tiny_domain)
    (ranking,) = done.recommender.recommend([list(example.history)], k=3)
    assert ranking[0].trace.features

    def not_again(*_):
        raise AssertionError

    monkeypatch.setattr(quickstart, "tune", not_again)
    again = quickstart.run_quickstart(tmp_path / "out", Console())
    assert [r.summary.metrics for r in again.results] == [r.summary.metrics for r in done.results]
