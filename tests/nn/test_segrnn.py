"""SegRNN against the paper's equations in plain loops, and what its options do."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.cells import CELLS
from forecast_kit.nn.heads import QuantileHead
from forecast_kit.nn.networks import SegRNN, Shapes, build_network
from forecast_kit.nn.training import TrainingSpec, apply, train

HEAD = QuantileHead((0.5,))  # its one parameter is the raw output, shifted
Weights = dict[str, list[np.ndarray]]


def built(spec: SegRNN, shapes: Shapes) -> keras.Model:
    """A network with weights far from those it begins with, the last layer's among them."""
    model = build_network(spec, shapes, HEAD, seed=0)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])
    return model


def batch(shapes: Shapes, rows: int = 6) -> dict[str, np.ndarray]:
    """Windows, a part of them without observations in the beginning; numbers as covariates, and series 0 .. N."""
    rng = np.random.default_rng(2)
    observed = np.ones((rows, shapes.input_length))
    observed[0, :3] = 0.0
    arrays = {
        fk.PAST_Y: rng.normal(size=(rows, shapes.input_length)),
        fk.PAST_OBSERVED: observed,
        fk.PAST_X: rng.normal(size=(rows, shapes.input_length, len(shapes.past))),
        fk.FUTURE_X: rng.normal(size=(rows, shapes.horizon, len(shapes.future))),
        fk.STATIC_X: rng.normal(size=(rows, len(shapes.static))),
    }
    floats = {name: array.astype(np.float32) for name, array in arrays.items() if array.size}
    return {**floats, fk.SERIES: np.arange(rows, dtype=np.int32) % (shapes.series + 1)} if shapes.series else floats


