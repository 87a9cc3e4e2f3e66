"""Training: a network, batches and a specification in; a trained network out."""

from __future__ import annotations

from forecast_kit.nn.training.devices import in_precision, on_devices
from forecast_kit.nn.training.freezing import frozen
from forecast_kit.nn.training.loop import OnStep, Training, apply, train
from forecast_kit.nn.training.spec import TrainingSpec
from forecast_kit.nn.training.state import Checkpoint

__all__ = [
    "Checkpoint", "OnStep", "Training", "TrainingSpec", "apply", "frozen", "in_precision", "on_devices", "train",
]  # fmt: skip
