"""Point heads against naive loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
from head_gradients import gradient
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads import PointHead, make_head
from forecast_kit.nn.networks import Recurrent, Shapes, build_network

LOSSES = ("mae", "mse", "huber", "log_cosh", "smape")


def naive(loss: str, y: float, f: float, delta: float) -> float:
    e = y - f
    if loss == "mae":
        return abs(e)
    if loss == "mse":
        return e**2
    if loss == "huber":
        return e**2 / 2 if abs(e) <= delta else delta * (abs(e) - delta / 2)
    if loss == "log_cosh":
        return math.log(math.cosh(e))
    return 0.0 if y == f == 0 else 2 * abs(e) / (abs(y) + abs(f))


@pytest.mark.parametrize("delta", [0.5, 3.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_their_equations(loss: str, delta: float) -> None:
    rng = np.random.default_rng(0)
    y, f = rng.normal(0, 3, (6, 4)), rng.normal(0, 3, (6, 4))
    y[0, 0] = f[0, 0] = y[0, 1] = f[0, 2] = 0.0
    expected = [[naive(loss, y[b, h], f[b, h], delta) for h in range(4)] for b in range(6)]
    got = PointHead(loss, delta).loss(y.astype(np.float32), f[:, :, None].astype(np.float32))
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("y", [0.0, 1e-30, -50.0, 1e6])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients_are_finite_at_extremes(loss: str, y: float) -> None:
    head = PointHead(loss)
    targets = np.full((1, 4), y, np.float32)

    def judged(raw: np.ndarray) -> np.ndarray:
        return head.loss(targets, head(raw))

    raw = np.array([0.0, y, 50.0, -1e6], np.float32).reshape(1, 4, 1)
    assert np.isfinite(ops.convert_to_numpy(judged(raw))).all()
    assert np.isfinite(gradient(judged, raw)).all()


@pytest.mark.parametrize(("loss", "expected"), [("mae", np.median), ("mse", np.mean)])
def test_the_number_is_the_median_or_the_mean(loss: str, expected: Callable[[np.ndarray], float]) -> None:
    y = np.random.default_rng(1).exponential(2.0, (501, 1)).astype(np.float32)
    tried = np.linspace(0.0, 5.0, 501, dtype=np.float32)
    judged = ops.convert_to_numpy(PointHead(loss).loss(y * np.ones_like(tried), tried[None, :, None])).mean(axis=0)
    assert tried[judged.argmin()] == pytest.approx(expected(y), abs=0.011)
    assert abs(np.median(y) - np.mean(y)) > 0.3


def test_a_base_is_added_and_units_are_restored() -> None:
    head = PointHead()
    raw = np.array([[[1.0], [2.0]]], np.float32)
    shift, scale = np.float32([[5.0]]), np.float32([[3.0]])
    params = head.rescale(head(raw, np.array([[10.0, 20.0]], np.float32)), shift, scale)
    np.testing.assert_allclose(head.center(ops.convert_to_numpy(params)), [[5 + 3 * 11, 5 + 3 * 22]])


def test_it_has_no_quantiles() -> None:
    head = make_head("point")
    assert head.quantile(np.zeros((2, 3, 1)), ()).shape == (2, 3, 0)
    with pytest.raises(
        ArgumentError, match="PointHead learned a point forecast and no quantiles; take head='quantile'"
    ):
        head.quantile(np.zeros((2, 3, 1)), (0.5,))


def test_a_network_ends_in_it() -> None:
    model = build_network(Recurrent("gru", units=4, hidden=4), Shapes(8, 3, 4), PointHead("mse"), seed=0)
    assert model.output_shape == (None, 3, 1)


def test_a_head_is_what_its_configuration_says() -> None:
    head = PointHead("huber", delta=2.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert isinstance(again, PointHead)
    assert again.get_config() == head.get_config()
    assert (again.loss_name, again.delta) == ("huber", 2.5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"loss": "maee"}, "loss must be one of mae, mse, huber, log_cosh, smape; got 'maee'. Did you mean 'mae'"),
        ({"loss": None}, "loss must be one of"),
        ({"delta": 0.0}, "delta must be a positive number, in the target's unit; got 0.0"),
        ({"delta": float("inf")}, "delta must be a positive number"),
        ({"delta": float("nan")}, "delta must be a positive number"),
        ({"delta": True}, "delta must be a positive number"),
        ({"delta": "1"}, "delta must be a positive number"),
    ],
)
def test_bad_options_are_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        make_head("point", **options)
