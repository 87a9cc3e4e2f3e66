"""Blocks against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.blocks import NextStepLoss, OneHot, SeasonalLookback, TimePooling
from forecast_kit.nn.scaling import WindowScale


def windows(rng: np.random.Generator, hidden: float) -> tuple[np.ndarray, np.ndarray]:
    y = rng.normal(5.0, 2.0, (6, 12)).astype(np.float32)
    observed = (rng.random((6, 12)) >= hidden).astype(np.float32)
    return y * observed, observed


@pytest.mark.parametrize("hidden", [0.0, 0.3])
@pytest.mark.parametrize(("season", "lag"), [(4, 4), (1, 1), (8, 1)])
def test_window_scale_is_the_last_season_and_the_seasonal_difference(hidden: float, season: int, lag: int) -> None:
    y, observed = windows(np.random.default_rng(1), hidden)
    shift, scale = (ops.convert_to_numpy(t) for t in WindowScale(season, epsilon=0.1)(y, observed))
    for b in range(len(y)):
        last = [y[b, t] for t in range(12 - season, 12) if observed[b, t]]
        every = [y[b, t] for t in range(12) if observed[b, t]]
        steps = [abs(y[b, t] - y[b, t - lag]) for t in range(lag, 12) if observed[b, t] and observed[b, t - lag]]
        assert shift[b, 0] == pytest.approx(np.mean(last or every), rel=1e-5)
        assert scale[b, 0] == pytest.approx((np.mean(steps) if steps else 0.0) + 0.1, rel=1e-5)


def test_a_window_without_an_observation_has_a_finite_scale() -> None:
    shift, scale = WindowScale(4)(np.zeros((1, 12), np.float32), np.zeros((1, 12), np.float32))
    assert float(shift[0, 0]) == 0.0
    assert float(scale[0, 0]) == pytest.approx(0.1)


@pytest.mark.parametrize("hidden", [0.0, 0.4])
def test_lookback_is_a_weighted_mean_of_past_seasons(hidden: float) -> None:
    rng = np.random.default_rng(2)
    y, observed = windows(rng, hidden)
    state = rng.normal(size=(6, 5)).astype(np.float32)
    layer = SeasonalLookback(4, 10)
    layer.build(y.shape, observed.shape, state.shape)
    kernel, bias = rng.normal(size=(5, 9)).astype(np.float32), rng.normal(size=9).astype(np.float32)
    layer.set_weights([kernel, bias])
    got = ops.convert_to_numpy(layer(y, observed, state))
    for b in range(6):
        logits = (state[b] @ kernel + bias).reshape(3, 3)
        for h in range(10):
            weights = np.exp(logits[h // 4]) / np.exp(logits[h // 4]).sum()
            at = [(weights[d], d * 4 + h % 4) for d in range(3)]
            mass = sum(w for w, t in at if observed[b, t])
            total = sum(w * y[b, t] for w, t in at if observed[b, t])
            assert got[b, h] == pytest.approx(total / (mass + 1e-6), rel=1e-4, abs=1e-5)


def test_untrained_lookback_averages_all_seasons_alike() -> None:
    y = np.array([[1.0, 2, 3, 4, 5, 6]], np.float32)
    got = SeasonalLookback(2, 3)(y, np.ones_like(y), np.ones((1, 4), np.float32))
    np.testing.assert_allclose(ops.convert_to_numpy(got), [[3, 4, 3]], rtol=1e-5)


def test_a_single_season_is_repeated_without_a_warning() -> None:
    y = np.array([[9.0, 3, 4]], np.float32)
    got = SeasonalLookback(2, 3)(y, np.ones_like(y), np.ones((1, 4), np.float32))
    np.testing.assert_allclose(ops.convert_to_numpy(got), [[3, 4, 3]], rtol=1e-5)


def test_a_window_without_a_season_cannot_be_looked_back_over() -> None:
    y = np.ones((1, 3), np.float32)
    with pytest.raises(ArgumentError, match="a window of 3 steps holds no season of 4"):
        SeasonalLookback(4, 2)(y, y, y)
    with pytest.raises(ArgumentError, match="season_length must be a whole number, at least 1; got 0"):
        SeasonalLookback(0, 2)


def test_categories_become_indicators_and_numbers_stay() -> None:
    x = np.array([[[0.5, 2.0, -1.0, 0.0]], [[1.5, 0.0, 3.0, 1.0]]], np.float32)
    got = ops.convert_to_numpy(OneHot((0, 3, 0, 2))(x))
    np.testing.assert_array_equal(got, [[[0.5, 0, 0, 1, -1, 1, 0]], [[1.5, 1, 0, 0, 3, 0, 1]]])
    again = OneHot.from_config(OneHot((0, 3)).get_config())
    assert again.sizes == (0, 3)
    with pytest.raises(ArgumentError, match="sizes are given for 2 columns, and the input has 4"):
        again(x)


def test_pooling_over_time_is_a_loop_over_sequences() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    expected = {"last": x[:, -1], "mean": x.mean(axis=1), "max": x.max(axis=1)}
    for mode, values in expected.items():
        np.testing.assert_allclose(ops.convert_to_numpy(TimePooling(mode)(x)), values, rtol=1e-6)
    layer = TimePooling("attention", units=6)
    got = ops.convert_to_numpy(layer(x))
    kernel, context = map(ops.convert_to_numpy, layer.weights)
    for b in range(3):
        scores = np.array([context @ np.tanh(x[b, t] @ kernel) for t in range(5)])
        shares = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(got[b], shares @ x[b], rtol=1e-5, atol=1e-6)
    assert TimePooling.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ArgumentError, match="mode must be 'last', 'mean', 'max' or 'attention', got 'sum'"):
        TimePooling("sum")


@pytest.mark.parametrize("hidden", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("segment", [1, 3])
def test_the_auxiliary_loss_is_the_error_of_the_next_segment(segment: int, hidden: float) -> None:
    rng = np.random.default_rng(9)
    y, observed = windows(rng, hidden)
    outputs = rng.normal(size=(6, 12 // segment, 5)).astype(np.float32)
    layer = NextStepLoss(0.5, seed=1)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(outputs, y, observed, training=True)), outputs)
    (got,) = layer.losses
    kernel, bias = (weight.numpy() for weight in (layer.kernel, layer.bias))
    total = seen = 0.0
    for b in range(6):
        for t in range(segment, 12):
            said = outputs[b, t // segment - 1] @ kernel[:, t % segment] + bias[t % segment]
            total += observed[b, t] * abs(said - y[b, t])
            seen += observed[b, t]
    assert float(got) == pytest.approx(0.5 * total / max(seen, 1.0), rel=1e-5)
    layer(outputs, y, observed)
    assert layer.losses == []
