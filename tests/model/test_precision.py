"""A processor that takes narrow products in software is found out, and said, before hours are lost."""

import logging

import pytest

from calrec.model import precision
from calrec.model.precision import slowdown, warn_if_slow


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_is_measured_on_a_cpu(dtype):
    assert slowdown(dtype, "cpu") > 0


def test_float32_and_accelerators_are_not_measured(monkeypatch):
    monkeypatch.setattr(precision, "_product", lambda _: pytest.fail("measured"))
    assert slowdown("float32", "cpu") == slowdown("bfloat16", "cuda") == 1


@pytest.mark.parametrize(
    ("times", "said"), [(0.6, []), (1.9, []), (23.4, ["about 23 times as long as in float32 here: do"])]
)
def test_only_what_is_slow_is_warned_of(monkeypatch, caplog, times, said):
    monkeypatch.setattr(precision, "slowdown", lambda *_: times)
    with caplog.at_level(logging.WARNING):
        warn_if_slow("bfloat16", "cpu", "do")
    assert [message.rpartition(" take ")[2] for message in caplog.messages] == said