# ---- the second implementation


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def gru_step(x: np.ndarray, h: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    kernel, recurrent, bias = weights
    (wz, wr, wg), (uz, ur, ug) = np.split(kernel, 3, axis=1), np.split(recurrent, 3, axis=1)
    (bz, br, bg), (dz, dr, dg) = np.split(bias[0], 3), np.split(bias[1], 3)
    z = sigmoid(x @ wz + bz + h @ uz + dz)
    r = sigmoid(x @ wr + br + h @ ur + dr)
    g = np.tanh(x @ wg + bg + r * (h @ ug + dg))
    return z * h + (1.0 - z) * g


def steps_of(x: np.ndarray, states: list[np.ndarray], cells: list[list[np.ndarray]]) -> list[np.ndarray]:
    """The new states of cells one on the other."""
    after = []
    for h, weights in zip(states, cells, strict=True):
        x = gru_step(x, h, weights)
        after.append(x)
    return after


def weights_of(model: keras.Model) -> tuple[Weights, list[list[np.ndarray]]]:
    named = {layer.name: [w.astype(np.float64) for w in layer.get_weights()] for layer in model.layers}
    flat = named["decoder"]
    return named, [flat[k : k + 3] for k in range(0, len(flat), 3)]


def naive(model: keras.Model, shapes: Shapes, segment: int, window: dict[str, np.ndarray]) -> np.ndarray:
    """`[H]` the forecast of one window, by the paper's section 3, one future segment at a time."""
    named, cells = weights_of(model)
    y, observed = window[fk.PAST_Y].astype(np.float64), window[fk.PAST_OBSERVED]
    last = y[np.flatnonzero(observed)[-1]]
    units = len(cells[0][1])
    states = [np.zeros(units) for _ in cells]
    kernel, bias = named["segments"]
    for begin in range(0, shapes.input_length, segment):
        numbers = []
        for t in range(begin, begin + segment):
            numbers += [(y[t] - last) * observed[t], 1.0 - observed[t], *window.get(fk.PAST_X, np.empty((99, 0)))[t]]
        states = steps_of(np.maximum(np.array(numbers) @ kernel + bias, 0.0), states, cells)
    ahead = min(segment, shapes.horizon)
    forecast: list[float] = []
    for j in range(-(-shapes.horizon // ahead)):
        query = named["positions"][0][j]
        if fk.SERIES in window:
            vectors, number = named["series_vectors"][0], int(window[fk.SERIES])
            query = np.concatenate([query, vectors[number - 1] if number else vectors.mean(axis=0)])
        if fk.FUTURE_X in window:
            known = np.zeros((ahead, len(shapes.future)))
            here = window[fk.FUTURE_X][j * ahead : (j + 1) * ahead]
            known[: len(here)] = here
            query = query + np.maximum(known.ravel() @ named["known"][0] + named["known"][1], 0.0)
        if fk.STATIC_X in window:
            query = query + window[fk.STATIC_X] @ named["static"][0] + named["static"][1]
        g = steps_of(query, states, cells)[-1]
        forecast += list(g @ named["steps"][0] + named["steps"][1] + last)
    return np.array(forecast[: shapes.horizon])


@pytest.mark.parametrize(
    ("shapes", "segment", "options"),
    [
        (Shapes(12, 8, 1), 4, {}),
        (Shapes(12, 7, 1, past=(0,), future=(0, 0), static=(0, 0, 0)), 3, {}),
        (Shapes(12, 2, 1, future=(0,)), 4, {"layers": 2}),
        (Shapes(6, 5, 1, series=4, static=(0,)), 2, {"series_embedding": 2}),
    ],
    ids=["plain", "covariates", "two layers and a short horizon", "series"],
)
def test_forecasts_are_those_of_the_equations(shapes: Shapes, segment: int, options: dict) -> None:
    model = built(SegRNN(units=6, segment=segment, **options), shapes)
    windows = batch(shapes)
    got = apply(model, windows)[..., 0]
    for b in range(len(got)):
        expected = naive(model, shapes, segment, {name: array[b] for name, array in windows.items()})
        np.testing.assert_allclose(got[b], expected, rtol=1e-4, atol=1e-5)


# ---- properties


def test_covariates_of_a_future_segment_reach_that_segment_alone() -> None:
    shapes = Shapes(12, 10, 1, future=(0,))
    model = built(SegRNN(units=6, segment=4), shapes)
    one, other = batch(shapes), batch(shapes)
    other[fk.FUTURE_X][:, 5] += 2.0
    moved = np.abs(apply(model, one) - apply(model, other))[..., 0].max(axis=0)
    assert (moved[4:8] > 1e-3).all()
    assert moved[[0, 1, 2, 3, 8, 9]].max() < 1e-6


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_decodes_from_the_state_after_the_window(cell: str) -> None:
    shapes = Shapes(8, 6, 4)
    model = built(SegRNN(cell, units=4, segment=4), shapes)
    one, other = batch(shapes), batch(shapes)
    other[fk.PAST_Y][:, 0] += 3.0
    difference = np.abs(apply(model, one) - apply(model, other))[..., 0]
    assert (difference[1:] > 1e-6).all()
    assert difference[0].max() == 0.0  # not observed there


@pytest.mark.parametrize(
    ("length", "season", "expected"),
    [(168, 24, 24), (36, 12, 12), (12, 4, 4), (24, 24, 4), (30, 24, 5), (36, 1, 6), (13, 1, 1), (672, 336, 24)],
)
def test_a_season_becomes_a_segment_where_it_can(length: int, season: int, expected: int) -> None:
    assert SegRNN().steps_at_once(Shapes(length, 6, season)) == expected


def test_an_input_that_is_no_multiple_of_the_segment_is_refused() -> None:
    with pytest.raises(ArgumentError, match="input_length must be a multiple of segment, got 12 and 5"):
        build_network(SegRNN(segment=5), Shapes(12, 6, 4), HEAD, seed=0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"cell": "transformer"}, "cell must be one of rnn, lstm"),
        ({"units": 0}, "units must be a whole number, at least 1; got 0"),
        ({"layers": 0}, "layers must be a whole number, at least 1; got 0"),
        ({"segment": 0}, "segment must be a whole number, at least 1, or 'season'; got 0"),
        ({"segment": "week"}, "segment must be a whole number, at least 1, or 'season'; got 'week'"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0"),
        (
            {"units": 8, "series_embedding": 8},
            "series_embedding must be below units, which it is a part of; got 8 and 8",
        ),
        ({"normalize": "mode"}, "normalize must be one of season, instance"),
    ],
)
def test_bad_specs_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        SegRNN(**arguments)


def test_series_are_asked_for_only_where_they_are_embedded() -> None:
    shapes = Shapes(8, 6, 4, series=3)
    assert not SegRNN().wants_series
    assert fk.SERIES not in build_network(SegRNN(units=4), shapes, HEAD, seed=0).input
    told = SegRNN(units=4, series_embedding=2)
    assert told.wants_series
    assert fk.SERIES in build_network(told, shapes, HEAD, seed=0).input
    without = build_network(told, Shapes(8, 6, 4), HEAD, seed=0)  # no series: positions have the whole width
    assert without.get_layer("positions").get_weights()[0].shape == (2, 4)


def test_the_title_names_a_cell_that_is_not_the_papers() -> None:
    assert [SegRNN(cell).title for cell in ("gru", "min_lstm")] == ["SegRNN", "SegRNN-MIN-LSTM"]


@pytest.mark.parametrize(
    "change",
    [{"cell": "lstm"}, {"units": 5}, {"layers": 2}, {"segment": 2}, {"dropout": 0.5}, {"lookback": True},
     {"normalize": "none"}, {"initializer": "he_normal"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_option_reaches_the_network(change: dict) -> None:
    shapes, base = Shapes(8, 6, 4), {"units": 4, "segment": 4, "dropout": 0.0}
    outputs = [
        keras.ops.convert_to_numpy(build_network(SegRNN(**spec), shapes, HEAD, seed=0)(batch(shapes), training=True))
        for spec in (base, {**base, **change})
    ]
    assert not np.array_equal(*outputs)


def test_a_model_survives_its_configuration() -> None:
    shapes = Shapes(8, 6, 4, series=4)
    model = built(SegRNN(units=6, segment=4, series_embedding=2), shapes)
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(apply(copy, batch(shapes)), apply(model, batch(shapes)))


# ---- learning


def waves(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Waves of four steps with a level, a height and a phase of their own: the next values are known."""
    rng = np.random.default_rng(k)
    level, height = rng.normal(size=(32, 1)), rng.uniform(0.5, 2.0, (32, 1))
    steps = np.arange(22) + rng.integers(0, 4, (32, 1))
    y = (level + height * np.array([0.0, 1.0, 0.5, -1.0])[steps % 4]).astype(np.float32)
    return (
        {fk.PAST_Y: y[:, :16], fk.PAST_OBSERVED: np.ones((32, 16), np.float32)},
        y[:, 16:, None],
        np.ones((32, 6), np.float32),
    )


def of_series(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Windows that say nothing of what follows; the series does."""
    rng = np.random.default_rng(k)
    number = rng.integers(1, 4, 32).astype(np.int32)
    window = {fk.PAST_Y: np.zeros((32, 16), np.float32), fk.PAST_OBSERVED: np.ones((32, 16), np.float32)}
    target = np.array([2.0, -1.0, 4.0], np.float32)[number - 1, None, None].repeat(6, axis=1)
    return {**window, fk.SERIES: number}, target, np.ones((32, 6), np.float32)


@pytest.mark.parametrize(
    ("draw", "series", "options"),
    [(waves, 0, {}), (waves, 0, {"cell": "lstm", "layers": 2}), (of_series, 3, {"series_embedding": 4})],
    ids=["waves", "two lstm layers", "series"],
)
def test_training_learns(draw, series: int, options: dict) -> None:
    model = build_network(SegRNN(units=16, **options), Shapes(16, 6, 4, series=series), HEAD, seed=0)
    inputs, target, _ = draw(10_000)
    before = np.abs(apply(model, inputs) - target).mean()
    train(model, HEAD, draw, TrainingSpec(steps=240, learning_rate=1e-2), on_step=lambda step, loss: None)
    assert np.abs(apply(model, inputs) - target).mean() < 0.2 * before


def test_seeds_of_positions_and_series_differ() -> None:
    spec = SegRNN(units=8, series_embedding=4, segment=4)
    model = build_network(spec, Shapes(8, 8, 4, series=2), HEAD, seed=0)
    vectors = [model.get_layer(name).get_weights()[0] for name in ("positions", "series_vectors")]
    assert all(not np.array_equal(a, b) for a, b in itertools.product(*vectors))
