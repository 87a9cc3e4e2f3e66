"""Networks: shapes, and what may and may not reach the output."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads import HEADS, QuantileHead, make_head
from forecast_kit.nn.networks import (
    ESRNN,
    NETWORKS,
    PRESETS,
    Convolutional,
    EncoderDecoder,
    Network,
    Recurrent,
    SegRNN,
    Shapes,
    build_network,
    make_network,
)
from forecast_kit.nn.training import TrainingSpec, apply, train

HEAD = QuantileHead((0.1, 0.5, 0.9))
SHAPES = Shapes(input_length=12, horizon=6, season_length=4, past=(0, 3), future=(3,), static=(0, 0, 4))


def columns(rng: np.random.Generator, axes: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
    """Numbers, and codes of categories."""
    drawn = [rng.integers(0, size, axes) if size else rng.normal(size=axes) for size in sizes]
    return np.stack(drawn, axis=-1) if drawn else np.empty((*axes, 0))


def batch(shapes: Shapes, rows: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    full = {
        fk.PAST_Y: rng.normal(size=(rows, shapes.input_length)),
        fk.PAST_OBSERVED: np.ones((rows, shapes.input_length)),
        fk.PAST_X: columns(rng, (rows, shapes.input_length), shapes.past),
        fk.FUTURE_X: columns(rng, (rows, shapes.horizon), shapes.future),
        fk.STATIC_X: columns(rng, (rows,), shapes.static),
    }
    return {name: array.astype(np.float32) for name, array in full.items() if array.shape[-1]}


SMALL = {"units": 4, "hidden": 8}
NETWORKS_TO_TEST: dict[str, Network] = {
    "lstm": Recurrent("lstm", **SMALL),
    "gru by segments": Recurrent("gru", segment=4, **SMALL),
    "gru of two layers": Recurrent("gru", layers=2, dropout=0.2, segment=2, **SMALL),
    "lstm without look back": Recurrent("lstm", lookback=False, **SMALL),
    "residual and dilated": Recurrent("gru", layers=2, dilations=(1, 2), residual=True, zoneout=0.1, **SMALL),
    "bidirectional": Recurrent("lstm", bidirectional=True, pooling="attention", recurrent_dropout=0.1, **SMALL),
    "convolution in front": Recurrent("rnn", filters=4, pooling="max", cell_options={"activation": "relu"}, **SMALL),
    "with an auxiliary loss": Recurrent("gru", segment=2, auxiliary=0.3, **SMALL),
    "without a dense layer": Recurrent("min_gru", units=4, hidden=0, pooling="mean"),
    "by the last value": Recurrent("gru", normalize="last", **SMALL),
    "by mean and deviation": Recurrent("gru", normalize="instance", initializer="he_normal", **SMALL),
    "segrnn": SegRNN(units=4, segment=4),
    "segrnn of two lstm layers": SegRNN("lstm", units=4, layers=2, segment=3, normalize="season", lookback=True),
    "tcn": Convolutional(filters=4, hidden=8, dropout=0.1),
    "tcn of all steps": Convolutional(filters=4, hidden=0, layers=2, pooling="attention", normalization="weight"),
    "encoder and decoder": EncoderDecoder("lstm", segment=4, dropout=0.1, **SMALL),
    "encoder and decoder of two layers": EncoderDecoder(layers=2, segment=1, attention="additive", **SMALL),
    "encoder and decoder, read linearly": EncoderDecoder("gru", units=4, segment=4, hidden=0, attention=None),
    "recursive": EncoderDecoder(units=4, segment=4, decoding="recursive", hidden=0, attention=None),
    "recursive of two layers": EncoderDecoder(
        "lstm", layers=2, segment=1, decoding="recursive", lookback=False, **SMALL
    ),
    "es-rnn": ESRNN(units=4, hidden=8),
    "es-rnn of its own dilations": ESRNN(cell="gru", units=4, hidden=0, dilations=((1, 5), (3,)), span=2, dropout=0.1),
    "es-rnn with a trend": ESRNN(units=4, trend="damped", level_penalty=1.0, normalize="last"),
    "es-rnn of products": ESRNN(units=4, seasonal="multiplicative", normalize="mean"),
}


@cache
def built(name: str, shapes: Shapes = SHAPES, seed: int = 0) -> keras.Model:
    """The network of that name; nobody changes its weights."""
    return build_network(NETWORKS_TO_TEST[name], shapes, HEAD, seed=seed)


@cache
def of_the_batch(name: str) -> np.ndarray:
    return apply(built(name), batch(SHAPES))


every_network = pytest.mark.parametrize("name", NETWORKS_TO_TEST)


@pytest.mark.parametrize("shapes", [SHAPES, Shapes(12, 6, 4), Shapes(12, 6, 1)], ids=["covariates", "plain", "m=1"])
@every_network
def test_output_is_ordered_quantiles_of_every_step(name: str, shapes: Shapes) -> None:
    got = apply(built(name, shapes), batch(shapes))
    assert got.shape == (5, 6, 3)
    assert (np.diff(got, axis=-1) >= 0).all()


@every_network
def test_a_window_is_forecast_alike_alone_and_among_as_many_as_the_horizon_has_steps(name: str) -> None:
    """As many windows as steps: Keras under TensorFlow then takes what belongs to a window for a step's bias."""
    model = built(name)
    one = batch(SHAPES, rows=SHAPES.horizon)
    one[fk.PAST_Y] += 10.0 * np.arange(SHAPES.horizon, dtype=np.float32)[:, None]
    some = [1, SHAPES.horizon - 1]
    alone = [apply(model, {key: array[k : k + 1] for key, array in one.items()}) for k in some]
    np.testing.assert_allclose(apply(model, one)[some], np.concatenate(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_is_rescaled_window_by_window(name: str) -> None:
    head, rng = make_head(name), np.random.default_rng(4)
    params = ops.convert_to_numpy(head(rng.normal(size=(6, 6, head.width)).astype(np.float32)))
    shift, scale = (np.abs(rng.normal(size=(6, 1))).astype(np.float32) for _ in range(2))
    whole = ops.convert_to_numpy(head.rescale(params, shift, scale))
    alone = [ops.convert_to_numpy(head.rescale(params[[k]], shift[[k]], scale[[k]])) for k in range(6)]
    np.testing.assert_allclose(whole, np.concatenate(alone), rtol=1e-6)


@every_network
def test_what_was_not_observed_does_not_matter(name: str) -> None:
    model = built(name)
    one = batch(SHAPES)
    one[fk.PAST_OBSERVED][:, :5] = 0.0
    other = {key: array.copy() for key, array in one.items()}
    other[fk.PAST_Y][:, :5] = 1e3
    np.testing.assert_array_equal(apply(model, one), apply(model, other))


@pytest.mark.parametrize("key", [fk.PAST_Y, fk.PAST_OBSERVED, fk.PAST_X, fk.FUTURE_X, fk.STATIC_X])
@every_network
def test_every_input_reaches_the_output(name: str, key: str) -> None:
    other = batch(SHAPES)
    other[key] = 1.0 - other[key] + (np.arange(other[key].shape[1]).reshape(1, -1, *[1] * (other[key].ndim - 2)) % 3)
    assert np.abs(of_the_batch(name) - apply(built(name), other)).max() > 1e-5


def test_shifting_and_stretching_a_window_shifts_and_stretches_its_forecast() -> None:
    model = build_network(Recurrent("gru", segment=4, **SMALL), Shapes(12, 6, 4), HEAD, seed=0)
    one, other = batch(Shapes(12, 6, 4)), batch(Shapes(12, 6, 4))
    other[fk.PAST_Y] = other[fk.PAST_Y] + 40.0
    np.testing.assert_allclose(apply(model, other), apply(model, one) + 40.0, atol=1e-3)


@every_network
def test_the_seed_decides_the_initial_weights(name: str) -> None:
    again = build_network(NETWORKS_TO_TEST[name], SHAPES, HEAD, seed=0)
    weights = [model.get_weights() for model in (built(name), again, built(name, seed=1))]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"cell": "transformer"}, "cell must be one of rnn, lstm"),
        ({"units": 0}, "units must be a whole number, at least 1"),
        ({"segment": 0}, "segment must be a whole number, at least 1"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1"),
        ({"hidden": -1}, "hidden must be a whole number, at least 0"),
        ({"pooling": "sum"}, "pooling must be one of last, mean, max, attention"),
        ({"layers": 2, "dilations": (1,)}, "dilations must have one number for each of 2 layers"),
        ({"dilations": (1,), "bidirectional": True}, "dilations and bidirectional do not go together"),
        ({"normalize": "mode"}, "normalize must be one of season, instance"),
        ({"initializer": "nothing"}, "initializer must be one that Keras knows by name"),
        ({"initializer": {"class_name": "Zeros", "config": {}}}, "initializer must be one that Keras knows by name"),
        ({"cell_options": {"activation": "relu"}}, "cell 'lstm' cannot be built: .*activation"),
        ({"units": "8"}, "units must be a whole number, at least 1; got '8'"),
        ({"auxiliary": float("nan")}, "auxiliary must be a number of at least 0, got nan"),
        ({"auxiliary": -1.0}, "auxiliary must be a number of at least 0, got -1.0"),
        ({"auxiliary": 0.1, "bidirectional": True}, "asks each step for the next one, which a bidirectional layer has"),
    ],
)
def test_bad_specs_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        Recurrent(**arguments)


