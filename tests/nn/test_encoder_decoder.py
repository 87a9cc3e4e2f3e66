"""Networks that decode step by step: against NumPy, what may reach which step, what they learn."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import pytest
from keras import ops

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.attention import TemporalAttention
from forecast_kit.nn.heads import QuantileHead
from forecast_kit.nn.networks import Shapes, build_network
from forecast_kit.nn.networks.encoder_decoder import DecoderInputs, EncoderDecoder
from forecast_kit.nn.recurrent import Recurrence
from forecast_kit.nn.training import TrainingSpec, apply, train

MEDIAN = QuantileHead((0.5,))  # whose parameter is the raw output
B, T, H, U = 3, 8, 6, 4
SHAPES = Shapes(T, H, 4, future=(0, 0), static=(0,))
PLAIN = {"normalize": "none", "lookback": False}  # so that the forecast is the raw output

Array = np.ndarray
Weights = Sequence[Array]


def batch(shapes: Shapes = SHAPES, rows: int = B, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    full = {
        fk.PAST_Y: rng.normal(size=(rows, shapes.input_length)),
        fk.PAST_OBSERVED: np.ones((rows, shapes.input_length)),
        fk.FUTURE_X: rng.normal(size=(rows, shapes.horizon, len(shapes.future))),
        fk.STATIC_X: rng.normal(size=(rows, len(shapes.static))),
    }
    return {name: array.astype(np.float32) for name, array in full.items() if array.shape[-1]}


def randomized(model: keras.Model) -> keras.Model:
    """The model with weights that are nowhere zero."""
    rng = np.random.default_rng(7)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return model


# ---- the oracle: one step after the other, in NumPy


def sigmoid(a: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-a))


def gru(x: Array, h: Array, w: Weights) -> Array:
    """A step of `GRUCell`, from `[B, F]` and `[B, U]`."""
    kernel, between, (b, d) = w
    p, q, u = x @ kernel + b, h @ between + d, h.shape[1]
    z, r = sigmoid(p[:, :u] + q[:, :u]), sigmoid(p[:, u : 2 * u] + q[:, u : 2 * u])
    g = np.tanh(p[:, 2 * u :] + r * q[:, 2 * u :])
    return z * h + (1 - z) * g


def elman(x: Array, h: Array, w: Weights) -> Array:
    kernel, between, b = w
    return np.tanh(x @ kernel + h @ between + b)


STEPS = {"gru": gru, "rnn": elman}


def encoded(x: Array, step, w: Weights) -> Array:
    """`[B, N, U]` all states."""
    h, states = np.zeros((len(x), U)), []
    for j in range(x.shape[1]):
        h = step(x[:, j], h, w)
        states.append(h)
    return np.stack(states, axis=1)


def ahead(inputs: dict[str, Array], segment: int, position: Array) -> Array:
    """`[B, N, D]` what the decoder reads."""
    x = []
    for j in range(-(-H // segment)):
        future = np.zeros((B, segment, 2))
        known = inputs[fk.FUTURE_X][:, j * segment : (j + 1) * segment]
        future[:, : known.shape[1]] = known
        x.append(np.hstack([future.reshape(B, -1), inputs[fk.STATIC_X], np.tile(position[j], (B, 1))]))
    return np.stack(x, axis=1)


def segments(inputs: dict[str, Array], segment: int) -> Array:
    """`[B, N, 2 segment]` what the encoder reads: value and whether it is missing, step by step."""
    channels = np.stack([inputs[fk.PAST_Y], 1 - inputs[fk.PAST_OBSERVED]], axis=-1)
    return channels.reshape(B, T // segment, -1)


def dot(h: Array, memory: Array) -> Array:
    """What is found for `h [B, U]` in `memory [B, N, U]`."""
    scores = np.array([[q @ k / np.sqrt(U) for k in keys] for q, keys in zip(h, memory, strict=True)])
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return np.einsum("bn,bnu->bu", weights, memory)


def weights_of(model: keras.Model, kind: type) -> list[list[Array]]:
    """The weights of the layers of that class, in the order of the network."""
    return [[np.float64(w) for w in layer.get_weights()] for layer in model.layers if isinstance(layer, kind)]


def dense(model: keras.Model, x: Array, width: int) -> Array:
    """What the only dense layer from the width of `x` to that width makes of it."""
    ((kernel, bias),) = (w for w in weights_of(model, keras.layers.Dense) if w[0].shape == (x.shape[-1], width))
    return x @ kernel + bias


HIDDEN = 7  # unlike all other widths, so that layers are known by their shapes


def read(model: keras.Model, found: Array, future: Array, hidden: int) -> Array:
    """`[B, segment]` of one step of the decoder, from `found [B, D]` and the covariates `[B, segment, 2]`."""
    segment = future.shape[1]
    if not hidden:
        return dense(model, found, segment)
    g = np.maximum(dense(model, found, hidden), 0.0)
    raw, context = dense(model, g, segment), dense(model, g, 8 * segment).reshape(B, segment, 8)
    each = np.maximum(dense(model, np.concatenate([context, future], axis=-1), 4), 0.0)  # half of 7, rounded up
    return raw + dense(model, each, 1)[:, :, 0]


@pytest.mark.parametrize("hidden", [0, HIDDEN])
@pytest.mark.parametrize("segment", [1, 4])
@pytest.mark.parametrize("cell", STEPS)
def test_a_direct_decoder_with_attention_computes_its_equation(cell: str, segment: int, hidden: int) -> None:
    spec = EncoderDecoder(cell, units=U, segment=segment, hidden=hidden, attention="dot", **PLAIN)
    model, inputs = randomized(build_network(spec, SHAPES, MEDIAN, seed=0)), batch()
    (encoder, decoder), (((position,)),) = weights_of(model, Recurrence), weights_of(model, DecoderInputs)
    memory = encoded(segments(inputs, segment), STEPS[cell], encoder)
    x, h, forecast = ahead(inputs, segment, position), memory[:, -1], []
    for j in range(x.shape[1]):
        h = STEPS[cell](x[:, j], h, decoder)
        future = x[:, j, : 2 * segment].reshape(B, segment, 2)
        forecast.append(read(model, np.hstack([h, dot(h, memory)]), future, hidden))
    np.testing.assert_allclose(apply(model, inputs)[..., 0], np.hstack(forecast)[:, :H], atol=5e-6)


@pytest.mark.parametrize("hidden", [0, HIDDEN])
@pytest.mark.parametrize("segment", [1, 4])
@pytest.mark.parametrize("cell", STEPS)
def test_a_recursive_decoder_computes_its_equation(cell: str, segment: int, hidden: int) -> None:
    way = {"decoding": "recursive", "hidden": hidden, "attention": "dot" if hidden else None}
    spec = EncoderDecoder(cell, units=U, segment=segment, **way, **PLAIN)
    model, inputs = randomized(build_network(spec, SHAPES, MEDIAN, seed=0)), batch()
    (encoder, (V, b, *own)), (((position,)),) = weights_of(model, Recurrence), weights_of(model, DecoderInputs)
    memory = encoded(segments(inputs, segment), STEPS[cell], encoder)
    last = np.hstack([inputs[fk.PAST_Y][:, -segment:], inputs[fk.PAST_OBSERVED][:, -segment:]])
    h, y = memory[:, -1], dense(model, last, segment)
    x, forecast = ahead(inputs, segment, position), []
    for j in range(x.shape[1]):
        h = STEPS[cell](np.hstack([y, x[:, j]]), h, own)
        y = h @ V + b
        future = x[:, j, : 2 * segment].reshape(B, segment, 2)
        more = read(model, np.hstack([h, dot(h, memory)]), future, hidden) if hidden else 0.0
        forecast.append(y + more)
    np.testing.assert_allclose(apply(model, inputs)[..., 0], np.hstack(forecast)[:, :H], atol=5e-6)


# ---- what may reach which step


WAYS = {
    "direct": {"attention": None},
    "direct, attentive": {"attention": "additive"},
    "recursive": {"decoding": "recursive", "attention": None, "hidden": 0},
    "recursive, read once more": {"decoding": "recursive"},
}


@pytest.mark.parametrize("segment", [1, 2, 4])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_known_of_a_step_moves_its_segment_and_later_ones_never_earlier_ones(way: dict, segment: int) -> None:
    arguments = {"units": U, "segment": segment, "layers": 2, "hidden": 8, **way}
    model = randomized(build_network(EncoderDecoder(**arguments), SHAPES, MEDIAN, seed=0))
    inputs = batch()
    before = apply(model, inputs)[..., 0]
    for step in range(H):
        moved = {name: array.copy() for name, array in inputs.items()}
        moved[fk.FUTURE_X][:, step] += 1.0
        change = np.abs(apply(model, moved)[..., 0] - before).max(axis=0)
        first = step // segment * segment
        assert (change[:first] == 0).all()
        assert (change[first:] > 1e-6).all()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_step_ahead_is_told_from_the_others(way: dict) -> None:
    """Nothing is known of the future and the window is all zeros: only the learned vectors differ."""
    shapes = Shapes(T, H, 4)
    spec = EncoderDecoder(**{"units": U, "segment": 1, "hidden": 8, **way})
    model = randomized(build_network(spec, shapes, MEDIAN, seed=0))
    (layer,) = (layer for layer in model.layers if isinstance(layer, DecoderInputs))
    inputs = {**batch(shapes), fk.PAST_Y: np.zeros((B, T), np.float32)}
    before = apply(model, inputs)[0, :, 0]
    position = layer.get_weights()[0]
    position[3] += 1.0
    layer.set_weights([position])
    change = np.abs(apply(model, inputs)[0, :, 0] - before)
    assert (change[:3] == 0).all()
    assert (change[3:] > 1e-6).all()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_was_not_observed_just_before_the_cutoff_does_not_matter(way: dict) -> None:
    model = randomized(build_network(EncoderDecoder(units=U, segment=4, **way), SHAPES, MEDIAN, seed=0))
    one = batch()
    one[fk.PAST_OBSERVED][:, -3:] = 0.0
    other = {name: array.copy() for name, array in one.items()}
    other[fk.PAST_Y][:, -3:] = 1e3
    np.testing.assert_array_equal(apply(model, one), apply(model, other))


def test_a_horizon_shorter_than_the_segment_is_written_in_one_step() -> None:
    model = build_network(EncoderDecoder(units=U, segment=4), Shapes(T, 3, 4), MEDIAN, seed=0)
    (layer,) = (layer for layer in model.layers if isinstance(layer, DecoderInputs))
    assert (layer.steps, layer.segment) == (1, 3)
    assert model.output_shape == (None, 3, 1)


def test_by_default_a_season_is_read_and_written_at_once() -> None:
    model = build_network(EncoderDecoder(units=U), Shapes(16, 10, 4), MEDIAN, seed=0)
    encoder, _ = (layer for layer in model.layers if isinstance(layer, Recurrence))
    (decoder,) = (layer for layer in model.layers if isinstance(layer, DecoderInputs))
    assert encoder.input.shape == (None, 4, 8)
    assert (decoder.steps, decoder.segment) == (3, 4)


# ---- learning


def following(k: int) -> tuple[dict[str, Array], Array, Array]:
    """Series whose next value is half the last one and what is known of the step: `y_h = 0.5 y_(h-1) + 0.5 x_h`."""
    rng = np.random.default_rng(k)
    level, x = rng.normal(size=(32, 1)), rng.normal(size=(32, H, 1))
    y, target = np.repeat(level, T, axis=1), np.empty((32, H, 1))
    last = level[:, 0]
    for h in range(H):
        last = target[:, h, 0] = 0.5 * last + 0.5 * x[:, h, 0]
    inputs = {fk.PAST_Y: y, fk.PAST_OBSERVED: np.ones_like(y), fk.FUTURE_X: x}
    return (
        {name: a.astype(np.float32) for name, a in inputs.items()},
        target.astype(np.float32),
        np.ones((32, H), np.float32),
    )


@pytest.mark.parametrize("way", [WAYS["direct"], WAYS["recursive"]], ids=["direct", "recursive"])
def test_training_learns_what_follows_from_the_steps_before_and_what_is_known(way: dict) -> None:
    arguments = {"units": 16, "segment": 1, "hidden": 16, **PLAIN, **way}
    model = build_network(EncoderDecoder(**arguments), Shapes(T, H, 1, future=(0,)), MEDIAN, seed=0)
    inputs, target, _ = following(10_000)
    before = np.abs(apply(model, inputs) - target).mean()
    train(model, MEDIAN, following, TrainingSpec(steps=200, learning_rate=1e-2), on_step=lambda step, loss: None)
    assert np.abs(apply(model, inputs) - target).mean() < 0.1 * before


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_dropout_drops_in_training_alone(way: dict, rate: float) -> None:
    spec = EncoderDecoder(**{"units": U, "segment": 4, "layers": 2, "hidden": 8, "dropout": rate, **way})
    model = randomized(build_network(spec, SHAPES, MEDIAN, seed=0))
    one, other = (ops.convert_to_numpy(model(batch(), training=True)) for _ in range(2))
    assert (one != other).any() == (rate > 0)
    np.testing.assert_array_equal(apply(model, batch()), apply(model, batch()))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"cell": "transformer"}, "cell must be one of rnn, lstm"),
        ({"units": 0}, "units must be a whole number, at least 1"),
        ({"segment": 0}, "segment must be a whole number, at least 1, or 'season'"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1"),
        ({"hidden": -1}, "hidden must be a whole number, at least 0"),
        ({"decoding": "parallel"}, "decoding must be one of direct, recursive; got 'parallel'"),
        ({"attention": "cosine"}, "attention must be one of dot, additive, or None; got 'cosine'"),
        ({"cell_options": {"activation": "relu"}}, "cell 'gru' cannot be built: .*activation"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        EncoderDecoder(**arguments)


def test_an_input_that_is_no_multiple_of_the_segment_is_refused() -> None:
    with pytest.raises(ArgumentError, match="multiple of segment, got 8 and 3"):
        build_network(EncoderDecoder(segment=3), SHAPES, MEDIAN, seed=0)


# ---- attention


def attention(score: str, query: int = 4, dtype: str = "float32") -> tuple[TemporalAttention, Array, Array]:
    rng = np.random.default_rng(1)
    layer = TemporalAttention(score, units=6 if score == "additive" else None, seed=3, dtype=dtype)
    queries, memory = rng.normal(size=(2, 3, query)), rng.normal(size=(2, 7, 4))
    layer.build(queries.shape, memory.shape)
    return layer, queries.astype("float32"), memory.astype("float32")


@pytest.mark.parametrize(("score", "query"), [("dot", 4), ("additive", 5)])
def test_attention_is_a_softmax_over_the_steps_of_the_memory(score: str, query: int) -> None:
    layer, queries, memory = attention(score, query)
    expected, context = np.empty((2, 3, 7)), np.empty((2, 3, 4))
    for b in range(2):
        for s in range(3):
            if score == "dot":
                e = np.array([queries[b, s] @ k / 2.0 for k in memory[b]])  # the root of 4
            else:
                Wq, Wk, v = (ops.convert_to_numpy(w) for w in layer.weights)
                e = np.array([v @ np.tanh(Wq.T @ queries[b, s] + Wk.T @ k) for k in memory[b]])
            expected[b, s] = np.exp(e) / np.exp(e).sum()
            context[b, s] = sum(a * k for a, k in zip(expected[b, s], memory[b], strict=True))
    weights = ops.convert_to_numpy(layer.attend(queries, memory))
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(queries, memory)), context, atol=1e-6)


@pytest.mark.parametrize("score", ["dot", "additive"])
def test_the_order_of_the_memory_does_not_matter(score: str) -> None:
    layer, queries, memory = attention(score)
    np.testing.assert_allclose(layer(queries, memory), layer(queries, memory[:, ::-1]), atol=1e-6)


@pytest.mark.parametrize("score", ["dot", "additive"])
def test_attention_weights_are_in_full_precision(score: str) -> None:
    full, queries, memory = attention(score)
    half, *_ = attention(score, dtype="mixed_float16")
    got = half(queries, memory)
    assert keras.backend.standardize_dtype(got.dtype) == "float16"
    weights = half.attend(ops.cast(queries, "float16"), ops.cast(memory, "float16"))
    assert keras.backend.standardize_dtype(weights.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(got), ops.convert_to_numpy(full(queries, memory)), atol=5e-3)


def test_the_matrices_of_additive_attention_begin_apart_and_from_the_seed() -> None:
    (one, _, _), (other, _, _) = attention("additive"), attention("additive")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    query, memory, _ = one.get_weights()
    assert np.abs(query - memory).max() > 0.1


@pytest.mark.parametrize("layer", [TemporalAttention("additive", units=3, seed=1), DecoderInputs(5, 2, size=3, seed=1)])
def test_a_layer_is_what_its_configuration_says(layer: keras.layers.Layer) -> None:
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: TemporalAttention("cosine"), "score must be one of dot, additive; got 'cosine'"),
        (lambda: TemporalAttention("dot", units=3), "units must be at least 1, and goes with score='additive'"),
        (lambda: TemporalAttention("additive", units=0), "units must be at least 1"),
        (lambda: TemporalAttention("dot").build((1, 2, 3), (1, 5, 4)), "of one width; got 3 and 4"),
    ],
)
def test_attention_that_cannot_be_is_refused(make, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        make()
