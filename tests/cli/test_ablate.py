"""An ablation by the command a user types, and what a second call finds done."""

import json
from dataclasses import replace

import pytest

from calrec.atomic import sole_writer
from calrec.cli.main import main
from calrec.data.store import save, split_hash
from calrec.evaluation import load_result
from calrec.pipeline.methods import Request
from calrec.training import stages
from calrec.training.run_folder import load_card

RECIPE = """
text: {attributes: [title, brand]}
model: {backbone: bytes, init: random, random: {hidden_size: 16, layers: 2, heads: 2}}
stage_one: {domains: [DOMAIN], STAGE}
stage_two: {domain: DOMAIN, STAGE}
"""
STAGE = "epochs: 1, tokens_per_batch: 2000, validations: 1, validation_users: 4"
FEW = ("--inference", "sampling.n=6", "--inference", "sampling.max_new_tokens=12", "--cpu")
SOME = ("nig-alone", "without-stage-two", "without-fine-tuning", "samples-2", "best-alone")
ONLY = [argument for name in SOME for argument in ("--only", name)]


@pytest.fixture
def ablate(tiny_domain, tmp_path):
    """Calls the command on a recipe of the tiny domain; ``tmp_path / "ablation"`` is its folder."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("STAGE", STAGE).replace("DOMAIN", str(tiny_domain.path)))
    place = ["--data", str(tiny_domain.path), "--out", str(tmp_path / "ablation"), *FEW]

    return lambda *arguments: main(["ablate", str(recipe), *place, *map(str, arguments)])


@pytest.fixture
def trained(monkeypatch):
    """The folders of the stages that were trained, in order."""
    train_stage, folders = stages.train_stage, []

    def noted(plan, stage, domains, backbone, folder, *rest):
        folders.append(folder)
        return train_stage(plan, stage, domains, backbone, folder, *rest)

    monkeypatch.setattr(stages, "train_stage", noted)
    return folders


def test_it_fills_the_table_and_a_second_call_trains_and_writes_nothing(ablate, trained, tmp_path, capsys, monkeypatch):
    out = tmp_path / "ablation"
    assert ablate(*ONLY, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((out / "ablation.json").read_bytes())
    rows = {row["name"]: row for row in said["variants"]}
    assert set(rows) == {"full", *SOME}
    assert rows["nig-alone"]["changes"] == ["objective.alpha=0", "objective.beta=0"]
    assert all("p_holm" in rows[name]["against_full"]["recall@1"] for name in SOME)
    tokens = {name: row["tokens"] for name, row in rows.items()}
    assert tokens["full"] == tokens["samples-2"] > tokens["without-stage-two"] > tokens["without-fine-tuning"] == 0
    table = (out / "ablation.md").read_text()
    assert "Trained: all layers of bytes" in table
    assert "| L_NIG, neither contrastive loss | `objective.alpha=0`, `objective.beta=0` |" in table

    # The full recipe's Stage I is what is left without Stage II, and is trained once.
    runs = ["stage-one/full/stage-one", "runs/full/stage-two", "stage-one/nig-alone/stage-one"]
    assert sorted(str(folder.relative_to(out)) for folder in trained) == sorted([*runs, "runs/nig-alone/stage-two"])
    assert set(load_card(out / "runs" / "full").tokens) == {"stage-one", "stage-two"}
    assert not list(out.rglob("checkpoint-*"))

    before = {path: path.read_bytes() for path in (out / "results").rglob("*.*")}
    monkeypatch.setattr(Request, "generations", lambda self: pytest.fail("wrote again"))
    assert ablate(*ONLY) == 0
    assert len(trained) == 4
    assert {path: path.read_bytes() for path in (out / "results").rglob("*.*")} == before
    shown = capsys.readouterr()
    assert "ndcg@10 against full, paired over users" in shown.out
    assert "[2 of 6] without-stage-two: without Stage II (stage_two=null)" in shown.err
    assert "ablation.md" in shown.err


def test_what_is_missing_is_done_beside_what_is_there(ablate, trained):
    assert ablate("--only", "full") == 0
    assert ablate("--only", "samples-1", "--only", "without-stage-one") == 0
    assert [folder.parts[-3:] for folder in trained] == [
        ("stage-one", "full", "stage-one"),
        ("runs", "full", "stage-two"),
        ("runs", "without-stage-one", "stage-two"),
    ]


def test_results_are_as_any_others(ablate, tiny_domain, tmp_path, capsys):
    assert ablate("--only", "samples-2", "--only", "without-fine-tuning") == 0
    results = tmp_path / "ablation" / "results"
    names = ("full", "samples-2", "without-fine-tuning")
    for name in names:
        assert main(["verify", str(results / name), "--data", str(tiny_domain.path)]) == 0
    assert main(["compare", *(str(results / name) for name in names)]) == 0
    settings = {name: json.loads((results / name / "result.json").read_bytes())["settings"] for name in names}
    assert [settings[name]["inference"]["sampling"]["n"] for name in names] == [6, 2, 6]
    assert settings["without-fine-tuning"]["training"]["stage"] == "untrained"
    assert settings["samples-2"]["weights"] == settings["full"]["weights"] != settings["without-fine-tuning"]["weights"]
    for name, run, samples in (("samples-2", "full", 2), ("without-fine-tuning", "without-fine-tuning", 6)):
        place = ("--data", str(tiny_domain.path), "--out", str(tmp_path / name))
        inference = ("--set", f"sampling.n={samples}", "--set", "sampling.max_new_tokens=12")
        assert main(["evaluate", str(tmp_path / "ablation" / "runs" / run), *place, *inference]) == 0
        columns = ["user_id", "target", "rank_by_id", "rank_by_text", "top_items"]
        ours, plain = (load_result(folder).rankings.select(columns) for folder in (results / name, tmp_path / name))
        assert ours.equals(plain)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "without-stage-on"], "--only without-stage-on: did you mean without-stage-one?"),
        (["--set", "stage_two=null"], "the recipe has no stage_two, which an ablation trains"),
        (["--inference", "method=beam"], "method beam: an ablation ranks by the paper's way, samples"),
        (
            ["--set", "objective.next_item=catalogue"],
            "add --set objective.next_item=free or --inference sampling.bound",
        ),
        (["--inference", "sampling.sed=3"], "--inference: unknown key 'sampling.sed': did you mean 'seed'?"),
        (["--users", "99"], "the split has 12 users"),
        (["--split", "tset"], "choose test or valid"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(ablate, tmp_path, capsys, arguments, said):
    assert ablate(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("calrec: error: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "ablation").exists()


def test_a_folder_that_holds_something_else_is_refused(ablate, tmp_path, capsys):
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "thesis.tex").touch()
    assert ablate() == 2
    assert "ablation exists and is no ablation: choose another --out" in capsys.readouterr().err


def test_a_folder_of_another_recipe_is_refused(ablate, capsys):
    assert ablate("--only", "full") == 0
    assert ablate("--only", "full", "--set", "objective.alpha=0.2") == 2
    assert "holds a run of another recipe (objective.alpha 0.125 there and 0.2 here)" in capsys.readouterr().err


def test_results_of_another_kind_do_not_take_the_place_of_those_that_are_there(ablate, capsys):
    assert ablate("--only", "without-fine-tuning", "--users", "5") == 0
    assert ablate("--only", "full") == 2
    assert "holds another ablation (users: 5 and None): choose another --out" in capsys.readouterr().err
    # What decides nothing may be changed.
    again = ("--only", "without-fine-tuning", "--users", "5", "--set", "stage_two.checkpoint_minutes=3")
    assert ablate(*again) == 0


def test_an_ablation_is_run_by_one_process(ablate, tmp_path, capsys):
    assert ablate("--only", "full") == 0
    with sole_writer(tmp_path / "ablation"):
        assert ablate("--only", "full") == 2
    assert "ablation is in use by another process" in capsys.readouterr().err


def test_stage_two_of_another_domain_is_refused(ablate, tiny_domain, tmp_path, capsys):
    sequences = tiny_domain.sequences.head(8)
    manifest = tiny_domain.manifest.model_copy(update={"split_hash": split_hash(tiny_domain.items, sequences)})
    save(replace(tiny_domain, path=tmp_path / "other", sequences=sequences, manifest=manifest))
    assert ablate("--set", f"stage_two.domain={tmp_path / 'other'}") == 2
    assert "let both be one domain" in capsys.readouterr().err


def test_encoders_are_ranked_by_their_towers(ablate, tmp_path):
    assert ablate("--only", "encoders", "--set", "stage_one=null") == 0
    result = load_result(tmp_path / "ablation" / "results" / "encoders")
    assert result.summary.settings["inference"]["method"] == "towers"
    assert "generations" not in result.rankings.columns
