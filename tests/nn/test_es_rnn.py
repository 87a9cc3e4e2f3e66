"""ES-RNN: its smoothing against plain loops, what it is equivariant to, what training moves."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.feeding import Draw
from forecast_kit.nn.heads import PointHead, QuantileHead, make_head
from forecast_kit.nn.networks import ESRNN, Seeds, Shapes, build_network, make_network
from forecast_kit.nn.networks.es_rnn import Smoothing, first_states
from forecast_kit.nn.training import TrainingSpec, apply, train

HEAD = QuantileHead((0.5,))
T, H, N = 14, 6, 3
FORMS: list[tuple[int, str, str | None]] = [
    (4, "additive", None), (4, "additive", "additive"), (4, "additive", "damped"), (4, "multiplicative", None),
    (1, "additive", None), (1, "additive", "damped"), (1, "multiplicative", None), (9, "additive", None),
]  # fmt: skip


# ---- the second implementation: one window at a time, in float64


def naive_states(y: np.ndarray, seen: np.ndarray, m: int, seasonal: str, trend: str | None) -> tuple[float, float, Any]:
    """Level, trend and factors before the first step; factors by phase, so that step t has `s[t % m]`."""
    if seasonal == "multiplicative":
        level, slope, factors = naive_states(np.log(np.where(seen, y, 1.0)), seen, m, "additive", trend)
        return float(np.exp(level)), slope, np.exp(factors)
    length = len(y)
    rises = [y[t + m] - y[t] for t in range(length - m) if seen[t] and seen[t + m]]
    b = float(np.mean(rises)) / m if rises else 0.0
    s, g = np.zeros(m), {}
    seasons = range(-(-length // m))
    where = {d: [t for t in range(d * m, min((d + 1) * m, length)) if seen[t]] for d in seasons}
    for _ in range(2):
        for d in seasons:
            g[d] = np.mean([y[t] - b * (t + 1) - s[t % m] for t in where[d]]) if where[d] else 0.0
        for i in range(m):
            left = [y[t] - b * (t + 1) - g[d] for d in seasons for t in where[d] if t % m == i]
            s[i] = np.mean(left) if left else 0.0
    ever = sorted({t % m for d in seasons for t in where[d]})
    if ever:
        s[ever] -= np.mean(s[ever])
    first = next((where[d] for d in seasons if where[d]), [])
    level = np.mean([y[t] - s[t % m] - (b * (t + 1) if trend else 0.0) for t in first]) if first else 0.0
    return float(level), b if trend else 0.0, s


def naive_smoothing(
    y: np.ndarray, seen: np.ndarray, rate: dict[str, float], m: int, seasonal: str, trend: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels and factors met `[T]`, and the forecasts `[H]`, in the textbook's component form."""
    times = seasonal == "multiplicative"
    level, slope, factors = naive_states(y, seen, m, seasonal, trend)
    season, levels = list(factors), []
    alpha, gamma = rate["alpha"], rate.get("gamma", 0.0)
    phi = {"additive": 1.0, "damped": rate.get("phi"), None: 0.0}[trend]
    for t in range(len(y)):
        p = 1.0 if trend == "damped" and not seen[: t + 1].any() else phi
        line, old = level + p * slope, season[t]
        value = y[t] if seen[t] else (line * old if times else line + old)
        level = alpha * (value / old if times else value - old) + (1 - alpha) * line
        season.append(gamma * (value / line if times else value - line) + (1 - gamma) * old if m > 1 else old)
        if trend:
            before = line - p * slope
            slope = rate["beta"] * (level - before) + (1 - rate["beta"]) * p * slope
        levels.append(level)
    ahead = []
    for h in range(1, H + 1):
        line = level + sum(phi**k for k in range(1, h + 1)) * slope
        s = season[len(y) + (h - 1) % m]
        ahead.append(line * s if times else line + s)
    return np.array(levels), np.array(season[: len(y)]), np.array(ahead)


