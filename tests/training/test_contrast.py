"""The contrastive terms of an update cut into passes against the same update in one, by nothing but autograd."""

import pytest
import torch
from transformers import TrainerCallback

from calrec.losses import ObjectiveSettings, contrastive_terms, objective
from calrec.model.layers import train_top_layers
from calrec.model.towers import Towers
from calrec.training.alignment import Alignment, Vectors
from calrec.training.batches import Collator, TokenBudgetBatches
from calrec.training.choices import DomainDecisions
from calrec.training.config import SamplingRule, StageSettings
from calrec.training.contrast import RandomState, contrast
from calrec.training.sequences import all_target_windows
from calrec.training.trainer import CalrecTrainer, training_arguments

SETTINGS = ObjectiveSettings(alpha=0.3, beta=0.2)


def random_vectors(n, seed):
    drawn = torch.randn(3, n, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Vectors(*(part.clone().requires_grad_() for part in drawn))


@pytest.mark.parametrize("settings", [SETTINGS, ObjectiveSettings(alpha=0), ObjectiveSettings(beta=0)])
def test_gradients_by_the_vectors_are_those_of_all_passes_at_once(settings):
    passes = [random_vectors(n, seed) for seed, n in enumerate((3, 1, 4))]
    keys = torch.tensor([1, 2, 1, 3, 2, 5, 6, 7])
    together = Vectors(*(torch.cat(parts) for parts in zip(*passes, strict=True)))
    terms = contrastive_terms(settings, *together, same_target=keys[:, None] == keys[None, :])
    plain = objective(settings, terms)
    parts = contrast(settings, passes, keys.split([3, 1, 4]))
    loss = sum(part.through(vectors) for part, vectors in zip(parts, passes, strict=True))
    torch.testing.assert_close(loss, plain, rtol=1e-12, atol=0)
    for name, term in terms.items():
        torch.testing.assert_close(sum(part.terms[name] for part in parts), term.detach(), rtol=1e-12, atol=0)
    leaves = [leaf for vectors in passes for leaf in vectors]
    ours = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    theirs = torch.autograd.grad(plain, leaves, allow_unused=True, materialize_grads=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_random_numbers_are_replayed_and_then_go_on():
    torch.manual_seed(0)
    state = RandomState(torch.device("cpu"))
    first = torch.rand(3)
    after = torch.get_rng_state()
    with state.replayed():
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), after)


class Gradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.by_name = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def update(make_view, texts, tiny_domain, tmp_path, byte_tokens):
    """One update over all windows of the tiny domain, in passes of so many tokens: its gradients and its log."""
    view = make_view()
    windows = all_target_windows(view, tiny_domain.training_sequences())
    decisions = [DomainDecisions(view.encoder, view.keys)]

    def run(lm, tokens, settings=SETTINGS, negatives="update"):
        lengths, domains = [len(window) for window in windows], [0] * len(windows)
        passes = len(TokenBudgetBatches(lengths, domains, SamplingRule(), tokens, 1, None, 0))
        batches = TokenBudgetBatches(lengths, domains, SamplingRule(), tokens, 1, None, 0, passes)
        stage = StageSettings(accumulation=passes, max_grad_norm=1e9, validations=1)
        gradients = Gradients()
        trainer = CalrecTrainer(
            Alignment(Towers(lm), settings),
            training_arguments(stage, tmp_path / str(tokens), batches.updates, autocast=False, use_cpu=True),
            batches,
            windows,
            windows[:2],
            Collator(texts, pad_id=0, decisions=decisions if settings.next_item == "catalogue" else None, free=False),
            byte_tokens,
            [gradients],
            negatives,
        )
        trainer.train()
        return passes, gradients.by_name, trainer.state.log_history[0]

    return run


@pytest.mark.parametrize("next_item", ["free", "catalogue"])
@pytest.mark.parametrize("train_layers", [None, 1])
def test_an_update_in_passes_is_the_update_in_one(update, backbone, train_layers, next_item):
    results = []
    for tokens in (100_000, 200):
        lm = backbone.lm.double()
        before = {name: value.clone() for name, value in lm.state_dict().items()}
        train_top_layers(lm, train_layers)
        results.append(update(lm, tokens, SETTINGS.model_copy(update={"next_item": next_item})))
        lm.load_state_dict(before)
    (one, whole, whole_log), (several, parts, parts_log) = results
    assert one == 1
    assert several > 3
    own = ["nig"] if next_item == "free" else ["catalogue", "catalogue_item"]
    for name in ("loss", *own, "tt", "ut", "grad_norm"):
        assert parts_log[name] == pytest.approx(whole_log[name], rel=1e-5), name
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-7)  # RMSNorm works in float32


def test_negatives_of_one_pass_are_fewer(update, backbone):
    lm = backbone.lm.double()
    before = {name: value.clone() for name, value in lm.state_dict().items()}
    _, _, all_negatives = update(lm, 200)
    lm.load_state_dict(before)
    _, _, few = update(lm, 200, negatives="pass")
    assert few["nig"] == pytest.approx(all_negatives["nig"], rel=1e-6)
    assert few["tt"] < all_negatives["tt"]


def test_a_repeated_pass_drops_out_the_same(update, tiny_lm):
    for layer in tiny_lm.model.layers:
        layer.self_attn.attention_dropout = 0.3
    seen = {True: [], False: []}
    forward = Alignment.forward

    def spy(self, labels, item_labels=None, vectors_only=False, **batch):
        output = forward(self, labels, item_labels, vectors_only, **batch)
        if self.training:
            seen[vectors_only].append(output.vectors.user.detach())
        return output

    Alignment.forward = spy
    try:
        update(tiny_lm, 200)
    finally:
        Alignment.forward = forward
    assert len(seen[True]) == len(seen[False]) > 3
    assert all(torch.equal(one, other) for one, other in zip(seen[True], seen[False], strict=True))
