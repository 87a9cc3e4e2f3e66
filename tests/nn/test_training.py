"""Training: what it minimises, what it reports, when it stops."""

from __future__ import annotations

import numpy as np
import pytest

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError, TrainingError
from forecast_kit.nn.feeding import feed
from forecast_kit.nn.heads import QuantileHead
from forecast_kit.nn.networks import Recurrent, Shapes, build_network
from forecast_kit.nn.training import TrainingSpec, apply, train

HEAD = QuantileHead((0.5,))
SHAPES = Shapes(input_length=8, horizon=2, season_length=1)


def draw(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Straight lines with a slope of their own: the next values are known."""
    slope = np.random.default_rng(k).normal(size=(16, 1)).astype(np.float32)
    y = slope * np.arange(8, dtype=np.float32)
    target = (slope * np.arange(8, 10, dtype=np.float32))[:, :, None]
    return {fk.PAST_Y: y, fk.PAST_OBSERVED: np.ones_like(y)}, target, np.ones_like(target[:, :, 0])


def fitted(spec: TrainingSpec, batches=draw) -> tuple[list[tuple[int, float]], np.ndarray]:
    seen: list[tuple[int, float]] = []
    model = build_network(Recurrent("gru", units=8, hidden=16), SHAPES, HEAD, seed=spec.seed)
    train(model, HEAD, batches, spec, on_step=lambda step, loss: seen.append((step, loss)))
    return seen, apply(model, draw(10_000)[0])


def test_training_learns_straight_lines() -> None:
    _, target, _ = draw(10_000)
    few, many = (np.abs(fitted(TrainingSpec(steps=n))[1][..., :1] - target).mean() for n in (4, 400))
    assert many < 0.25 * few


def test_progress_counts_up_to_the_last_step() -> None:
    seen, _ = fitted(TrainingSpec(steps=40))
    assert [step for step, _ in seen] == [16, 32, 40]
    assert seen[-1][1] < seen[0][1]


def test_targets_without_weight_do_not_count() -> None:
    def spoiled(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        inputs, target, weight = draw(k)
        target[:8], weight[:8] = 1e6, 0.0
        return inputs, target, weight

    def clean(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        inputs, target, weight = draw(k)
        weight[:8] = 0.0
        return inputs, target, weight

    np.testing.assert_array_equal(fitted(TrainingSpec(steps=8), spoiled)[1], fitted(TrainingSpec(steps=8), clean)[1])


@pytest.mark.parametrize(
    "change", [{"steps": 9}, {"learning_rate": 1e-3}, {"clip_norm": 1e-3}, {"seed": 5}], ids=lambda c: next(iter(c))
)
def test_every_knob_reaches_the_network(change: dict) -> None:
    base = {"steps": 8, "learning_rate": 4e-3, "clip_norm": 1.0, "seed": 0}
    assert not np.array_equal(fitted(TrainingSpec(**base))[1], fitted(TrainingSpec(**{**base, **change}))[1])


def test_the_same_spec_gives_the_same_network() -> None:
    np.testing.assert_array_equal(fitted(TrainingSpec(steps=8))[1], fitted(TrainingSpec(steps=8))[1])


def test_a_loss_that_is_no_number_stops_training_and_says_where() -> None:
    def broken(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        inputs, target, weight = draw(k)
        return inputs, target * np.float32(np.nan if k > 20 else 1.0), weight

    with pytest.raises(TrainingError, match=r"the loss became nan at step 32 of 64"):
        fitted(TrainingSpec(steps=64), broken)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"steps": 0}, "steps must be a whole number, at least 1; got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"learning_rate": -1e-3}, "learning_rate must be a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number"),
        ({"clip_norm": "1"}, "clip_norm must be a positive number"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_bad_specs_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        TrainingSpec(**arguments)


def test_feed_gives_the_batches_of_its_function_in_order() -> None:
    batches = list(feed(draw, 3))
    assert len(batches) == 3
    for k, (inputs, target, weight) in enumerate(batches):
        expected = draw(k)
        np.testing.assert_array_equal(inputs[fk.PAST_Y], expected[0][fk.PAST_Y])
        np.testing.assert_array_equal(target, expected[1])
        np.testing.assert_array_equal(weight, expected[2])
