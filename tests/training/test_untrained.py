"""The backbone as a run that no stage has changed."""

import pytest
import safetensors.torch
import torch

from calrec import CALRec
from calrec.errors import ConfigError
from calrec.training.config import TrainingPlan
from calrec.training.run_folder import load_card
from calrec.training.untrained import UNTRAINED, save_untrained


@pytest.fixture
def plan(tiny_domain):
    shape = {"hidden_size": 16, "layers": 2, "heads": 2}
    return TrainingPlan.model_validate(
        {
            "text": {"attributes": ["title"], "next_item_prefix": "N"},
            "model": {"backbone": "bytes", "init": "random", "random": shape},
            "stage_two": {"domain": str(tiny_domain.path)},
        }
    )


def test_it_is_a_run_with_the_backbones_own_weights(plan, backbone, tiny_domain, tmp_path):
    run = tmp_path / "run"
    card = save_untrained(plan, tiny_domain, run)
    assert card == load_card(run)
    assert (card.stage, card.domains, card.tokens, card.fingerprint) == (UNTRAINED, {}, {}, backbone.fingerprint)
    saved = safetensors.torch.load_file(run / "model.safetensors")
    assert all(torch.equal(backbone.lm.state_dict()[name], weight) for name, weight in saved.items())
    recommender = CALRec.from_pretrained(run)
    assert recommender.catalogue.ids == tiny_domain.catalogue.ids
    prompt = recommender.tokenizer.decode(recommender.index.prompt(recommender.history(["i0"])).token_ids)
    assert prompt.endswith("Title: apple 0\nN\n")


def test_its_card_claims_no_training(plan, tiny_domain, tmp_path):
    save_untrained(plan, tiny_domain, tmp_path / "run")
    readme = (tmp_path / "run" / "README.md").read_text()
    assert "Nothing was trained" in readme
    assert "## Use" in readme
    for claim in ("Fine-tuned", "## Training", "## Data", "was trained on"):
        assert claim not in readme


def test_it_is_made_once_and_never_over_another(plan, tiny_domain, tiny_run, tmp_path):
    save_untrained(plan, tiny_domain, tmp_path / "once")
    made = (tmp_path / "once" / "model.safetensors").stat().st_mtime_ns
    save_untrained(plan, tiny_domain, tmp_path / "once")
    assert (tmp_path / "once" / "model.safetensors").stat().st_mtime_ns == made
    with pytest.raises(ConfigError, match="holds another run"):
        save_untrained(plan, tiny_domain, tiny_run)
