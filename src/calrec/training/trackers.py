"""Trackers of experiments, to which transformers writes; it finds a missing one only after everything is loaded."""

from __future__ import annotations

import os

from calrec.errors import ConfigError
from calrec.model.weights import offline
from calrec.training.config import TrainingPlan

_PACKAGES = {
    "tensorboard": "'calrec[track]'",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "comet_ml": "comet-ml",
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "dvclive": "dvclive",
    "swanlab": "swanlab",
}


def require_trackers(plan: TrainingPlan) -> None:
    """Refuse a plan whose trackers cannot be written to; keep them off the network where it is to be kept out.

    TensorBoard, MLflow and trackio write to local files unless their own environment variables say otherwise.

    Raises:
        ConfigError: a tracker that is not known, or whose package is not installed.
    """
    from transformers.integrations.integration_utils import get_available_reporting_integrations

    wanted = [(name.replace("-", "_"), tracker) for name, stage in plan.stages.items() for tracker in stage.trackers]
    installed = get_available_reporting_integrations() if wanted else []
    for stage_name, tracker in wanted:
        if tracker not in _PACKAGES:
            raise ConfigError(f"{stage_name}.trackers: {tracker!r} is none: choose of {', '.join(_PACKAGES)}")
        if tracker not in installed:
            raise ConfigError(
                f"{stage_name}.trackers: {tracker} is not installed: pip install {_PACKAGES[tracker]}, or leave it out"
            )
    if offline():
        os.environ.setdefault("WANDB_MODE", "offline")
