"""Precision and devices: what is computed where, and that several devices give the course of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from lines import H, T, draw, fitted, median, network

import forecast_kit
from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.networks import Recurrent, Shapes, build_network
from forecast_kit.nn.training import Training, TrainingSpec, apply, in_precision, on_devices

HERE = Path(__file__).parent


def in_a_process(script: str, **environment: str) -> dict[str, Any]:
    """What a script prints last, as JSON."""
    source = os.pathsep.join([str(Path(forecast_kit.__file__).parents[1]), str(HERE)])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, "FORECAST_KIT_QUIET_START": "1", "PYTHONPATH": source, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_in_16_bits_and_keeps_weights_in_32(precision: str) -> None:
    spec, head = TrainingSpec(steps=64, precision=precision, learning_rate=0.02), median()
    with in_precision(spec):
        model = build_network(Recurrent("gru", units=4, hidden=8), Shapes(T, H, 1), head, seed=0)
    assert keras.config.dtype_policy().name == "float32"
    short = precision.removeprefix("mixed_")
    policies = {layer.name: layer.compute_dtype for layer in model.layers if layer.weights}
    assert set(policies.values()) == {short}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    training = Training(model, head, draw, spec)
    before = keras.ops.convert_to_numpy(model(draw(0)[0]))
    training.run()
    after = apply(model, draw(0)[0])
    assert np.isfinite(after).all()
    assert not np.allclose(after, before)
    assert training.curve[-1, 1] < training.curve[0, 1]


def test_targets_are_not_rounded_under_mixed_precision() -> None:
    """Ten thousand and one is no number in bfloat16: it would be 9984."""
    spec, head = TrainingSpec(steps=4, precision="mixed_bfloat16"), median()
    with in_precision(spec):
        model = network(head)
    x = {fk.PAST_Y: np.full((1, T), 10_001, np.float32), fk.PAST_OBSERVED: np.ones((1, T), np.float32)}
    training = Training(model, head, draw, spec)
    found = keras.ops.convert_to_numpy(training._objective(x))
    np.testing.assert_allclose(found, 10_001, atol=1.0)


def test_on_the_cpu_it_is_the_same_training_as_by_default() -> None:
    spec = TrainingSpec(steps=8, device="cpu")
    with on_devices(spec):
        there = fitted(steps=8, device="cpu").weights
    np.testing.assert_array_equal(there, fitted(steps=8).weights)


def test_devices_that_are_not_there_are_refused() -> None:
    for spec, complaint in (
        (TrainingSpec(device="cpu:99"), r"device='cpu:99' is not there; there are 'cpu:0'"),
        (TrainingSpec(device="cpu", devices=64, batch_size=64), r"devices=64 with device='cpu' finds \d+ \('cpu:0'"),
    ):
        with pytest.raises(ArgumentError, match=complaint), on_devices(spec):
            pass


ON_TWO = """
import json, sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from lines import draw, median, network
from forecast_kit.nn.networks import Recurrent, Shapes, build_network
from forecast_kit.nn.training import Training, TrainingSpec, on_devices

found = {}
for name, devices in (("dense", 1), ("dense", 2), ("gru", 1), ("gru", "all")):
    # Clipping is at work, averages are kept, and targets are missing where one half of the batch has most of them.
    spec = TrainingSpec(steps=20, evaluations=4, learning_rate=0.02, device="cpu", devices=devices, clip_norm=0.05,
                        average=0.8, weight_decay=0.1, steps_per_execution=5)
    head = median()

    def lines(k):
        x, y, w = draw(k)
        w = w.copy()
        w[2:8] = 0.0
        return x, y, w

    with on_devices(spec):
        model = network(head) if name == "dense" else build_network(
            Recurrent("gru", units=4, hidden=8), Shapes(8, 2, 1), head, seed=0)
        training = Training(model, head, lines, spec, held=[draw(777)])
        training.run()
    weights = np.concatenate([weight.ravel() for weight in model.get_weights()])
    found.setdefault(name, []).append({"curve": training.curve.tolist(), "weights": weights.tolist()})
print(json.dumps(found))
"""


def test_two_devices_that_share_batches_train_as_one_does() -> None:
    found = in_a_process(ON_TWO, KERAS_BACKEND="tensorflow")
    for one, two in found.values():
        assert one["curve"][-1][1] < 0.9 * one["curve"][0][1]
        np.testing.assert_allclose(two["curve"], one["curve"], rtol=2e-3)
        np.testing.assert_allclose(two["weights"], one["weights"], rtol=2e-2, atol=2e-3)


ELSEWHERE = """
import json
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.training import TrainingSpec, on_devices
try:
    with on_devices(TrainingSpec(devices=2)):
        print(json.dumps({"complaint": ""}))
except ArgumentError as error:
    print(json.dumps({"complaint": str(error)}))
"""


def test_other_backends_do_not_share_batches() -> None:
    complaint = in_a_process(ELSEWHERE, KERAS_BACKEND="jax")["complaint"]
    assert complaint.startswith("devices=2 shares batches by TensorFlow, the backend is jax; take devices=1")
