"""The cell that reads its own output: against the equation, against an unrolled loop, on every route."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.cells import (
    Cell,
    ElmanCell,
    Feedback,
    GRUCell,
    InputGatedGRUCell,
    LSTMCell,
    RecurrentDropout,
    Residual,
    Stacked,
    Zoneout,
)
from forecast_kit.nn.recurrent import Recurrence, recurrent

B, T, F, U, N = 3, 6, 4, 5, 2
SAME = 2e-6

CELLS = {
    "elman": lambda **kw: Feedback(ElmanCell(U, **kw), N),
    "gru": lambda **kw: Feedback(GRUCell(U, **kw), N),
    "lstm_and_hidden": lambda **kw: Feedback(LSTMCell(U, **kw), N, return_hidden=True),
    "gates_of_the_input": lambda **kw: Feedback(InputGatedGRUCell(U, **kw), N),  # whose projection is no plain product
    "stack": lambda **kw: Feedback(Stacked([GRUCell(U + 1, **kw), LSTMCell(U, **kw)]), N),
    "zoneout": lambda **kw: Feedback(Zoneout(GRUCell(U, **kw), 0.2, seed=1), N),
    "dropout": lambda **kw: Feedback(RecurrentDropout(GRUCell(U, **kw), 0.3, seed=1), N),
    "twice": lambda **kw: Feedback(Feedback(GRUCell(U, **kw), N + 1), N),
    "in_a_residual": lambda **kw: Residual(Feedback(GRUCell(U, **kw), F)),
}
every = pytest.mark.parametrize("name", CELLS)
on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="asks a TensorFlow tape or kernel")


def sequence(length: int = T, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).normal(size=(B, length, F)).astype(dtype)


def arrays(result: object) -> list[np.ndarray]:
    return [ops.convert_to_numpy(t) for t in (result if isinstance(result, list | tuple) else [result])]


def randomized(cell: Cell) -> Cell:
    """The cell built on F features, with weights that are nowhere zero."""
    rng = np.random.default_rng(7)
    cell.build((None, F))
    cell.built = True
    for weight in cell.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return cell


def starts(cell: Cell, dtype: str = "float32") -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.normal(size=(B, size)).astype(dtype) for size in cell.state_sizes]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-a))


def gru_step(x: np.ndarray, h: np.ndarray, w: list[np.ndarray]) -> np.ndarray:
    """`GRUCell`, as its equation stands."""
    kernel, between, (b, d) = w
    zr, u = slice(None, 2 * h.shape[1]), h.shape[1]
    z, r = np.split(sigmoid((x @ kernel + b)[:, zr] + (h @ between + d)[:, zr]), 2, axis=1)
    g = np.tanh((x @ kernel + b)[:, 2 * u :] + r * (h @ between + d)[:, 2 * u :])
    return z * h + (1 - z) * g


def elman_step(x: np.ndarray, h: np.ndarray, w: list[np.ndarray]) -> np.ndarray:
    kernel, between, b = w
    return np.tanh(x @ kernel + h @ between + b)


@pytest.mark.parametrize(("inner", "step"), [(ElmanCell, elman_step), (GRUCell, gru_step)])
@pytest.mark.parametrize("route", ["scan", "auto"])
def test_outputs_are_those_of_the_equation(inner: type[Cell], step, route: str) -> None:
    cell = randomized(Feedback(inner(U), N, return_hidden=True))
    (V, c), w = arrays([cell.read_kernel, cell.read_bias]), arrays(cell.cell.weights)
    x, (h, y) = sequence(), starts(cell)
    layer = recurrent(cell, return_sequences=True, return_state=True, route=route)
    got, *states = arrays(layer(x, initial_state=[h, y]))
    for t in range(T):
        h = step(np.concatenate([y, x[:, t]], axis=1), h, w)
        y = h @ V + c
        np.testing.assert_allclose(got[:, t], np.concatenate([y, h], axis=1), atol=SAME)
    np.testing.assert_allclose(states[0], h, atol=SAME)
    np.testing.assert_allclose(states[1], y, atol=SAME)


@every
def test_keras_rnn_computes_the_same(name: str) -> None:
    cell, x = randomized(CELLS[name]()), sequence()
    begin = starts(cell)
    for given in (None, begin):
        if name == "dropout" and given is None:
            continue  # a mask is drawn anew
        # `training` so that a mask that is given is used; zoneout would draw.
        how = {"initial_state": given, "training": name == "dropout"}
        ours = recurrent(cell, return_sequences=True, return_state=True)(x, **how)
        theirs = keras.layers.RNN(cell, return_sequences=True, return_state=True)(x, **how)
        for one, other in zip(arrays(ours), arrays(theirs), strict=True):
            np.testing.assert_allclose(one, other, atol=SAME)


@every
def test_a_sequence_in_chunks_is_the_sequence_at_once(name: str) -> None:
    cell, x = randomized(CELLS[name]()), sequence(9)
    layer = recurrent(cell, return_sequences=True, return_state=True)
    whole, *final = arrays(layer(x))
    parts, states = [], None
    for chunk in (x[:, :4], x[:, 4:5], x[:, 5:]):
        part, *states = layer(chunk, initial_state=states)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=SAME)
    for one, other in zip(arrays(states), final, strict=True):
        np.testing.assert_allclose(one, other, atol=SAME)


@on_tensorflow
@every
def test_the_kernel_computes_what_the_plain_loop_computes(name: str) -> None:
    cell, x = randomized(CELLS[name]()), sequence()
    layers = [recurrent(cell, return_sequences=True, return_state=True, route=route) for route in ("scan", "kernel")]
    for one, two in zip(*(arrays(layer(x, initial_state=starts(cell))) for layer in layers), strict=True):
        np.testing.assert_allclose(one, two, atol=SAME)


@on_tensorflow
@pytest.mark.parametrize(
    ("name", "route"),
    [*((name, "scan") for name in CELLS), ("gru", "kernel"), ("stack", "kernel"), ("zoneout", "kernel")],
)
def test_gradients_are_those_of_an_unrolled_loop(name: str, route: str) -> None:
    import tensorflow as tf

    cell, x = randomized(CELLS[name](dtype="float64")), tf.constant(sequence(dtype="float64"))
    begin = [tf.constant(state) for state in starts(cell, "float64")]
    rng = np.random.default_rng(2)
    pulls = [tf.constant(rng.normal(size=size)) for size in ((B, T, cell.units), *((B, s) for s in cell.state_sizes))]
    layer = recurrent(cell, return_sequences=True, return_state=True, route=route)

    def unrolled() -> list:
        outputs, states = [], begin
        for t in range(T):
            output, states = cell(x[:, t], states, training=name == "dropout")
            outputs.append(output)
        return [tf.stack(outputs, axis=1), *states]

    def gradients(run) -> list:
        with tf.GradientTape() as tape:
            tape.watch([x, *begin])
            total = tf.add_n([tf.reduce_sum(r * pull) for r, pull in zip(run(), pulls, strict=True)])
        return tape.gradient(total, [x, *begin, *cell.trainable_weights], unconnected_gradients="zero")

    ours, theirs = gradients(lambda: layer(x, initial_state=begin, training=name == "dropout")), gradients(unrolled)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


@on_tensorflow
def test_gradients_are_finite_differences() -> None:
    import tensorflow as tf

    cell, x = randomized(CELLS["gru"](dtype="float64")), sequence(4, "float64")
    layer = recurrent(cell, route="kernel")
    begin = starts(cell, "float64")
    pull = np.random.default_rng(3).normal(size=(B, cell.units))

    def value() -> tf.Tensor:
        return tf.reduce_sum(layer(x, initial_state=begin) * pull)  # of the last output alone

    with tf.GradientTape() as tape:
        total = value()
    for weight, gradient in zip(cell.trainable_weights, tape.gradient(total, cell.trainable_weights), strict=True):
        direction, at = np.random.default_rng(4).normal(size=weight.shape), weight.numpy()
        moved = []
        for sign in (1, -1):
            weight.assign(at + sign * 1e-6 * direction)
            moved.append(float(value()))
        weight.assign(at)
        expected = float(np.sum(gradient * direction))
        assert (moved[0] - moved[1]) / 2e-6 == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_what_is_given_as_said_before_the_first_step_is_read() -> None:
    cell, x = randomized(Feedback(GRUCell(U), N)), sequence()
    layer = recurrent(cell, return_sequences=True)
    h = ops.zeros((B, U))
    nothing, something = (arrays(layer(x, initial_state=[h, ops.ones((B, N)) * k]))[0] for k in (0.0, 1.0))
    np.testing.assert_allclose(nothing, arrays(layer(x))[0], atol=SAME)
    assert (np.abs(nothing - something).max(axis=(0, 2)) > 1e-4).all()


def test_zoneout_inside_draws_in_training_alone() -> None:
    cell, x = randomized(CELLS["zoneout"]()), sequence()
    layer = recurrent(cell, return_sequences=True)
    one, two, three, four = (arrays(layer(x, training=k > 1))[0] for k in range(4))
    np.testing.assert_array_equal(one, two)
    assert (three != four).any()


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01)])
def test_what_is_fed_back_is_carried_in_full_precision(policy: str, tolerance: float) -> None:
    x, outputs = sequence(60), []
    for dtype in ("float32", policy):
        layer = recurrent(randomized(CELLS["gru"](dtype=dtype)), return_sequences=True, return_state=True)
        output, *states = layer(x)
        assert {str(keras.backend.standardize_dtype(state.dtype)) for state in states} == {"float32"}
        outputs.append(ops.convert_to_numpy(ops.cast(output, "float32")))
    exact, ours = outputs
    assert np.sqrt(((ours - exact) ** 2).mean()) < tolerance * exact.std()


@every
def test_a_cell_is_what_its_configuration_says_and_a_saved_network_the_same(name: str, tmp_path) -> None:
    cell = randomized(CELLS[name]())
    again = type(cell).from_config(cell.get_config())
    assert again.get_config() == cell.get_config()
    assert again.units == cell.units
    inputs = keras.Input((T, F))
    model = keras.Model(inputs, recurrent(cell)(inputs))
    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", custom_objects={"Recurrence": Recurrence})
    np.testing.assert_array_equal(*(arrays(m(sequence()))[0] for m in (model, loaded)))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Feedback(GRUCell(3), 0), "outputs must be a whole number, at least 1; got 0"),
        (lambda: Feedback(GRUCell(3), 1.5), "outputs must be a whole number, at least 1; got 1.5"),
        (lambda: Feedback("gru", 1), "Feedback wraps a Cell of forecast_kit, got str"),
        (lambda: Residual(Feedback(GRUCell(3), 2)).build((None, 4)), "the cell has 2 units, the input 4 features"),
    ],
)
def test_what_cannot_be_is_refused(make, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        make()