def windows(rng: np.random.Generator, seasonal: str, rows: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Windows that rise and have a season; one is padded on the left, one has gaps, one holds nothing."""
    t = np.arange(T)
    y = 20.0 + rng.normal(0.3, 0.2, (rows, 1)) * t + 3.0 * np.sin(t + rng.normal(size=(rows, 1)))
    y = y + rng.normal(0.0, 0.5, (rows, T))
    seen = np.ones((rows, T), bool)
    seen[1, :7] = False
    seen[2] = rng.random(T) < 0.7
    seen[3] = False
    return np.where(seen, y if seasonal == "additive" else np.exp(y / 10.0), 0.0), seen


def inputs(y: np.ndarray, seen: np.ndarray | None = None, series: np.ndarray | None = None) -> dict[str, np.ndarray]:
    full = {fk.PAST_Y: np.float32(y), fk.PAST_OBSERVED: np.float32(np.ones(y.shape) if seen is None else seen)}
    return full if series is None else {**full, fk.SERIES: np.int32(series)}


def spec_of(seasonal: str, **arguments: Any) -> ESRNN:
    normalize = "mean" if seasonal == "multiplicative" else "season"
    return ESRNN(**{"units": 4, "hidden": 8, "seasonal": seasonal, "normalize": normalize, **arguments})


def smoothing_of(model: keras.Model) -> Smoothing:
    return next(layer for layer in model.layers if isinstance(layer, Smoothing))


def silence(model: keras.Model) -> keras.Model:
    """The network without its say."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.set_weights([np.zeros(w.shape) for w in layer.get_weights()])
    return model


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-v))


def rates_of(layer: Smoothing, number: int) -> dict[str, float]:
    logits = np.float64(ops.convert_to_numpy(layer.shared))
    if number:
        logits = logits + np.float64(ops.convert_to_numpy(layer.own))[number - 1]
    return dict(zip(layer.names, sigmoid(logits).tolist(), strict=True))


# ---- the smoothing


@pytest.mark.parametrize(("m", "seasonal", "trend"), FORMS)
def test_first_states_decompose_the_whole_window(m: int, seasonal: str, trend: str | None) -> None:
    y, seen = windows(np.random.default_rng(0), seasonal)
    arrays = [ops.convert_to_tensor(array) for array in inputs(y, seen).values()]
    got = first_states(*arrays, season_length=m, seasonal=seasonal, trend=trend)
    level, slope, ring = (ops.convert_to_numpy(state) for state in got)
    for k in range(len(y)):
        wanted = naive_states(y[k], seen[k], m, seasonal, trend)
        assert level[k, 0] == pytest.approx(wanted[0], rel=1e-4)
        assert slope[k, 0] == pytest.approx(wanted[1], rel=1e-3, abs=1e-5)
        assert ring[k] == pytest.approx(wanted[2], rel=1e-3, abs=2e-5)


def test_first_states_of_a_line_with_a_season_are_that_line_and_that_season() -> None:
    t, season = np.arange(12), np.array([3.0, -1.0, 2.0, -4.0])
    y = np.float32(7.0 + 0.5 * (t + 1) + season[t % 4])[None]
    level, slope, ring = first_states(
        ops.convert_to_tensor(y), ops.ones((1, 12)), season_length=4, seasonal="additive", trend="additive"
    )
    assert (float(level[0, 0]), float(slope[0, 0])) == pytest.approx((7.0, 0.5), abs=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(ring)[0], season, atol=1e-4)


@pytest.mark.parametrize(("m", "seasonal", "trend"), FORMS)
def test_without_the_network_the_forecast_is_that_of_the_smoothing(m: int, seasonal: str, trend: str | None) -> None:
    rng = np.random.default_rng(1)
    y, seen = windows(rng, seasonal)
    numbers = np.array([0, 1, 2, 3, 3, 0, 2])
    model = silence(build_network(spec_of(seasonal, trend=trend), Shapes(T, H, m, series=N), HEAD, seed=0))
    layer = smoothing_of(model)
    layer.own.assign(rng.normal(size=layer.own.shape))
    got = apply(model, inputs(y, seen, numbers))[:, :, 0]
    for k, number in enumerate(numbers):
        if seen[k].any():
            _, _, wanted = naive_smoothing(y[k], seen[k], rates_of(layer, number), m, seasonal, trend)
            np.testing.assert_allclose(got[k], wanted, rtol=2e-4)
    assert np.isfinite(got).all()  # the window that holds nothing among them


