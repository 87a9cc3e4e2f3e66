"""Learning rates, clipping, weight decay and averages, each against the rule written out in NumPy."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from forecast_kit.nn.training import TrainingSpec
from forecast_kit.nn.training.optimizers import LearningRates, averages_of, make_optimizer

RATE, STEPS, WARM = 0.5, 40, 8


def oracle(schedule: str, k: int) -> float:
    if k < WARM:
        return RATE * (k + 1) / (WARM + 1)
    t = (k - WARM) / (STEPS - WARM)
    return RATE * {
        "cosine": (1 + math.cos(math.pi * t)) / 2, "linear": 1 - t, "exponential": 0.01**t, "constant": 1.0,
        "step": 1.0 if t < 0.5 else 0.1 if t < 0.75 else 0.01,
    }[schedule]  # fmt: skip


@pytest.mark.parametrize("schedule", ["cosine", "linear", "exponential", "step", "constant"])
def test_learning_rates_follow_their_formula(schedule: str) -> None:
    rates = LearningRates(RATE, STEPS, schedule=schedule, warmup=WARM / STEPS)
    found = [float(rates(k)) for k in range(STEPS)]
    np.testing.assert_allclose(found, [oracle(schedule, k) for k in range(STEPS)], rtol=1e-5, atol=1e-7)
    assert np.argmax(found) == WARM


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_trainings_learn_at_every_step(steps: int) -> None:
    for warmup in (0.0, 0.05, 0.9):
        assert all(float(LearningRates(1.0, steps, warmup=warmup)(k)) > 0 for k in range(steps))


def test_without_warm_up_cosine_is_that_of_keras() -> None:
    ours, theirs = LearningRates(RATE, STEPS), keras.optimizers.schedules.CosineDecay(RATE, STEPS)
    np.testing.assert_allclose([float(ours(k)) for k in range(STEPS)], [float(theirs(k)) for k in range(STEPS)], 1e-5)


def run(grads: list[list[np.ndarray]], **spec: Any) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """The weights before the first and after each step, and the averages at the end."""
    begin = [np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([0.5, -1.0])]
    names = ("kernel", "bias")
    variables = [keras.Variable(w.astype(np.float32), name=n) for w, n in zip(begin, names, strict=True)]
    full = TrainingSpec(**{"schedule": "constant", "warmup": 0.0, "clip_norm": None, "learning_rate": 0.1, **spec})
    optimizer = make_optimizer(full, len(grads), variables)
    seen = [begin]
    for step in grads:
        optimizer.apply([keras.ops.convert_to_tensor(g.astype(np.float32)) for g in step], variables)
        seen.append([keras.ops.convert_to_numpy(v.value).astype(np.float64) for v in variables])
    return seen, [keras.ops.convert_to_numpy(v.value).astype(np.float64) for v in averages_of(optimizer)]


GRADS = [[np.array([[3.0, -0.1], [0.0, 4.0]]) * k, np.array([-12.0, 0.2]) * k] for k in (1.0, -0.5, 2.0, 0.25)]


def clipped(step: list[np.ndarray], value: float | None, norm: float | None) -> list[np.ndarray]:
    if value is not None:
        step = [np.clip(g, -value, value) for g in step]
    length = math.sqrt(sum((g**2).sum() for g in step))
    return step if norm is None else [g * min(1.0, norm / length) for g in step]


@pytest.mark.parametrize(("value", "norm"), [(None, 1.0), (2.0, None), (2.0, 1.5), (None, 1e6), (None, None)])
def test_clipping_by_value_then_by_norm(value: float | None, norm: float | None) -> None:
    """Nesterov's momentum, as Keras writes it: `v = m v - r g`, `w += m v - r g`."""
    seen, _ = run(GRADS, optimizer="sgd", clip_value=value, clip_norm=norm)
    expected, velocity = seen[0], [np.zeros_like(w) for w in seen[0]]
    for step in GRADS:
        g = clipped(step, value, norm)
        velocity = [0.9 * v - 0.1 * one for v, one in zip(velocity, g, strict=True)]
        expected = [w + 0.9 * v - 0.1 * one for w, v, one in zip(expected, velocity, g, strict=True)]
    for mine, theirs in zip(seen[-1], expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "nadam", "lion"])
def test_weight_decay_is_decoupled_and_spares_biases(optimizer: str) -> None:
    """Without a gradient nothing else moves: `w <- w (1 - rate * decay)`."""
    nothing = [[np.zeros((2, 2)), np.zeros(2)]] * 3
    seen, _ = run(nothing, optimizer=optimizer, weight_decay=0.2)
    np.testing.assert_allclose(seen[-1][0], seen[0][0] * (1 - 0.1 * 0.2) ** 3, rtol=1e-6)
    np.testing.assert_array_equal(seen[-1][1], seen[0][1])


def test_a_bias_with_two_axes_is_spared_too() -> None:
    bias = keras.Variable(np.ones((2, 3), np.float32), name="bias")
    kernel = keras.Variable(np.ones((2, 3), np.float32), name="kernel")
    spec = TrainingSpec(weight_decay=0.5, learning_rate=0.1, schedule="constant", warmup=0.0)
    optimizer = make_optimizer(spec, 1, [bias, kernel])
    optimizer.apply([keras.ops.zeros((2, 3))] * 2, [bias, kernel])
    assert float(keras.ops.convert_to_numpy(bias.value).min()) == 1.0
    assert float(keras.ops.convert_to_numpy(kernel.value).max()) == pytest.approx(0.95)


@pytest.mark.parametrize("decay", [0.9, 0.2])
def test_averages_are_those_of_the_weights_with_a_decay_that_grows(decay: float) -> None:
    steps = [GRADS[k % 4] for k in range(30)]
    seen, averages = run(steps, optimizer="sgd", average=decay)
    expected = [np.full_like(w, 1e9) for w in seen[0]]  # what was there before the first step has no weight
    for k, weights in enumerate(seen[1:], 1):
        d = min(decay, (k - 1) / (k + 9))
        expected = [d * a + (1 - d) * w for a, w in zip(expected, weights, strict=True)]
    for mine, theirs in zip(averages, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)


def test_without_average_there_are_no_averages() -> None:
    assert run(GRADS)[1] == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("norm", [1.0, None])
def test_a_gradient_that_is_no_number_is_not_hidden_by_clipping(bad: float, norm: float | None) -> None:
    grads = [[np.array([[bad, 1.0], [1.0, 1.0]]), np.ones(2)]]
    seen, _ = run(grads, optimizer="sgd", clip_norm=norm)
    assert not all(np.isfinite(w).all() for w in seen[-1])
