"""Training: what it learns, what it tells, and that everything in its spec reaches it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lines import Example, draw, fitted, median, network

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.feeding import Stretches, feed
from forecast_kit.nn.heads import QuantileHead
from forecast_kit.nn.networks import Recurrent, Shapes, build_network
from forecast_kit.nn.training import TrainingSpec, apply, train


def test_training_learns_straight_lines() -> None:
    assert fitted(steps=400, learning_rate=0.02).error < 0.25 * fitted(steps=4, learning_rate=0.02).error


def test_a_recurrent_network_is_trained_too() -> None:
    head = QuantileHead((0.1, 0.5, 0.9))
    model = build_network(Recurrent("gru", units=4, hidden=8), Shapes(8, 2, 1), head, seed=0)
    training = train(model, head, draw, TrainingSpec(steps=96, learning_rate=0.02, evaluations=3))
    assert training.curve[-1, 1] < 0.7 * training.curve[0, 1]


def test_progress_counts_up_to_the_last_step() -> None:
    seen = fitted(steps=40, evaluations=1).seen
    assert [step for step, _ in seen] == [16, 32, 40]
    assert all(set(logs) == {"loss"} and logs["loss"] > 0 for _, logs in seen)


def test_the_loss_that_is_told_is_the_mean_of_the_round() -> None:
    """With a rate of next to nothing the weights stay: the loss of a round is that of its batches."""
    one = fitted(steps=32, evaluations=2, learning_rate=1e-30, warmup=0.0)
    errors = [np.abs(apply(one.model, inputs) - target).mean() for inputs, target, _ in map(draw, range(32))]
    expected = np.mean(errors[:16]), np.mean(errors[16:])
    np.testing.assert_allclose(one.training.curve[:, :2], [[16, expected[0]], [32, expected[1]]], rtol=1e-5)
    assert np.isnan(one.training.curve[:, 2]).all()


def test_targets_without_weight_do_not_count() -> None:
    def lines(k: int, spoil: float) -> Example:
        inputs, target, weight = draw(k)
        weight[:8] = 0.0
        target[:8] += spoil
        return inputs, target, weight

    spoiled, clean = (fitted(lambda k, spoil=spoil: lines(k, spoil), steps=8).weights for spoil in (1e6, 0.0))
    np.testing.assert_array_equal(spoiled, clean)


BASE: dict[str, Any] = {"steps": 24, "learning_rate": 0.01, "clip_norm": 0.05, "seed": 0}
CHANGES: list[dict[str, Any]] = [
    {"steps": 25}, {"learning_rate": 1e-3}, {"clip_norm": 1e-3}, {"clip_norm": None}, {"clip_value": 1e-3},
    {"seed": 5}, {"optimizer": "adamw", "weight_decay": 0.5}, {"optimizer": "nadam"}, {"optimizer": "rmsprop"},
    {"optimizer": "sgd"}, {"optimizer": "lion"}, {"schedule": "constant"}, {"schedule": "linear"},
    {"schedule": "exponential"}, {"schedule": "step"}, {"warmup": 0.0}, {"warmup": 0.5}, {"weight_decay": 0.5},
    {"average": 0.9}, {"relative_loss": True}, {"step_weights": "linear"}, {"step_weights": "inverse"},
    {"step_weights": (0.0, 1.0)},
]  # fmt: skip


@pytest.fixture(scope="module")
def base() -> np.ndarray:
    return fitted(**BASE).weights


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_knob_reaches_the_network(change: dict[str, Any], base: np.ndarray) -> None:
    assert not np.allclose(fitted(**{**BASE, **change}).weights, base, rtol=1e-5, atol=1e-7)


def test_adamw_without_decay_is_adam(base: np.ndarray) -> None:
    np.testing.assert_allclose(fitted(**BASE, optimizer="adamw").weights, base, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("executed", [1, 5, 100])
def test_the_weights_do_not_depend_on_how_often_python_is_asked(executed: int, base: np.ndarray) -> None:
    other = fitted(**BASE, steps_per_execution=executed, evaluations=3)
    np.testing.assert_array_equal(other.weights, base)
    told = {1: 24, 5: 5, 100: 1}
    assert len(other.seen) == told[executed]


def test_the_same_spec_gives_the_same_network(base: np.ndarray) -> None:
    np.testing.assert_array_equal(fitted(**BASE).weights, base)


def test_evaluations_say_how_often_it_is_judged() -> None:
    curves = [fitted(steps=64, evaluations=n, steps_per_execution=4).training.curve for n in (1, 4, 16, 100)]
    assert [curve[:, 0].tolist()[:2] for curve in curves] == [[64.0], [16.0, 32.0], [4.0, 8.0], [4.0, 8.0]]


def test_a_network_without_anything_to_train_is_refused() -> None:
    model = network(median())
    model.trainable = False
    with pytest.raises(ArgumentError, match="nothing to train: every layer with weights is frozen"):
        fitted(model=model)


def test_feed_gives_the_batches_of_its_function_in_order() -> None:
    assert_are_drawn(list(feed(draw, 3)), range(3))


def test_stretches_begin_where_they_are_asked_to() -> None:
    stretches = Stretches(draw)
    for begin, end in ((0, 3), (3, 6), (6, 8), (2, 5)):
        assert_are_drawn(list(stretches(begin, end)), range(begin, end))


def assert_are_drawn(batches: list[Any], numbers: range) -> None:
    assert len(batches) == len(numbers)
    for k, (inputs, target, weight) in zip(numbers, batches, strict=True):
        expected = draw(k)
        for name, array in expected[0].items():
            np.testing.assert_array_equal(inputs[name], array)
        np.testing.assert_array_equal(target, expected[1])
        np.testing.assert_array_equal(weight, expected[2])
