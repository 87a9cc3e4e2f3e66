"""The training's specification: what it takes, what it refuses, what it computes."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.training import TrainingSpec


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"steps": 0}, "steps must be a whole number, at least 1; got 0"),
        ({"steps": True}, "steps must be a whole number"),
        ({"epochs": 0}, "epochs must be a positive number or None, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"optimizer": "adm"}, "optimizer must be one of adam, adamw, .*; got 'adm'. Did you mean 'adam'"),
        ({"optimizer": 3}, "optimizer must be one of .*; got 3"),
        ({"learning_rate": -1e-3}, "learning_rate must be a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number"),
        ({"schedule": "cosin"}, "schedule must be one of .* Did you mean 'cosine'"),
        ({"warmup": 1.0}, "warmup must be a number of at least 0 and below 1, got 1.0"),
        ({"warmup": "0.1"}, "warmup must be a number of at least 0"),
        ({"weight_decay": -0.1}, "weight_decay must be a number of at least 0, got -0.1"),
        ({"clip_norm": "1"}, "clip_norm must be a positive number or None"),
        ({"clip_value": 0}, "clip_value must be a positive number or None, got 0"),
        ({"average": 1}, "average must be a number of at least 0 and below 1, got 1"),
        ({"relative_loss": 1}, "relative_loss must be True or False, got 1"),
        ({"step_weights": "inverted"}, "step_weights must be one of linear, inverse; .* Did you mean 'inverse'"),
        ({"step_weights": (1.0, -1.0)}, "step_weights must be 'linear', 'inverse' or numbers of at least 0"),
        ({"step_weights": (0.0, 0.0)}, "not all of them 0"),
        ({"step_weights": ()}, "step_weights must be 'linear', 'inverse' or numbers"),
        ({"step_weights": 3}, "step_weights must be 'linear', 'inverse' or numbers"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"precision": "mixed_flot16"}, "precision must be one of .* Did you mean 'mixed_float16'"),
        ({"device": "gpo"}, "device must be 'auto', 'cpu', 'gpu' or .*; got 'gpo'. Did you mean 'gpu'"),
        ({"device": "gpu:x"}, "device must be .*such as 'gpu:0'; got 'gpu:x'"),
        ({"device": "auto:0"}, "device must be .*; got 'auto:0'"),
        ({"device": None}, "device must be .*; got None"),
        ({"devices": 0}, "devices must be a whole number, at least 1, or 'all'; got 0"),
        ({"devices": "both"}, "devices must be a whole number, at least 1, or 'all'; got 'both'"),
        ({"devices": 2, "device": "gpu:0"}, "device='gpu:0' is a single one; with devices=2 name the kind, 'gpu'"),
        ({"devices": 3}, "batch_size must be a multiple of devices, which share each batch; got 128 and 3"),
        ({"validation": -1}, "validation must be a whole number, at least 0"),
        ({"patience": 0}, "patience must be a whole number, at least 1, or None; got 0"),
        ({"evaluations": 0}, "evaluations must be a whole number, at least 1"),
        ({"refit": True}, "refit=True trains again on what validation holds out; set validation=1 or more"),
        ({"steps_per_execution": 0}, "steps_per_execution must be a whole number, at least 1"),
        ({"progress": "lines"}, "progress must be one of auto, bar, log, none; got 'lines'"),
    ],
)
def test_bad_specs_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        TrainingSpec(**arguments)


def test_a_spec_goes_through_json() -> None:
    spec = TrainingSpec(step_weights=(3, 1), devices="all", validation=2, refit=True, patience=3, clip_value=0.5)
    assert TrainingSpec(**json.loads(json.dumps(asdict(spec)))) == spec


@pytest.mark.parametrize(("epochs", "steps"), [(1, 10), (0.05, 1), (2.5, 25), (1e-9, 1)])
def test_epochs_are_passes_over_as_many_windows_as_there_are(epochs: float, steps: int) -> None:
    assert TrainingSpec(epochs=epochs, batch_size=32).total_steps(windows=320) == steps


def test_without_epochs_the_steps_count() -> None:
    assert TrainingSpec(steps=7).total_steps(windows=10**6) == 7


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("linear", [4, 3, 2, 1]), ("inverse", [1, 1 / 2, 1 / 3, 1 / 4]), ([0, 2, 2, 0], [0, 2, 2, 0])],
)
def test_weights_of_the_steps_ahead_are_one_in_the_mean(weights: Any, expected: list[float]) -> None:
    found = TrainingSpec(step_weights=weights).weights_ahead(4)
    assert found is not None
    np.testing.assert_allclose(found, np.array(expected) * 4 / sum(expected))


def test_step_weights_must_be_as_many_as_there_are_steps_ahead() -> None:
    assert TrainingSpec().weights_ahead(5) is None
    with pytest.raises(ArgumentError, match="step_weights must be a number for each of 5 steps ahead, got 2"):
        TrainingSpec(step_weights=(1, 2)).weights_ahead(5)