@pytest.mark.parametrize("name", [*PRESETS, *NETWORKS])
def test_a_network_is_what_its_description_says(name: str) -> None:
    network = make_network(name)
    assert make_network(json.loads(json.dumps(network.describe()))) == network
    assert network.title
    assert build_network(network, Shapes(24, 6, 4), HEAD, seed=0).output_shape == (None, 6, 3)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("grx", "unknown network 'grx'; known are .* Did you mean 'gru'"),
        ({"network": "gru", "unit": 3}, "unknown key 'unit'; Recurrent takes .* Did you mean 'units'"),
        (3, "a network is named by a preset"),
    ],
)
def test_bad_descriptions_are_refused(spec: object, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        make_network(spec)


KNOBS: dict[str, Any] = {
    "cell": "gru", "units": 5, "layers": 3, "segment": 4, "hidden": 4, "dropout": 0.5, "recurrent_dropout": 0.5,
    "zoneout": 0.5, "residual": True, "dilations": (1, 3), "bidirectional": True, "pooling": "mean", "filters": 3,
    "kernel_size": 2, "auxiliary": 0.5, "cell_options": {"unit_forget_bias": False}, "normalize": "mean",
    "lookback": False, "initializer": "he_normal",
}  # fmt: skip


def in_training(**arguments: Any) -> tuple[np.ndarray, float]:
    """Outputs and added losses of a network of that description in training, untrained."""
    with_all = {"cell": "lstm", "units": 4, "hidden": 8, "layers": 2, "segment": 2, **arguments}
    model = build_network(Recurrent(**with_all), Shapes(12, 6, 4), HEAD, seed=0)
    for weight in model.trainable_variables:  # last layers begin near 0, and would hide what lies before them
        weight.assign(weight.numpy() + np.random.default_rng(weight.shape[0]).normal(0.0, 0.3, weight.shape))
    said = model(batch(Shapes(12, 6, 4)), training=True)
    return ops.convert_to_numpy(said), float(sum(map(float, model.losses)))


@pytest.mark.parametrize("name", [one.name for one in fields(Recurrent)])
def test_every_knob_reaches_the_network(name: str) -> None:
    base = {"filters": 3} if name == "kernel_size" else {}
    (one, added), (other, more) = in_training(**base), in_training(**base, **{name: KNOBS[name]})
    assert more > added if name == "auxiliary" else np.abs(one - other).max() > 1e-3


def test_an_auxiliary_loss_wants_a_next_step() -> None:
    with pytest.raises(ArgumentError, match="the cell reads all 12 at once; take a shorter segment"):
        build_network(Recurrent(segment=12, auxiliary=0.1), SHAPES, HEAD, seed=0)


def test_the_auxiliary_loss_is_trained() -> None:
    """The weights of the next step's forecast have no other way to change."""
    shapes = Shapes(12, 6, 4)
    model = build_network(Recurrent("gru", segment=2, auxiliary=0.5, **SMALL), shapes, HEAD, seed=0)
    (kernel,) = [w for w in model.trainable_variables if w.path.startswith("encoder_auxiliary/kernel")]
    before = kernel.numpy().copy()
    target = np.ones((5, 6, 1), np.float32)
    train(model, HEAD, lambda k: (batch(shapes), target, target[:, :, 0]), TrainingSpec(steps=4, progress="none"))
    assert np.abs(kernel.numpy() - before).max() > 1e-4


def test_an_input_that_does_not_fit_segment_or_season_is_refused() -> None:
    with pytest.raises(ArgumentError, match="multiple of segment, got 12 and 5"):
        build_network(Recurrent(segment=5), SHAPES, HEAD, seed=0)
    with pytest.raises(ArgumentError, match="at least a season of 24 steps, got 12"):
        build_network(Recurrent(), Shapes(12, 6, 24), HEAD, seed=0)
