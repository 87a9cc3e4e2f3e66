"""Cells against the equations of the source articles, against Keras's own cells, and against derivatives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Array, Named, Oracle

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.cells.articles import gru_weights, lstm_weights
from forecast_kit.nn.cells.base import Cell
from forecast_kit.nn.cells.elman import ElmanCell
from forecast_kit.nn.cells.gru import GRUCell, GRUResetBeforeCell, InputGatedGRUCell, OutputGatedGRUCell
from forecast_kit.nn.cells.lstm import LSTMCell, PeepholeLSTMCell

RNN = keras.layers.RNN


@dataclass(frozen=True)
class System:
    """A cell, its equation, and its weights in the equation's notation."""

    name: str
    cell: Callable[..., Cell]
    arguments: dict[str, Any]
    oracle: Oracle
    named: Callable[[list[Array]], Named]

    def build(self, units: int, features: int, seed: int, **kwargs: Any) -> Cell:
        """A cell with random weights, biases and peepholes among them."""
        cell = self.cell(units, **self.arguments, **kwargs)
        cell.build((None, features))
        cell.built = True
        return randomized(cell, seed)

    def expected(self, cell: Cell, x: Array) -> tuple[Array, list[Array]]:
        """What the article computes with the cell's weights."""
        weights = [np.asarray(weight, np.float64) for weight in cell.get_weights()]
        return oracles.run(self.oracle, self.named(weights), x.astype(np.float64), cell.state_sizes)


def randomized(layer: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0.0, 0.7, weight.shape) for weight in layer.get_weights()])
    return layer


def random_input(shape: tuple[int, ...], seed: int = 0, dtype: str = "float32") -> Array:
    return np.random.default_rng(seed + 1000).normal(size=shape).astype(dtype)


def numbers(tensors: Any) -> list[Array]:
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


UNGATED = (oracles.peephole_ungated, oracles.as_peephole_002)
GATED = (oracles.peephole_002, oracles.as_peephole_002)
SYSTEMS = [
    System("elman_tanh", ElmanCell, {}, oracles.elman_004, oracles.as_elman_004),
    System("elman_sigmoid", ElmanCell, {"activation": "sigmoid"}, oracles.elman_003, oracles.as_elman_003),
    System("lstm_000", LSTMCell, {}, oracles.lstm_000, oracles.as_lstm_000),
    System("lstm_001", LSTMCell, {}, oracles.lstm_001, oracles.as_lstm_001),
    System("lstm_003", LSTMCell, {}, oracles.lstm_003, oracles.as_lstm_003),
    System("lstm_004", LSTMCell, {}, oracles.lstm_004, oracles.as_lstm_004),
    System("peephole_diagonal", PeepholeLSTMCell, {}, *UNGATED),
    System("peephole_full", PeepholeLSTMCell, {"diagonal": False}, *UNGATED),
    System("peephole_diagonal_gated", PeepholeLSTMCell, {"gated_candidate": True}, *GATED),
    System("peephole_002", PeepholeLSTMCell, {"diagonal": False, "gated_candidate": True}, *GATED),
    System("gru_reset_after", GRUCell, {}, oracles.gru_reset_after, oracles.as_gru_reset_after),
    System("gru_reset_before", GRUResetBeforeCell, {}, oracles.gru_000_state, oracles.as_gru_000_state),
    System("gru_output_gate", OutputGatedGRUCell, {}, oracles.gru_000, oracles.as_gru_000),
    System("gru_input_gates", InputGatedGRUCell, {}, oracles.gru_001, oracles.as_gru_001),
]
DISTINCT = [system for system in SYSTEMS if system.name not in ("lstm_000", "lstm_001", "lstm_003")]
every_system = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
every_cell = pytest.mark.parametrize("system", DISTINCT, ids=lambda system: system.name)


# ---- forward


@every_system
@given(shape=st.tuples(*[st.integers(1, 4)] * 3), units=st.integers(1, 4), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=6)
def test_a_cell_computes_the_articles_equation(
    system: System, shape: tuple[int, int, int], units: int, seed: int
) -> None:
    cell = system.build(units, shape[-1], seed)
    x = random_input(shape, seed)
    outputs, *states = numbers(RNN(cell, return_sequences=True, return_state=True)(x))
    expected, finals = system.expected(cell, x)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    for state, final in zip(states, finals, strict=True):
        np.testing.assert_allclose(state, final, atol=1e-5)


