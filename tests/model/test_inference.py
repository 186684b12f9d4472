"""A model that several threads ask."""

from threading import Event, Thread

import torch
from torch import nn

from calrec.model.inference import inference


def test_one_thread_at_a_time_has_the_model():
    lm, inside, leave, second = nn.Linear(2, 2), Event(), Event(), []

    def first():
        with inference(lm), inference(lm):  # what is asked within is of the same request
            inside.set()
            leave.wait(10)
            second.append("first has left")

    def other():
        inside.wait(10)
        with inference(lm):
            second.append("other has it")

    threads = [Thread(target=first), Thread(target=other)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    threads[1].join(0.2)
    assert second == []
    with inference(nn.Linear(2, 2)):  # another model is free
        assert torch.is_inference_mode_enabled()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert second == ["first has left", "other has it"]
