"""Plans of the tiny domain, and passes and a model of round numbers."""

import numpy as np
import pytest

from calrec.planning.costs import ModelCost
from calrec.planning.counts import PassCounts
from calrec.training.config import TrainingPlan

RANDOM = {"backbone": "bytes", "init": "random", "random": {"hidden_size": 16, "layers": 2, "heads": 2}}
STAGE = {"tokens_per_batch": 300, "epochs": 1.5, "validations": 2, "validation_users": 6, "learning_rate": 1e-2}


@pytest.fixture
def plan(tiny_domain):
    def make(model=(), stage=(), **changes):
        base = {
            "text": {"attributes": ["title"], "user_prefix": "U", "first_item_prefix": "F", "next_item_prefix": "N"},
            "model": RANDOM | dict(model),
            "stage_two": {"domain": str(tiny_domain.path), "targets": "all", **STAGE, **dict(stage)},
        }
        return TrainingPlan.model_validate(base | changes)

    return make


@pytest.fixture
def passes_of():
    """Makes counts of one pass; what is not said is 0."""

    def make(**counts):
        names = ("tokens", "cells", "item_tokens", "unpadded", "labels", "item_labels", "targets")
        return PassCounts(*(np.asarray([counts.get(name, 0)]) for name in names))

    return make


@pytest.fixture
def cost_of():
    """Makes a model of round numbers: 2 frozen and 1 trained layer of 1,000 weights each, width 10, 100 words."""

    def make(**changes):
        shape = {
            "trunk": 2000,
            "top": 1000,
            "learnt": 1000,
            "trunk_layers": 2,
            "top_layers": 1,
            "attention": 10,
            "key_value": 5,
            "width": 10,
            "feed_forward": 20,
            "vocabulary": 100,
            "head_trained": False,
            "checkpointing": False,
            "trained": 1000,
            "parameters": 4000,
            "trained_bytes": 4000,
            "parameter_bytes": 16000,
            "weight_bytes": 4,
        }
        return ModelCost(**(shape | changes))

    return make
