"""cuDNN's attention is left out wherever a model computes, and comes back after."""

from threading import Event, Thread

import torch
from torch import nn

from calrec.model.attention_kernels import without_cudnn
from calrec.model.inference import inference
from calrec.training import stages
from calrec.training.config import TrainingPlan


def test_inference_goes_without_cudnn_and_leaves_it_as_it_was():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    with inference(nn.Linear(2, 2)):
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled() == before


def test_the_last_of_several_threads_sets_it_back():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    inside, leave = Event(), Event()

    def other():
        with without_cudnn():
            inside.set()
            leave.wait(10)

    thread = Thread(target=other)
    with without_cudnn():
        thread.start()
        inside.wait(10)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    leave.set()
    thread.join(10)
    assert torch.backends.cuda.cudnn_sdp_enabled() == before


def test_training_goes_without_cudnn(tiny_domain, tmp_path, monkeypatch):
    seen = []

    def loss(self, *given, **named):
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        return computed(self, *given, **named)

    computed = stages.CalrecTrainer.compute_loss
    monkeypatch.setattr(stages.CalrecTrainer, "compute_loss", loss)
    plan = TrainingPlan.model_validate(
        {
            "text": {"attributes": ["title"]},
            "model": {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 1, "heads": 2}},
            "stage_two": {"domain": str(tiny_domain.path), "epochs": 1, "tokens_per_batch": 600},
        }
    )
    stages.train(plan, tmp_path / "run", use_cpu=True)
    assert seen
    assert not any(seen)
