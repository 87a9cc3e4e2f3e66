"""Temporal convolutional networks against plain loops: convolutions, blocks, what a step sees."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads import QuantileHead
from forecast_kit.nn.networks import Convolutional, Seeds, Shapes, Window, build_network
from forecast_kit.nn.networks.convolutional import CausalConvolution
from forecast_kit.nn.training import TrainingSpec, apply, train

HEAD = QuantileHead((0.5,))
CHANNELS = 3


def encoder(spec: Convolutional, length: int) -> keras.Model:
    """From channels `[B, T, C]` to the state, with weights far from those it begins with."""
    channels = keras.Input((length, CHANNELS))
    window = Window(None, None, channels, None, None, None, None, Shapes(length, 2, 1))
    model = keras.Model(channels, spec.encode(window, Seeds(0)))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])
    return model


# ---- the second implementation


def naive_convolution(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, dilation: int) -> np.ndarray:
    """`[T, U]` from `[T, C]`, one product at a time."""
    taps, channels, filters = kernel.shape
    out = np.zeros((len(x), filters)) + bias
    for t in range(len(x)):
        for i in range(taps):
            source = t - dilation * i
            if source >= 0:
                for c in range(channels):
                    out[t] += x[source, c] * kernel[taps - 1 - i, c]
    return out


def naive_normal(kernel: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Filters of length `gain`."""
    out = np.zeros_like(kernel)
    for u in range(kernel.shape[2]):
        out[:, :, u] = gain[u] * kernel[:, :, u] / np.sqrt((kernel[:, :, u] ** 2).sum())
    return out


def naive_block(x: np.ndarray, weights: list[np.ndarray], normalization: str, dilation: int) -> np.ndarray:
    """`[T, U]` one residual block; takes its weights off the list, from the front."""
    a = x
    for _ in range(2):
        kernel, bias = weights.pop(0), weights.pop(0)
        if normalization == "weight":
            kernel = naive_normal(kernel, weights.pop(0))
        a = naive_convolution(a, kernel, bias, dilation)
        if normalization == "layer":
            gamma, beta = weights.pop(0), weights.pop(0)
            a = (a - a.mean(axis=1, keepdims=True)) / np.sqrt(a.var(axis=1, keepdims=True) + 1e-3) * gamma + beta
        a = np.maximum(a, 0.0)
    if x.shape[1] != a.shape[1]:
        kernel, bias = weights.pop(0), weights.pop(0)
        x = x @ kernel + bias
    return np.maximum(x + a, 0.0)


def in_order(model: keras.Model) -> list[np.ndarray]:
    """Weights layer by layer, convolutions and normalisations of a block in front of its 1x1 convolution."""
    widths = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    others = [layer for layer in model.layers if layer not in widths and layer.weights]
    first = [w for layer in others for w in layer.get_weights()]
    per_block = len(first) // (len([x for x in others if isinstance(x, CausalConvolution)]) // 2)
    ones = [w for layer in widths for w in layer.get_weights()]  # the first block alone changes widths
    return [w.astype(np.float64) for w in (*first[:per_block], *ones, *first[per_block:])]


@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(2, 1), (3, 2), (2, 5), (3, 8)])
def test_a_convolution_is_a_weighted_sum_of_past_steps(kernel_size: int, dilation: int, weight_norm: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 3)).astype(np.float32)
    layer = CausalConvolution(4, kernel_size, dilation=dilation, weight_norm=weight_norm)
    layer.build(x.shape)
    weights = [rng.normal(size=w.shape) for w in layer.get_weights()]
    layer.set_weights(weights)
    kernel = naive_normal(weights[0], weights[2]) if weight_norm else weights[0]
    got = ops.convert_to_numpy(layer(x))
    assert layer.compute_output_shape(x.shape) == got.shape
    for b in range(2):
        expected = naive_convolution(x[b], kernel, weights[1], dilation)
        np.testing.assert_allclose(got[b], expected, rtol=1e-4, atol=1e-5)


def test_normalised_filters_begin_with_length_one() -> None:
    layer = CausalConvolution(4, 3, weight_norm=True, kernel_initializer="he_normal")
    impulse = np.zeros((3, 4, 3), np.float32)
    impulse[range(3), 1, range(3)] = 1.0  # each channel by itself: its outputs are the kernel's numbers
    np.testing.assert_allclose((ops.convert_to_numpy(layer(impulse)) ** 2).sum(axis=(0, 1)), 1.0, rtol=1e-5)


@pytest.mark.parametrize("normalization", ["none", "layer", "weight"])
@pytest.mark.parametrize("length", [12, 15])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_state_is_that_of_blocks_in_plain_loops(pooling: str, count: int, length: int, normalization: str) -> None:
    spec = Convolutional(filters=4, kernel_size=3, layers=count, pooling=pooling, normalization=normalization)
    model = encoder(spec, length)
    x = np.random.default_rng(2).normal(size=(3, length, CHANNELS)).astype(np.float32)
    got = ops.convert_to_numpy(model(x))
    for b in range(3):
        weights, outputs = in_order(model), x[b].astype(np.float64)
        for k in range(count):
            outputs = naive_block(outputs, weights, normalization, 2**k)
        assert not weights
        expected = outputs[-1] if pooling == "last" else outputs.mean(axis=0)
        np.testing.assert_allclose(got[b], expected, rtol=1e-3, atol=1e-4)


def test_where_widths_are_the_same_there_is_no_convolution_of_one_step() -> None:
    model = encoder(Convolutional(filters=CHANNELS, layers=2), 12)
    assert not any(isinstance(layer, keras.layers.Dense) for layer in model.layers)


# ---- what a step sees


