"""What is minimised: the loss of a batch against NumPy, its units, its weights, and what layers add."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from lines import B, H, T, draw, fitted, median, network

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads import HEADS, QuantileHead, make_head
from forecast_kit.nn.scaling import WindowScale
from forecast_kit.nn.training import TrainingSpec, train
from forecast_kit.nn.training.objective import Objective

LEVELS = (0.1, 0.5, 0.9)


def pinball(y: np.ndarray, q: np.ndarray) -> np.ndarray:
    """`[B, H]`, twice the pinball loss averaged over levels."""
    total = np.zeros(y.shape)
    for k, level in enumerate(LEVELS):
        error = y - q[:, :, k]
        total += 2 * np.where(error >= 0, level * error, (level - 1) * error)
    return total / len(LEVELS)


def batch(seed: int = 0) -> tuple[Any, np.ndarray, np.ndarray]:
    """Noise at scales of 0.1 to 100, a third of the targets not observed."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-1, 2, (B, 1))
    x = {
        fk.PAST_Y: (scale * rng.normal(size=(B, T))).astype(np.float32),
        fk.PAST_OBSERVED: np.ones((B, T), np.float32),
    }
    y = (scale * rng.normal(size=(B, H))).astype(np.float32)
    return x, y[:, :, None], (rng.random((B, H)) < 0.67).astype(np.float32)


def loss_of(objective: Objective, x: Any, y: np.ndarray, w: np.ndarray) -> float:
    x = {name: keras.ops.convert_to_tensor(array) for name, array in x.items()}
    return float(keras.ops.convert_to_numpy(objective.compute_loss(x, y, objective(x, training=True), w)))


@pytest.mark.parametrize("weights", [None, "linear", (0.0, 3.0)])
@pytest.mark.parametrize("relative", [False, True])
def test_the_loss_is_the_weighted_mean_of_the_heads(relative: bool, weights: Any) -> None:
    head = QuantileHead(LEVELS)
    model = network(head)
    objective = Objective(model, head, TrainingSpec(relative_loss=relative, step_weights=weights))
    x, y, w = batch()
    q = keras.ops.convert_to_numpy(model(x)).astype(np.float64)
    past = x[fk.PAST_Y].astype(np.float64)
    each = pinball(y[:, :, 0].astype(np.float64), q)
    if relative:
        each /= np.abs(np.diff(past)).mean(axis=1, keepdims=True) + 0.1  # the unit of a naive forecast's error
    ahead = {None: [1, 1], "linear": [2, 1], (0.0, 3.0): [0, 3]}[weights]
    weight = w * np.array(ahead)
    expected = (each * weight).sum() / weight.sum()
    assert loss_of(objective, x, y, w) == pytest.approx(expected, rel=1e-5)
    assert objective.score([(x, y, w)]) == pytest.approx(expected, rel=1e-5)
    parts = [({k: v[s] for k, v in x.items()}, y[s], w[s]) for s in (slice(0, 5), slice(5, B))]
    assert objective.score(parts) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalize", ["season", "instance", "last", "mean", "none"])
def test_a_relative_loss_does_not_change_with_the_unit_of_the_target(normalize: str) -> None:
    """The scale's small constant apart, which a target far above it does not feel."""
    head = QuantileHead(LEVELS)
    objective = Objective(network(head, normalize=normalize), head, TrainingSpec(relative_loss=True))
    x, y, w = batch()
    x = {**x, fk.PAST_Y: 1e4 * x[fk.PAST_Y]}
    q = np.random.default_rng(1).normal(size=(B, H, 3)).astype(np.float32).cumsum(axis=-1) * 1e4
    y = 1e4 * y
    (one, weight), (other, _) = (
        objective.losses_of({**x, fk.PAST_Y: unit * x[fk.PAST_Y]}, unit * y, unit * q, w) for unit in (1.0, 128.0)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3)
    np.testing.assert_array_equal(weight, w)


@pytest.mark.parametrize("name", [name for name, kind in HEADS.items() if kind.support != "counts"])
def test_a_relative_loss_is_the_heads_loss_in_units_of_the_window(name: str) -> None:
    """By another way: parameters are made in that unit, and only then taken to the target's."""
    head = make_head(name)
    rng = np.random.default_rng(2)
    normalize = "season" if head.support == "real" else "mean"
    x, _, w = batch()
    x = {**x, fk.PAST_Y: np.abs(x[fk.PAST_Y])}
    shift, scale = (keras.ops.convert_to_numpy(one) for one in WindowScale(1, normalize)(*x.values()))
    unit = rng.uniform(0.1, 2.0, (B, H)).astype(np.float32)
    params = head(rng.normal(size=(B, H, head.width)).astype(np.float32))
    objective = Objective(network(head, normalize=normalize), head, TrainingSpec(relative_loss=True))
    each, _ = objective.losses_of(x, (shift + scale * unit)[:, :, None], head.rescale(params, shift, scale), w)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(each), keras.ops.convert_to_numpy(head.loss(unit, params)), rtol=1e-3, atol=1e-3
    )


