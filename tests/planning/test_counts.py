"""What a plan counts is what a real run computes."""

import json

import pytest
import safetensors.torch
import torch

from calrec.model.backbones import load_backbone
from calrec.model.towers import Towers
from calrec.planning.run_plan import plan_run
from calrec.training import alignment
from calrec.training.stages import train


class Seen:
    """Counts what a real run computes with gradients: tokens through the towers, and tokens that meet the head."""

    def __init__(self, monkeypatch):
        self.tokens = self.labels = self.forward_tokens = 0
        states, nll = Towers.states, alignment.linear_nll

        def counted_states(towers, ids, *more):
            if torch.is_grad_enabled():
                self.tokens += ids.numel()
            else:
                self.forward_tokens += ids.numel()
            return states(towers, ids, *more)

        def counted_nll(predicting, head, labels):
            self.labels += len(labels) * torch.is_grad_enabled()
            return nll(predicting, head, labels)

        monkeypatch.setattr(Towers, "states", counted_states)
        monkeypatch.setattr(alignment, "linear_nll", counted_nll)


@pytest.mark.parametrize(
    ("model", "stage", "objective"),
    [
        ({}, {}, {}),
        ({"train_layers": 1}, {"cache_gb": 1}, {"item_weight": 0.1}),
        ({"train_layers": 1}, {"accumulation": 2, "targets": "last", "epochs": 3}, {}),
        ({}, {"catalogue_texts": 2}, {"item_weight": 0.1}),
        ({}, {"token_budget": 1500}, {"alpha": 0, "beta": 0}),
    ],
)
def test_counts_are_those_of_a_real_run(plan, tmp_path, monkeypatch, model, stage, objective):
    settings = plan(model, stage, objective=objective)
    (planned,) = plan_run(settings, use_cpu=True, probing=False).stages
    start = load_backbone(settings.model).lm.state_dict()
    seen, news = Seen(monkeypatch), []
    card = train(settings, tmp_path / "run", news.append, use_cpu=True)
    history = json.loads((tmp_path / "run" / "stage-two" / "history.json").read_text())
    counts = planned.counts

    assert counts.tokens == card.tokens["stage-two"]
    said = f"{counts.sequences:,} sequences, {counts.item_texts:,} item texts, {counts.tokens:,} tokens in"
    assert any(line.startswith(f"{said} {counts.batches:,} batches") for line in news)
    assert counts.updates == max(entry["step"] for entry in history)
    assert counts.batches == counts.updates * counts.accumulation
    assert counts.validations == sum("eval_loss" in entry for entry in history)
    assert counts.computed_tokens == seen.tokens
    again = counts.computed_tokens if planned.operations["first passes"] else 0
    assert seen.forward_tokens == counts.validations * counts.validation_tokens + again
    assert counts.target_tokens + counts.item_label_tokens == seen.labels
    end = safetensors.torch.load_file(tmp_path / "run" / "model.safetensors")
    assert planned.trained == sum(w.numel() for name, w in end.items() if not torch.equal(w, start[name]))
    assert planned.cache.used == bool(list((tmp_path / "run" / "stage-two" / "cache").glob("*.f16")))
    if planned.cache.used:
        (file,) = (tmp_path / "run" / "stage-two" / "cache").glob("*.f16")
        assert file.stat().st_size == round(planned.cache.size_gb * 1e9)


def test_an_epoch_is_counted_whole_and_padding_apart(plan, tiny_domain):
    (one,) = plan_run(plan(stage={"epochs": 1}), use_cpu=True, probing=False).stages
    (half,) = plan_run(plan(stage={"token_budget": 400}), use_cpu=True, probing=False).stages
    assert one.counts.tokens == one.counts.tokens_per_epoch == half.counts.tokens_per_epoch > half.counts.tokens
    unpadded = one.counts.computed_tokens * (1 - one.counts.padding)
    assert unpadded == pytest.approx(round(unpadded))
    assert one.counts.tokens < unpadded < one.counts.computed_tokens