@pytest.mark.parametrize("normalization", ["none", "layer", "weight"])
def test_no_block_sees_what_comes_later(normalization: str) -> None:
    model = encoder(Convolutional(filters=8, layers=3, pooling="mean", normalization=normalization), 12)
    # Every output of a layer that has all steps: convolutions, normalisations, blocks.
    steps = [layer.output for layer in model.layers[1:] if layer.output.shape[1:] == (12, 8)]
    assert len(steps) >= 3 * 5
    every = keras.Model(model.input, steps)
    x = np.random.default_rng(3).normal(size=(4, 12, CHANNELS)).astype(np.float32)
    for t in (0, 5, 11):
        other = x.copy()
        other[:, t] += 5.0
        for before, after in zip(every(x), every(other), strict=True):
            difference = np.abs(ops.convert_to_numpy(before) - ops.convert_to_numpy(after)).max(axis=(0, 2))
            assert difference[:t].max(initial=0.0) < 1e-5
            assert difference[t] > 1e-3


@pytest.mark.parametrize(("kernel_size", "count", "sees"), [(2, 1, 3), (2, 3, 15), (3, 2, 13), (5, 1, 9)])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_receptive_field_is_what_it_says(pooling: str, kernel_size: int, count: int, sees: int) -> None:
    spec = Convolutional(filters=2, kernel_size=kernel_size, layers=count, pooling=pooling)
    assert spec.receptive_field(count) == sees
    length = 20
    model = encoder(spec, length)
    # Positive throughout, so that no ReLU hides a step.
    model.set_weights([np.full(weight.shape, 0.2) for weight in model.get_weights()])
    last = model
    if pooling == "mean":
        last = keras.Model(model.input, model.layers[-1].input[:, -1])
    x = np.ones((length, length, CHANNELS), np.float32)
    x[range(length), range(length)] += 1.0  # one step changed in each row
    difference = ops.convert_to_numpy(last(x)) - ops.convert_to_numpy(last(np.ones((1, length, CHANNELS), np.float32)))
    assert [bool(row.max() > 1e-6) for row in difference] == [t >= length - sees for t in range(length)]


@pytest.mark.parametrize("length", [2, 3, 13, 14, 168, 500])
@pytest.mark.parametrize("kernel_size", [2, 3, 7])
def test_blocks_are_as_many_as_the_window_needs(kernel_size: int, length: int) -> None:
    spec = Convolutional(kernel_size=kernel_size)
    count = spec.blocks(Shapes(length, 1, 1))
    assert spec.receptive_field(count) >= length
    assert count == 1 or spec.receptive_field(count - 1) < length
    assert Convolutional(layers=9).blocks(Shapes(length, 1, 1)) == 9


# ---- options


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"filters": 0}, "filters must be a whole number, at least 1; got 0"),
        ({"kernel_size": 1}, "kernel_size must be a whole number, at least 2; got 1"),
        ({"layers": 0}, "layers must be a whole number, at least 1, or None for as many as it takes; got 0"),
        ({"dropout": -0.1}, "dropout must be a number of at least 0 and below 1, got -0.1"),
        ({"hidden": -1}, "hidden must be a whole number, at least 0; got -1"),
        ({"pooling": "sum"}, "pooling must be one of last, mean, max, attention; got 'sum'"),
        ({"normalization": "batch"}, "normalization must be one of none, layer, weight; got 'batch'"),
    ],
)
def test_bad_specs_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        Convolutional(**arguments)


def windows(rows: int = 5) -> dict[str, np.ndarray]:
    y = np.random.default_rng(4).normal(size=(rows, 12)).astype(np.float32)
    return {fk.PAST_Y: y, fk.PAST_OBSERVED: np.ones_like(y)}


@pytest.mark.parametrize(
    "change",
    [{"filters": 5}, {"kernel_size": 4}, {"layers": 3}, {"dropout": 0.5}, {"hidden": 0}, {"pooling": "max"},
     {"normalization": "weight"}, {"normalization": "layer"}, {"initializer": "he_normal"}, {"lookback": False}],
    ids=lambda change: str(next(iter(change.values()))),
)  # fmt: skip
def test_every_option_reaches_the_network(change: dict) -> None:
    base = {"filters": 4, "hidden": 8, "layers": 2}
    outputs = [
        build_network(Convolutional(**spec), Shapes(12, 6, 4), HEAD, seed=0)(windows(), training=True)
        for spec in (base, {**base, **change})
    ]
    assert not np.array_equal(*map(ops.convert_to_numpy, outputs))


def test_a_model_survives_its_configuration() -> None:
    model = build_network(Convolutional(filters=4, normalization="weight"), Shapes(12, 6, 4), HEAD, seed=0)
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(apply(copy, windows()), apply(model, windows()))


# ---- learning


def lines(k: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Straight lines with a slope of their own: the next values are known."""
    slope = np.random.default_rng(k).normal(size=(32, 1))
    y = (slope * np.arange(14)).astype(np.float32)
    return (
        {fk.PAST_Y: y[:, :12], fk.PAST_OBSERVED: np.ones((32, 12), np.float32)},
        y[:, 12:, None],
        np.ones((32, 2), np.float32),
    )


@pytest.mark.parametrize("options", [{}, {"pooling": "attention", "normalization": "weight"}], ids=["last", "all"])
def test_training_learns(options: dict) -> None:
    spec = Convolutional(filters=8, hidden=16, normalize="last", lookback=False, **options)
    model = build_network(spec, Shapes(12, 2, 1), HEAD, seed=0)
    inputs, target, _ = lines(10_000)
    before = np.abs(apply(model, inputs) - target).mean()
    train(model, HEAD, lines, TrainingSpec(steps=200, learning_rate=1e-2), on_step=lambda step, loss: None)
    assert np.abs(apply(model, inputs) - target).mean() < 0.2 * before