def test_targets_and_weights_may_come_in_double_precision() -> None:
    head = QuantileHead(LEVELS)
    x, y, w = batch()
    objective = Objective(network(head), head, TrainingSpec(relative_loss=True, step_weights="linear"))
    assert objective.score([(x, y.astype(np.float64), w.astype(np.float64))]) == objective.score([(x, y, w)])


def test_a_batch_without_any_target_has_no_loss_and_no_division_by_nought() -> None:
    head = QuantileHead(LEVELS)
    x, y, w = batch()
    assert loss_of(Objective(network(head), head, TrainingSpec()), x, y, 0 * w) == 0.0


@keras.saving.register_keras_serializable("tests")
class Costly(keras.layers.Layer):
    """Adds a constant to the loss."""

    def call(self, x: Any) -> Any:
        self.add_loss(keras.ops.convert_to_tensor(7.0))
        return x


def test_what_layers_add_is_part_of_what_is_trained_and_not_of_what_is_judged() -> None:
    head = QuantileHead(LEVELS)
    plain = network(head)
    costly = keras.Model(plain.input, Costly()(plain.output))
    x, y, w = batch()
    one, other = (Objective(model, head, TrainingSpec()) for model in (plain, costly))
    assert loss_of(other, x, y, w) == pytest.approx(loss_of(one, x, y, w) + 7.0, rel=1e-5)
    assert other.score([(x, y, w)]) == pytest.approx(one.score([(x, y, w)]), rel=1e-6)


def test_with_a_relative_loss_a_loud_series_counts_no_more_than_a_quiet_one() -> None:
    """Half the lines are a thousand times as steep and noisy: in their own unit they drown the others."""

    def lines(k: int) -> tuple[Any, np.ndarray, np.ndarray]:
        x, y, w = draw(k)
        unit = np.where(np.arange(B) < B // 2, 1000.0, 1.0).astype(np.float32)[:, None]
        noise = np.random.default_rng(k + 10**6).normal(0, 1, y.shape).astype(np.float32)
        loud = 500 * noise * (unit > 1)[:, :, None]
        return {**x, fk.PAST_Y: unit * x[fk.PAST_Y]}, unit[:, :, None] * y + loud, w

    errors = {}
    for relative in (False, True):
        errors[relative] = fitted(lines, steps=300, learning_rate=0.02, relative_loss=relative).error
    assert errors[True] < 0.8 * errors[False]


def test_step_weights_of_nought_take_a_step_out_of_the_training() -> None:
    def lines(k: int, spoil: float) -> tuple[Any, np.ndarray, np.ndarray]:
        x, y, w = draw(k)
        y = y.copy()
        y[:, 1] += spoil
        return x, y, w

    one, other = (
        fitted(lambda k, spoil=spoil: lines(k, spoil), steps=8, step_weights=(1, 0)).weights for spoil in (0.0, 1e6)
    )
    np.testing.assert_array_equal(one, other)


class Total(QuantileHead):
    """A head whose loss is what the test says of the one per step ahead."""

    def __init__(self, reduce: Any) -> None:
        super().__init__(LEVELS)
        self.reduce = reduce

    def loss(self, y: Any, params: Any) -> Any:
        return self.reduce(super().loss(y, params))


@pytest.mark.parametrize(
    ("reduce", "shape"),
    [
        (keras.ops.mean, r"\(\)"),
        (lambda each: keras.ops.mean(each, axis=1), r"\(16,\)"),
        (lambda each: keras.ops.mean(each, axis=1, keepdims=True), r"\(16, 1\)"),
        (lambda each: keras.ops.expand_dims(each, -1), r"\(16, 2, 1\)"),
    ],
)
def test_a_head_whose_loss_is_not_of_each_step_is_refused(reduce: Any, shape: str) -> None:
    """Weights of the steps, and of targets that were not observed, would be of no effect."""
    head = Total(reduce)
    x, y, w = batch()
    objective = Objective(network(head), head, TrainingSpec())
    with pytest.raises(ArgumentError, match=rf"Total.loss must return .* \[B, H\], here \(16, 2\), got shape {shape}"):
        loss_of(objective, x, y, w)
    with pytest.raises(ArgumentError, match=r"Total.loss must return the loss of each step ahead"):
        train(network(head), head, draw, TrainingSpec(steps=2, batch_size=B))


class Counts(QuantileHead):
    support = "counts"


def test_a_relative_loss_is_refused_where_it_makes_no_sense() -> None:
    head = Counts(LEVELS)
    with pytest.raises(ArgumentError, match="Counts is for counts, which have a unit of their own"):
        Objective(network(head), head, TrainingSpec(relative_loss=True))
    x = keras.Input((T,), name=fk.PAST_Y)
    plain = keras.Model(x, keras.layers.Reshape((H, 1))(keras.layers.Dense(H)(x)))
    with pytest.raises(ArgumentError, match="relative_loss needs a network with a WindowScale"):
        Objective(plain, median(), TrainingSpec(relative_loss=True))