@pytest.mark.parametrize(("m", "seasonal", "trend"), FORMS)
def test_the_network_reads_what_level_and_season_leave(m: int, seasonal: str, trend: str | None) -> None:
    y, seen = windows(np.random.default_rng(2), seasonal)
    layer = Smoothing(m, H, seasonal=seasonal, trend=trend, alpha=0.4)
    rest, *_ = layer(*map(ops.convert_to_tensor, inputs(y, seen).values()))
    assert rates_of(layer, 0)["alpha"] == pytest.approx(0.4)
    for k in np.flatnonzero(seen.any(axis=1)):
        levels, seasons, _ = naive_smoothing(y[k], seen[k], rates_of(layer, 0), m, seasonal, trend)
        left = y[k] - levels[-1] - seasons
        if seasonal == "multiplicative":
            logs = np.log(np.where(seen[k], y[k], 1.0))
            lag = m if 2 * m <= T else 1
            change = [abs(logs[t] - logs[t - lag]) for t in range(lag, T) if seen[k, t] and seen[k, t - lag]]
            left = (logs - np.log(levels[-1] * seasons)) / (np.mean(change) + 0.01)
        np.testing.assert_allclose(ops.convert_to_numpy(rest)[k], left * seen[k], rtol=1e-3, atol=2e-4)


def test_untrained_the_network_says_little() -> None:
    y, seen = windows(np.random.default_rng(3), "additive")
    model = build_network(spec_of("additive"), Shapes(T, H, 4), HEAD, seed=0)
    said = apply(model, inputs(y, seen)) - apply(silence(model), inputs(y, seen))
    assert 0.0 < np.abs(said).max() < 0.2


@pytest.mark.parametrize("seasonal", ["additive", "multiplicative"])
def test_a_series_that_was_not_there_has_the_shared_coefficients(seasonal: str) -> None:
    y, seen = windows(np.random.default_rng(4), seasonal)
    model = build_network(spec_of(seasonal), Shapes(T, H, 4, series=N), HEAD, seed=0)
    numbers = np.array([0, 1, 2, 3, 1, 2, 0])
    layer = smoothing_of(model)
    before = apply(model, inputs(y, seen, numbers))
    np.testing.assert_array_equal(before, apply(model, inputs(y, seen, 0 * numbers)))  # all begin at the shared ones
    layer.own.assign(np.array([[0.0, 0.0], [2.0, -1.0], [0.0, 0.0]]))
    after = apply(model, inputs(y, seen, numbers))
    changed = np.abs(after - before).max(axis=(1, 2)) > 1e-4
    np.testing.assert_array_equal(changed, numbers == 2)


# ---- equivariance


def test_of_sums_the_forecast_shifts_and_stretches_with_the_window() -> None:
    y, seen = windows(np.random.default_rng(5), "additive")
    y = 1e4 * y  # beside which the epsilon of the scale is nothing
    model = build_network(spec_of("additive"), Shapes(T, H, 4), QuantileHead((0.1, 0.5, 0.9)), seed=0)
    one, other = apply(model, inputs(y, seen)), apply(model, inputs(np.where(seen, 3.0 * y - 7e4, 0.0), seen))
    real = seen.any(axis=1)
    np.testing.assert_allclose(other[real], 3.0 * one[real] - 7e4, rtol=1e-3)