@pytest.mark.parametrize(("activation", "oracle"), [("tanh", oracles.elman_004), ("sigmoid", oracles.elman_003)])
def test_a_dense_layer_on_the_elman_cell_is_the_articles_read_out(activation: str, oracle: Oracle) -> None:
    # Article 004 reads out linearly, article 003 through a sigmoid.
    system = next(system for system in SYSTEMS if system.oracle is oracle)
    cell = system.build(3, 2, seed=1)
    x = random_input((2, 4, 2))
    read_out = keras.layers.Dense(2, activation=None if activation == "tanh" else "sigmoid")
    read_out.build((None, 3))
    (outputs,) = numbers([randomized(read_out, 2)(RNN(cell, return_sequences=True)(x))])
    v, c = read_out.get_weights()
    raw = system.expected(cell, x)[0] @ v + c
    np.testing.assert_allclose(outputs, raw if activation == "tanh" else oracles.sigmoid(raw), atol=1e-5)


def test_an_untrained_peephole_lstm_is_an_lstm() -> None:
    x = random_input((2, 5, 3))
    plain = LSTMCell(4)
    (expected,) = numbers([RNN(plain)(x)])
    for diagonal, gated in itertools.product((True, False), (True, False)):
        cell = PeepholeLSTMCell(4, diagonal=diagonal, gated_candidate=gated)
        cell.build((None, 3))
        *shared, peephole = cell.get_weights()
        assert not peephole.any()
        np.testing.assert_array_equal(shared[2], plain.get_weights()[2])  # the forget gate starts open
        cell.set_weights([*plain.get_weights(), peephole])
        (got,) = numbers([RNN(cell)(x)])
        assert np.allclose(got, expected, atol=1e-6) != gated


def test_with_gates_of_the_input_alone_state_and_output_stay_between_0_and_1() -> None:
    cell = InputGatedGRUCell(4)
    output, state = numbers(RNN(cell, return_sequences=True, return_state=True)(10 * random_input((3, 20, 2))))
    for array in (output, state):
        assert (array >= 0.0).all()
        assert (array <= 1.0).all()


def test_the_forget_gate_starts_open_only_if_asked() -> None:
    for cell in (LSTMCell(2, unit_forget_bias=False), PeepholeLSTMCell(2, unit_forget_bias=False)):
        cell.build((None, 3))
        np.testing.assert_array_equal(cell.bias, np.zeros(8))
    cell = LSTMCell(2, bias_initializer=keras.initializers.Constant(0.5))
    cell.build((None, 3))
    np.testing.assert_array_equal(cell.bias, [0.5, 0.5, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5])


