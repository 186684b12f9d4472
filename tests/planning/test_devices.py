"""Time on devices that are not here, by hand."""

import numpy as np
import pytest

from calrec.losses import ObjectiveSettings
from calrec.planning.counts import PassCounts
from calrec.planning.devices import LAUNCH_S, SUSTAINED, DeviceClass, estimate
from calrec.training.config import StageTwo


def test_a_device_is_told_by_its_stated_rate(passes_of, cost_of):
    card = DeviceClass("card", "a card", 2, memory_gb=1, bfloat16=10, float32=1)
    passes = passes_of(tokens=10**9, labels=10)
    stage = StageTwo(domain="x", accumulation=2, negatives="pass")
    two = PassCounts(*(np.repeat(getattr(passes, name), 2) for name in passes.__dataclass_fields__))
    objective = ObjectiveSettings(alpha=0, beta=0)
    told = estimate(card, cost_of(top_layers=0), two, passes_of(), stage, objective, True, 0, 1)
    operations = (4 * 1000 + 2 * 1000 + 2 * 2000) * 1e9 + 4 * 100 * 10 * 10
    assert told.seconds == pytest.approx(operations / (SUSTAINED * 10e12))
    assert not told.fits
    assert "1 GB" in told.why_not
    small = passes_of(tokens=10, labels=1)
    alone = StageTwo(domain="x")
    one = DeviceClass("card", "a card", 1, memory_gb=1, bfloat16=10, float32=1)
    told = estimate(one, cost_of(), small, passes_of(), alone, objective, True, 0, 1)
    assert told.fits
    assert told.seconds == pytest.approx(3 * LAUNCH_S)
    told = estimate(card, cost_of(), small, small, alone, objective, True, 0, 1)
    assert told.seconds is None
    assert "no multiple of 2" in told.why_not
