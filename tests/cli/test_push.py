"""Pushing a run, with a hub that only remembers what it was given."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

from calrec.cli.main import main
from calrec.data.learnt import LearntPurchases
from calrec.pipeline import InferenceSettings
from calrec.pipeline.tuned import save_inference
from calrec.training.config import TrainingPlan
from calrec.training.run_card import DomainCard, RunCard
from calrec.training.run_folder import ITEMS, load_card, save_model

FEW = ("--set", "sampling.n=2", "--set", "sampling.max_new_tokens=6")


def run_command(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def run(backbone, tiny_domain, tmp_path):
    plan = {"text": {"attributes": ["title"]}, "model": {"backbone": "bytes", "init": "random"}}
    card = RunCard(
        version="0",
        stage="stage-two",
        plan=TrainingPlan.model_validate({**plan, "stage_two": {"domain": str(tiny_domain.path)}}),
        domains={"stage-two": (DomainCard(name="tiny", split_hash=tiny_domain.split_hash),)},
        exclude_last=True,
        backbone=backbone.source,
        fingerprint=backbone.fingerprint,
        best={"stage-two": {"loss": 1.5}},
        tokens={"stage-two": 4321},
    )
    learnt = LearntPurchases.of([tiny_domain])
    save_model(tmp_path / "run", backbone.lm, backbone.tokenizer, card, tiny_domain.path / ITEMS, learnt)
    for place in ("stage-two/checkpoint-1/optimizer.pt", "stage-two/cache/states", "plan.json", "notes.txt"):
        (tmp_path / "run" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / place).write_text("mine")
    return tmp_path / "run"


@pytest.fixture
def results(run, tiny_domain, tmp_path, capsys):
    paths = {}
    for name, method, options in (("calrec", run, FEW), ("markov", "markov", ())):
        paths[name] = tmp_path / name
        done = run_command("evaluate", method, "--data", tiny_domain.path, "--out", paths[name], "--users", 6, *options)
        assert done == 0
    capsys.readouterr()
    return paths


class Hub:
    """Stands for ``huggingface_hub.HfApi``; keeps what a folder held while it was uploaded."""

    def __init__(self, private=False, failure=None):
        self.private, self.failure = private, failure
        self.made, self.files, self.options = None, {}, {}

    def create_repo(self, repo_id, *, private, exist_ok):
        if self.failure:
            raise self.failure
        self.made = (repo_id, private, exist_ok)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}", endpoint="https://huggingface.co")

    def model_info(self, repo_id):
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, folder_path, **options):
        self.options = options
        self.files = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}


@pytest.fixture
def online(monkeypatch):
    def make(hub, token="hf_x"):
        monkeypatch.setenv("CALREC_OFFLINE", "0")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
        return hub

    return make


def error_line(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("calrec: error: ")
    assert err.count("\n") == 1
    return err


def test_only_the_models_own_files_go_up(run, results, online, capsys):
    hub = online(Hub())
    assert run_command("push", run, "me/tiny", "--result", results["calrec"], "--licence", "MIT") == 0
    assert hub.made == ("me/tiny", None, True)
    assert set(hub.files) == {
        *("README.md", "calrec.json", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert hub.files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert {"*.safetensors", ITEMS} <= set(hub.options["delete_patterns"])
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.license == "mit"
    assert str(run.parent) not in hub.files["calrec.json"].decode() + card.content
    assert capsys.readouterr().out == "The model is at https://huggingface.co/me/tiny\n"


def test_what_went_up_recommends_and_is_a_run(run, online, tmp_path):
    hub = online(Hub())
    assert run_command("push", run, "me/tiny", "--with-catalogue") == 0
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in hub.files.items():
        (copy / name).write_bytes(content)
    assert load_card(copy).plan.stage_two.domain == "tiny"
    assert run_command("recommend", copy, "--history", "i0", *FEW) == 0


def test_tuned_settings_go_up_too(run, online):
    hub = online(Hub())
    save_inference(run, InferenceSettings(method="beam"), {})
    assert run_command("push", run, "me/tiny") == 0
    assert json.loads(hub.files["inference.json"])["settings"] == {"method": "beam"}
    assert "inference.json" in hub.options["delete_patterns"]


def test_the_example_with_transformers_alone_runs(run, monkeypatch, capsys):
    readme = (run / "README.md").read_text()
    example = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[-1]
    assert "import calrec" not in example
    exec(example.replace("path/to/this/folder", str(run)), {})
    assert capsys.readouterr().out.endswith("\n")


def test_results_stand_in_the_card_with_errors_and_protocol(run, results, capsys):
    wanted = ["--result", results["calrec"], "--result", results["markov"]]
    assert run_command("push", run, "me/tiny", *wanted, "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["url"] is None
    for path in results.values():
        result = json.loads((path / "result.json").read_text())
        mean, error = (result["metrics"][name]["ndcg@10"] for name in ("by_id", "by_id_error"))
        assert f"{mean:.4f} ± {error:.4f}" in said["card"]
        assert result["protocol_hash"] in said["card"]
    assert "tiny, test: 6 users, 9 candidates" in said["card"]
    assert '"max_new_tokens": 6' in said["card"]
    assert said["files"]["model.safetensors"] == (run / "model.safetensors").stat().st_size
    assert said["files"]["README.md"] == len(said["card"].encode())


def test_a_dry_run_needs_no_network_and_uploads_nothing(run, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("the hub was asked"))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert run_command("push", run, "me/tiny", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("---\nlibrary_name: calrec")
    assert re.search(r"[\d,]+ model.safetensors\n", shown)
    assert ITEMS not in shown
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_results_of_other_weights_are_refused(run, results, capsys):
    path = results["calrec"] / "result.json"
    said = json.loads(path.read_text())
    said["settings"]["weights"] = "0" * 64
    path.write_text(json.dumps(said))
    assert run_command("push", run, "me/tiny", "--result", results["calrec"], "--dry-run") == 2
    assert "was made by other weights (000000000000)" in error_line(capsys)


def test_a_baseline_stands_only_beside_the_run(run, results, capsys):
    assert run_command("push", run, "me/tiny", "--result", results["markov"], "--dry-run") == 2
    assert "is markov's, and no result of" in error_line(capsys)


def test_results_that_do_not_verify_are_refused(run, results, capsys):
    path = results["calrec"] / "result.json"
    said = json.loads(path.read_text())
    said["metrics"]["by_id"]["mrr"] = 0.99
    path.write_text(json.dumps(said))
    assert run_command("push", run, "me/tiny", "--result", results["calrec"], "--dry-run") == 2
    assert "by_id.mrr is 0.99" in error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("me/tiny",), "CALREC_OFFLINE or HF_HUB_OFFLINE keeps the network out"),
        (("me/too/deep", "--dry-run"), "Write owner/name"),
        (("me/tiny", "--licence", "do what you like", "--dry-run"), "write a hub's id of a licence"),
        (("me/tiny", "--result", "nowhere", "--dry-run"), "nowhere is no result"),
    ],
)
def test_a_mistake_is_one_line(run, capsys, arguments, complaint):
    assert run_command("push", run, *arguments) == 2
    assert complaint in error_line(capsys)


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert run_command("push", tmp_path, "me/tiny", "--dry-run") == 2
    assert "is no run" in error_line(capsys)


def answered(status):
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return HfHubHTTPError(f"{status} of the hub\nfor reasons", response=response)


@pytest.mark.parametrize(
    ("failure", "complaint"),
    [
        (answered(401), "does not know the token: run `hf auth login`"),
        (answered(403), "the token may not write there"),
        (answered(404), "there is no such owner"),
        (answered(500), "the hub refused it: 500 of the hub for reasons"),
        (OSError("name resolution failed"), "cannot be reached (name resolution failed): check the network"),
        (ValueError("license must be one of"), "the hub refused it: license must be one of"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_its_mend(run, online, capsys, failure, complaint):
    hub = online(Hub(failure=failure))
    assert run_command("push", run, "me/tiny") == 2
    assert complaint in error_line(capsys)
    assert hub.files == {}


def test_without_a_token_nothing_is_asked(run, online, capsys):
    hub = online(Hub(), token=None)
    assert run_command("push", run, "me/tiny") == 2
    assert "run `hf auth login`, or set HF_TOKEN" in error_line(capsys)
    assert hub.made is None


@pytest.mark.parametrize("private", [True, False])
def test_a_private_push_never_goes_to_a_public_repository(run, online, capsys, private):
    hub = online(Hub(private=private))
    assert run_command("push", run, "me/tiny", "--private") == (0 if private else 2)
    assert hub.made == ("me/tiny", True, True)
    assert bool(hub.files) == private