# ---- Keras's own cells


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: ElmanCell(3), lambda: keras.layers.SimpleRNNCell(3)),
        (lambda: ElmanCell(3, activation="relu"), lambda: keras.layers.SimpleRNNCell(3, activation="relu")),
        (lambda: LSTMCell(3), lambda: keras.layers.LSTMCell(3)),
        (lambda: GRUCell(3), lambda: keras.layers.GRUCell(3, reset_after=True)),
        (lambda: GRUResetBeforeCell(3), lambda: keras.layers.GRUCell(3, reset_after=False)),
    ],
    ids=["elman", "elman_relu", "lstm", "gru_reset_after", "gru_reset_before"],
)
@pytest.mark.parametrize("direction", ["from_keras", "to_keras"])
def test_weights_swap_with_kerass_own_cells(ours: Callable, theirs: Callable, direction: str) -> None:
    x = random_input((3, 5, 2))
    layers = [RNN(make(), return_sequences=True, return_state=True) for make in (ours, theirs)]
    for layer in layers:
        layer.build(x.shape)
    source, target = reversed(layers) if direction == "from_keras" else layers
    assert [w.name for w in source.cell.weights] == [w.name for w in target.cell.weights]
    target.set_weights(randomized(source, seed=3).get_weights())
    for one, other in zip(numbers(source(x)), numbers(target(x)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# ---- weights in the articles' notations


LSTMS = {"000": "as_lstm_000", "001": "as_lstm_001", "003": "as_lstm_003", "004": "as_lstm_004"}


def drawn_lstm(article: str, units: int = 3, features: int = 2, seed: int = 4) -> Named:
    """Random weights by the names of an article."""
    rng = np.random.default_rng(seed)
    blank = [np.zeros((features, 4 * units)), np.zeros((units, 4 * units)), np.zeros(4 * units)]
    return {name: rng.normal(size=array.shape) for name, array in getattr(oracles, LSTMS[article])(blank).items()}


@pytest.mark.parametrize("article", LSTMS)
def test_an_lstm_with_an_articles_weights_computes_what_the_article_does(article: str) -> None:
    named = drawn_lstm(article)
    x = random_input((2, 5, 2))
    cell = LSTMCell(3)
    cell.build((None, 2))
    cell.set_weights(lstm_weights(named, article=article))
    expected, _ = oracles.run(getattr(oracles, f"lstm_{article}"), named, x, cell.state_sizes)
    np.testing.assert_allclose(RNN(cell, return_sequences=True)(x), expected, atol=1e-5)


def test_article_001_read_to_the_letter_is_another_cell() -> None:
    # 2.2 lets the gates see M_(i-1) and then calls the cell state M_i: to the letter they see the cell state and
    # never the output. In Sak, Senior and Beaufays (2014), whose names W_ix, W_im it uses, m is the output.
    named, x = drawn_lstm("001"), random_input((2, 3, 2))
    one, _ = oracles.run(oracles.lstm_001, named, x, (3, 3))
    other, _ = oracles.run(oracles.lstm_001_to_the_letter, named, x, (3, 3))
    np.testing.assert_array_equal(one[:, 0], other[:, 0])  # from states of zeros
    assert np.abs(one - other).max() > 0.01


def test_a_gru_with_the_weights_of_article_002_computes_what_the_article_does() -> None:
    # Its z weighs the candidate, ours the old state.
    rng = np.random.default_rng(5)
    named = {f"W_{a}{gate}": rng.normal(size=(3, n)) for a, n in (("x", 2), ("h", 3)) for gate in "zrh"}
    named |= {f"b_{gate}": rng.normal(size=3) for gate in "zrh"}
    x = random_input((2, 5, 2))
    cell = GRUCell(3)
    cell.build((None, 2))
    cell.set_weights(gru_weights(named))
    expected, _ = oracles.run(oracles.gru_002, named, x, cell.state_sizes)
    np.testing.assert_allclose(RNN(cell, return_sequences=True)(x), expected, atol=1e-5)


def test_missing_weights_and_unknown_articles_are_named() -> None:
    named = drawn_lstm("003")
    del named["W_ch"], named["W_oh"]
    with pytest.raises(ArgumentError, match="'W_ch', 'W_oh' are missing; got 'W_ix', "):
        lstm_weights(named, article="003")
    with pytest.raises(ArgumentError, match="article must be one of 000, 001, 003, 004, got '002'"):
        lstm_weights(named, article="002")
    with pytest.raises(ArgumentError, match="'W_xz', 'W_xr', 'W_xh' are missing; got none"):
        gru_weights({})


# ---- derivatives


def gradients(layer: Callable[[Any], Any], weights: list[Any], x: Array, loss: Callable[[Any], Any]) -> list[Array]:
    """Of the loss by the weights and the input, as the backend takes them."""
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(layer(inputs))
    return numbers(tape.gradient(value, [*(weight.value for weight in weights), inputs]))


def perturbed(array: Array, step: float) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every index and sign; the element is moved by that much meanwhile."""
    for index in np.ndindex(array.shape):
        kept = array[index]
        for sign in (1.0, -1.0):
            array[index] = kept + sign * step
            yield index, sign
        array[index] = kept


@every_cell
def test_gradients_are_those_of_finite_differences(system: System) -> None:
    # The differences are taken of the oracle, which shares no code with the cell.
    cell = system.build(2, 3, seed=6, dtype="float64")
    x = random_input((2, 4, 3), dtype="float64")
    shapes = [(2, 4, 2), *[(2, size) for size in cell.state_sizes]]
    weigh = [random_input(shape, seed=k, dtype="float64") for k, shape in enumerate(shapes)]

    def loss(result: Any) -> Any:
        return sum(keras.ops.sum(part * r) for part, r in zip(result, weigh, strict=True))

    layer = RNN(cell, return_sequences=True, return_state=True, dtype="float64")
    got = gradients(layer, cell.weights, x, loss)

    arrays = [*cell.get_weights(), x]
    for array, gradient in zip(arrays, got, strict=True):
        expected = np.zeros_like(array)
        for index, sign in perturbed(array, 1e-5):
            outputs, finals = oracles.run(system.oracle, system.named(arrays[:-1]), x, cell.state_sizes)
            moved = sum(np.sum(part * r) for part, r in zip([outputs, *finals], weigh, strict=True))
            expected[index] += sign * moved / 2e-5
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_elman_gradients_are_those_of_the_derived_recursion() -> None:
    # Article 004, 3.2.2, prints, for E = 1/2 sum (o - y)^2,
    #     delta_o = (y - o) * tanh'(h)                      but o is linear in h: no tanh', and dE/do = o - y
    #     delta_h = (W_ho^T delta_o + b_h) * (1 - h^2)      but b_h has no place here; what belongs there is
    #                                                       W_hh^T delta_h of the step after: its "through time"
    # The sums over t that follow there are right, given the right deltas.
    cell = SYSTEMS[0].build(3, 2, seed=7, dtype="float64")
    x, y = random_input((1, 5, 2), dtype="float64"), random_input((1, 5, 3), seed=1, dtype="float64")
    read_out = keras.layers.Dense(3, dtype="float64")
    read_out.build((None, 3))
    v, c = randomized(read_out, 8).get_weights()
    rnn = RNN(cell, return_sequences=True, dtype="float64")
    got = gradients(
        lambda inputs: read_out(rnn(inputs)), [*cell.weights, *read_out.weights], x,
        lambda o: tf.reduce_sum((o - y) ** 2) / 2,
    )  # fmt: skip

    w = oracles.as_elman_004(cell.get_weights()) | {"W_ho": v.T, "b_o": c}
    expected, deltas = oracles.elman_bptt(w, x[0], y[0])
    for gradient, name in zip(got, ["W_xh", "W_hh", "b_h", "W_ho", "b_o"], strict=False):
        np.testing.assert_allclose(gradient, expected[name].T, atol=1e-12)
    np.testing.assert_allclose(got[-1][0], expected["x"], atol=1e-12)

    last = deltas[-1]  # where no step after adds anything, and whichever sign the article means
    printed_o = (y[0, -1] - last["o_t"]) * (1 - last["h_t"] ** 2)
    printed_h = (w["W_ho"].T @ printed_o + w["b_h"]) * (1 - last["h_t"] ** 2)
    for printed, right in ((printed_o, last["o"]), (printed_h, last["h"])):
        assert np.abs(printed - right).max() > 0.1
        assert np.abs(printed + right).max() > 0.1


def test_lstm_gradients_are_those_of_the_derived_recursion() -> None:
    # Article 004, 3.3.2, prints, for E = 1/2 sum (h - y)^2 (it compares y with o, its output gate),
    #     delta_o = (y - o) * tanh'(h) * c              should be (dE/dh) * tanh(c) * o (1 - o)
    #     delta_c = delta_o * o * (1 - tanh(c)^2)       should be (dE/dh) * o * (1 - tanh(c)^2) + dE/dc' * f', of the
    #                                                   step after
    #     delta_i = delta_c * g * (1 - i) * tanh'(g)    should be dE/dc * g * i (1 - i)
    #     delta_f = delta_c * c_before * (1 - f) * tanh'(c_before)    should be dE/dc * c_before * f (1 - f)
    # It uses delta_c for the candidate's weights, where dE/dc * i * (1 - g^2) belongs, and has nothing that
    # comes from the step after, neither through h, W^T delta of all four gates, nor through c.
    cell = LSTMCell(3, dtype="float64")
    cell.build((None, 2))
    randomized(cell, 9)
    x, y = random_input((1, 5, 2), dtype="float64"), random_input((1, 5, 3), seed=1, dtype="float64")
    rnn = RNN(cell, return_sequences=True, dtype="float64")
    got = gradients(rnn, cell.weights, x, lambda h: tf.reduce_sum((h - y) ** 2) / 2)

    w = oracles.as_lstm_004(cell.get_weights())
    expected, deltas = oracles.lstm_bptt(w, x[0], y[0])
    for name, gradient in oracles.as_lstm_004(got[:-1]).items():
        np.testing.assert_allclose(gradient, expected[name], atol=1e-12)
    np.testing.assert_allclose(got[-1][0], expected["x"], atol=1e-12)

    v = deltas[-1]  # where no step after adds anything, and whichever sign the article means
    printed = {"o": (y[0, -1] - v["o_t"]) * (1 - np.tanh(v["h_t"]) ** 2) * v["c_t"]}
    printed["c"] = printed["o"] * v["o_t"] * (1 - np.tanh(v["c_t"]) ** 2)
    printed["i"] = printed["c"] * v["g_t"] * (1 - v["i_t"]) * (1 - np.tanh(v["g_t"]) ** 2)
    printed["f"] = printed["c"] * v["c_before"] * (1 - v["f_t"]) * (1 - np.tanh(v["c_before"]) ** 2)
    for gate, delta in printed.items():
        for sign in (1, -1):
            assert np.abs(sign * delta - v[gate]).max() > 0.5 * np.abs(v[gate]).max(), gate


# ---- as a Keras layer


@every_cell
def test_a_cell_is_rebuilt_from_its_config(system: System) -> None:
    cell = system.build(3, 2, seed=10, kernel_initializer="he_normal", name="mine")
    again = type(cell).from_config(cell.get_config())
    assert again.get_config() == cell.get_config()
    again.build((None, 2))
    again.set_weights(cell.get_weights())
    x = random_input((2, 4, 2))
    np.testing.assert_array_equal(RNN(cell)(x), RNN(again)(x))


@keras.saving.register_keras_serializable("test_article_cells")
def cubed(a: Any) -> Any:
    return a * a * a


def test_a_registered_function_as_activation_is_rebuilt_too() -> None:
    cell = ElmanCell(3, activation=cubed)
    assert ElmanCell.from_config(cell.get_config()).activation is cubed
    (got,) = numbers([RNN(cell)(random_input((2, 1, 2)))])
    kernel, _, _ = cell.get_weights()
    np.testing.assert_allclose(got, (random_input((2, 1, 2))[:, 0] @ kernel) ** 3, atol=1e-5)


@every_cell
@pytest.mark.parametrize("units", [0, -1, 2.0, True, None])
def test_impossible_units_are_refused(system: System, units: Any) -> None:
    with pytest.raises(ArgumentError, match="units must be a whole number, at least 1; got"):
        system.cell(units, **system.arguments)


def test_an_unknown_activation_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(ArgumentError, match="unknown activation 'sigmod'. Did you mean 'sigmoid'?"):
        ElmanCell(3, activation="sigmod")


@every_cell
def test_mixed_precision_computes_low_and_carries_high(system: System) -> None:
    full = system.build(3, 2, seed=11)
    low = system.build(3, 2, seed=11, dtype="mixed_bfloat16")
    x = random_input((2, 4, 2))
    got = RNN(low, dtype="mixed_bfloat16")(x)
    assert got.dtype == "bfloat16"
    np.testing.assert_allclose(keras.ops.cast(got, "float32"), RNN(full)(x), atol=0.05)

    states = low.get_initial_state(2)
    output, states = low(x[:, 0], states)
    assert output.dtype == "bfloat16"
    assert {state.dtype.name for state in states} == {"float32"}


@every_cell
def test_float64_computes_in_float64(system: System) -> None:
    cell = system.build(3, 2, seed=12, dtype="float64")
    x = random_input((2, 4, 2), dtype="float64")
    got = RNN(cell, return_sequences=True, dtype="float64")(x)
    assert got.dtype == "float64"
    np.testing.assert_allclose(got, system.expected(cell, x)[0], atol=1e-13)


@every_cell
def test_cells_stack(system: System) -> None:
    lower, upper = system.build(3, 2, seed=13), system.build(4, 3, seed=14)
    x = random_input((2, 4, 2))
    got = RNN([lower, upper], return_sequences=True)(x)
    between, _ = system.expected(lower, x)
    np.testing.assert_allclose(got, system.expected(upper, between)[0], atol=1e-5)


@every_cell
def test_both_directions_see_the_sequence_from_their_end(system: System) -> None:
    x = random_input((2, 4, 2))
    layer = keras.layers.Bidirectional(RNN(system.build(3, 2, seed=15), return_sequences=True))
    layer.build(x.shape)
    randomized(layer, 16)
    forward, _ = system.expected(layer.forward_layer.cell, x)
    backward, _ = system.expected(layer.backward_layer.cell, x[:, ::-1])
    np.testing.assert_allclose(layer(x), np.concatenate([forward, backward[:, ::-1]], axis=-1), atol=1e-5)


@every_cell
def test_a_saved_model_computes_the_same_after_loading(system: System, tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((4, 2)),
            RNN(system.cell(3, **system.arguments), return_sequences=True),
            RNN([system.cell(2, **system.arguments), system.cell(2, **system.arguments)]),
            keras.layers.Dense(1),
        ]
    )
    x = random_input((2, 4, 2))
    randomized(model, 17).save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))