def test_of_products_the_forecast_stretches_with_the_window() -> None:
    y, seen = windows(np.random.default_rng(6), "multiplicative")
    model = build_network(spec_of("multiplicative"), Shapes(T, H, 4), QuantileHead((0.1, 0.5, 0.9)), seed=0)
    one, other = (apply(model, inputs(factor * y, seen)) for factor in (1e3, 5e4))
    np.testing.assert_allclose(other[seen.any(axis=1)], 50.0 * one[seen.any(axis=1)], rtol=1e-3)


def test_zeros_and_less_leave_a_multiplicative_smoothing_finite() -> None:
    y = np.array([[0.0] * T, [-3.0] * T, [0.0, 5.0] * (T // 2)])
    model = build_network(spec_of("multiplicative"), Shapes(T, H, 4), HEAD, seed=0)
    assert np.isfinite(apply(model, inputs(y))).all()


# ---- the stack


def test_a_dilated_layer_takes_any_number_of_steps() -> None:
    spec, x = ESRNN(units=4), np.random.default_rng(7).normal(size=(2, 12, 3)).astype(np.float32)
    outputs = [spec._layer(ops.convert_to_tensor(x), 5, Seeds(0), every=every, name="a") for every in (True, False)]
    whole, last = (ops.convert_to_numpy(output) for output in outputs)
    assert whole.shape == (2, 12, 4)
    np.testing.assert_allclose(whole[:, -1], last, rtol=1e-5, atol=1e-6)
    reached = []
    for t in range(12):
        other = x.copy()
        other[:, t] += 1.0
        moved = ops.convert_to_numpy(spec._layer(ops.convert_to_tensor(other), 5, Seeds(0), every=False, name="a"))
        reached.append(np.abs(moved - last).max() > 1e-6)
    assert np.flatnonzero(reached).tolist() == [1, 6, 11]  # every fifth step, counted back from the last


@pytest.mark.parametrize(
    ("shapes", "groups"),
    [
        (Shapes(12, 6, 1), ((1, 6),)), (Shapes(16, 8, 4), ((1, 2), (4, 8))), (Shapes(72, 18, 12), ((1, 3), (6, 12))),
        (Shapes(168, 48, 24), ((1, 4), (24,))), (Shapes(336, 48, 24), ((1, 4), (24, 168))),
        (Shapes(104, 13, 52), ((1, 13), (26, 52))), (Shapes(4, 2, 4), ((1, 2),)), (Shapes(1, 1, 1), ((1,),)),
    ],
)  # fmt: skip
def test_dilations_follow_the_season_and_fit_the_window(shapes: Shapes, groups: tuple) -> None:
    assert ESRNN().groups(shapes) == groups
    assert ESRNN(dilations=((2,), (1, 3))).groups(shapes) == ((2,), (1, 3))


def test_groups_come_back_from_json() -> None:
    spec = ESRNN(dilations=((1, 2), (4,)), span=3, cell="gru")
    assert make_network(json.loads(json.dumps(spec.describe()))) == spec


@pytest.mark.parametrize(
    "change",
    [{"cell": "gru"}, {"units": 5}, {"dilations": ((1,), (2,))}, {"span": 2}, {"hidden": 5}, {"alpha": 0.3},
     {"trend": "damped"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_argument_reaches_the_forecast(change: dict) -> None:
    y, seen = windows(np.random.default_rng(8), "additive")
    one, other = (
        apply(build_network(spec_of("additive", **more), Shapes(T, H, 4), HEAD, seed=0), inputs(y, seen))
        for more in ({}, change)
    )
    assert np.abs(one - other).max() > 1e-4


@pytest.mark.parametrize("name", ["normal", "student_t", "log_normal", "negative_binomial"])
@pytest.mark.parametrize("seasonal", ["additive", "multiplicative"])
def test_every_head_stands_behind_it(name: str, seasonal: str) -> None:
    y, seen = windows(np.random.default_rng(9), "multiplicative")
    head = make_head(name)
    model = silence(build_network(spec_of(seasonal, normalize="mean"), Shapes(T, H, 4), head, seed=0))
    params = apply(model, inputs(y, seen))
    assert np.isfinite(params).all()
    if seasonal == "multiplicative" and name != "log_normal":  # whose center is the mean, above the median
        _, _, wanted = naive_smoothing(y[0], seen[0], rates_of(smoothing_of(model), 0), 4, seasonal, None)
        np.testing.assert_allclose(head.center(params)[0], wanted, rtol=1e-3)


# ---- training

SIZES = Shapes(input_length=12, horizon=2, season_length=4, series=8)


def draw_of(kind: str) -> Draw:
    """Windows of 8 series: `"lines"` with a slope and a season of their own each; `"levels"`, of which four stand
    still under noise, and four wander."""

    def draw(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        rng = np.random.default_rng(k)
        series = rng.integers(0, 8, 32)
        t = np.arange(14)
        if kind == "lines":
            own = np.random.default_rng(99).normal(size=(8, 6))[series]
            y = 10.0 * rng.normal(size=(32, 1)) + own[:, :1] * t + own[:, 1:5][:, t % 4]
        else:
            steps = rng.normal(size=(32, 14))
            y = np.where(series[:, None] < 4, steps, np.cumsum(steps, axis=1))
        target = y[:, 12:, None].astype(np.float32)
        return inputs(y[:, :12], series=series + 1), target, np.ones((32, 2), np.float32)

    return draw


SHORT = ((1, 2),)  # dilations of a network that is quickly compiled


def trained(spec: ESRNN, draw: Draw, **training: Any) -> tuple[keras.Model, list[float]]:
    head = PointHead()
    model = build_network(spec, SIZES, head, seed=0)
    losses: list[float] = []
    train(model, head, draw, TrainingSpec(**training), on_step=lambda step, logs: losses.append(logs["loss"]))
    return model, losses


@pytest.mark.parametrize("seasonal", ["additive", "multiplicative"])
def test_a_short_training_beats_the_smoothing_alone(seasonal: str) -> None:
    lines = draw_of("lines")

    def draw(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        batch, target, weight = lines(k)
        return {**batch, fk.PAST_Y: np.exp(0.02 * batch[fk.PAST_Y])}, np.exp(0.02 * target), weight

    chosen = lines if seasonal == "additive" else draw
    batch, target, _ = chosen(10_000)
    spec = spec_of(seasonal, dilations=SHORT)
    untrained = build_network(spec, SIZES, PointHead(), seed=0)
    model, _ = trained(spec, chosen, steps=256, learning_rate=1e-2)
    errors = [np.abs(apply(one, batch)[..., 0] - target[..., 0]).mean() for one in (untrained, model)]
    assert errors[1] < 0.2 * errors[0]


def test_levels_that_wander_are_followed_faster_than_those_that_stand_still() -> None:
    spec = spec_of("additive", dilations=SHORT)
    before = smoothing_of(build_network(spec, SIZES, PointHead(), seed=0))
    model, _ = trained(spec, draw_of("levels"), steps=256, learning_rate=2e-2)
    layer = smoothing_of(model)
    assert (ops.convert_to_numpy(before.own) == 0.0).all()
    assert (ops.convert_to_numpy(layer.own) != 0.0).all()
    assert (ops.convert_to_numpy(layer.shared) != ops.convert_to_numpy(before.shared)).all()
    alpha = np.array([rates_of(layer, number)["alpha"] for number in range(1, 9)])
    assert alpha[:4].max() < alpha[4:].min()


def test_a_penalty_smooths_the_level() -> None:
    alphas, first_losses = [], []
    for penalty in (0.0, 30.0):
        spec = spec_of("additive", dilations=SHORT, level_penalty=penalty)
        model, losses = trained(spec, draw_of("levels"), steps=64, learning_rate=2e-2)
        alphas.append(rates_of(smoothing_of(model), 0)["alpha"])
        first_losses.append(losses[0])
    assert alphas[1] < alphas[0] - 0.05
    assert first_losses[1] > 2.0 * first_losses[0]  # it is part of the loss that is minimised


@pytest.mark.parametrize("seasonal", ["additive", "multiplicative"])
def test_the_penalty_is_the_mean_squared_second_difference_of_the_level(seasonal: str) -> None:
    y, _ = windows(np.random.default_rng(10), seasonal, rows=8)
    y = y[4:]
    layer = Smoothing(4, H, seasonal=seasonal, level_penalty=5.0)
    arrays = [ops.convert_to_tensor(array) for array in inputs(y).values()]
    layer(*arrays, training=True)
    layer(*arrays, training=True)  # what an earlier call left does not stay
    (got,) = layer.losses
    levels = np.stack([naive_smoothing(row, row > 0, rates_of(layer, 0), 4, seasonal, None)[0] for row in y])
    levels = np.log(levels) if seasonal == "multiplicative" else levels
    assert float(got) == pytest.approx(5.0 * np.mean(np.diff(levels, n=2, axis=1) ** 2), rel=1e-3)
    layer(*arrays, training=False)
    assert layer.losses == []


def test_windows_without_a_value_train_to_numbers() -> None:
    def draw(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        batch, target, weight = draw_of("lines")(k)
        batch[fk.PAST_OBSERVED][:4] = 0.0
        return batch, target, weight

    for seasonal in ("additive", "multiplicative"):
        model, losses = trained(spec_of(seasonal, dilations=SHORT, level_penalty=1.0), draw, steps=16)
        assert np.isfinite(losses).all()
        assert all(np.isfinite(w).all() for w in model.get_weights())


# ---- files, configuration, errors


def test_a_smoothing_returns_from_its_configuration() -> None:
    layer = Smoothing(4, H, trend="damped", series=3, alpha=0.2, level_penalty=2.0)
    again = Smoothing.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.series, again.alpha, again.level_penalty, again.trend) == (3, 0.2, 2.0, "damped")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"cell": "transformer"}, "cell must be one of rnn, lstm"),
        ({"units": 0}, "units must be a whole number, at least 1; got 0"),
        ({"hidden": -1}, "hidden must be a whole number, at least 0; got -1"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0"),
        ({"span": 0}, "span must be a whole number, at least 1, or 'season'; got 0"),
        ({"alpha": 1.0}, "alpha must lie strictly between 0 and 1, got 1.0"),
        ({"level_penalty": -1.0}, "level_penalty must be at least 0, got -1.0"),
        ({"level_penalty": float("nan")}, "level_penalty must be at least 0, got nan"),
        ({"lookback": True}, "corrects the forecast of its smoothing and no other; take lookback=False"),
        ({"seasonal": "both"}, "seasonal must be one of additive, multiplicative; got 'both'"),
        ({"trend": "linear"}, "trend must be one of .* got 'linear'"),
        ({"seasonal": "multiplicative", "normalize": "mean", "trend": "damped"}, "goes with trend=None.* got 'damped'"),
        ({"seasonal": "multiplicative"}, "needs targets above 0, which normalize='mean' or 'none'.* got 'season'"),
        ({"dilations": (1, 2)}, r"groups of whole numbers.* got \(1, 2\)"),
        ({"dilations": ()}, r"groups of whole numbers.* got \(\)"),
        ({"dilations": ((1,), ())}, r"groups of whole numbers.* got \(\(1,\), \(\)\)"),
        ({"dilations": ((0,),)}, "at least 1, such as"),
        ({"dilations": "seasn"}, "dilations must be 'season' or groups"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        ESRNN(**arguments)


@pytest.mark.parametrize(
    ("spec", "shapes", "complaint"),
    [
        (ESRNN(normalize="last"), Shapes(12, 6, 24), "at least a season of 24 steps, got 12"),
        (ESRNN(dilations=((1, 16),)), Shapes(12, 6, 4), "dilations must be at most input_length, 12; got 16"),
        (ESRNN(span=13), Shapes(12, 6, 4), "span must be at most input_length, 12; got 13"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(spec: ESRNN, shapes: Shapes, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        build_network(spec, shapes, HEAD, seed=0)
