"""The compiled recurrences against Keras, NumPy, finite differences and one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.cells.gru import GRUCell
from forecast_kit.nn.cells.lstm import LSTMCell
from forecast_kit.nn.kernels import factored
from forecast_kit.nn.kernels.factored import gru, lstm
from forecast_kit.nn.kernels.generic import GenericCore
from forecast_kit.nn.kernels.streams import row_counts

LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
CELLS = {"lstm": LSTMCell, "gru": GRUCell}
STATES = {"lstm": 2, "gru": 1}
# B, T, F, U; in two streams an odd B has a kernel compiled twice, which is done once.
SHAPES = [(1, 3, 2, 3), (7, 5, 3, 4), (4, 1, 2, 3), (4, 3, 2, 1), (6, 4, 1, 3), (2, 2, 9, 2)]


def draw(kind: str, shape: tuple[int, int, int, int], dtype: str = "float32") -> list[Any]:
    """x, the states, kernel, recurrent kernel and bias."""
    b, t, f, u = shape
    rng = np.random.default_rng(sum(shape))
    gates = 4 if kind == "lstm" else 3
    bias = (gates * u,) if kind == "lstm" else (2, gates * u)
    shapes = [(b, t, f), *[(b, u)] * STATES[kind], (f, gates * u), (u, gates * u), bias]
    return [tf.constant(0.7 * rng.normal(size=s), dtype) for s in shapes]


def weighted(results: Any) -> Any:
    """A sum of everything, each element with a weight of its own, so that no gradient hides another."""
    total = 0.0
    for k, result in enumerate(results):
        weights = np.random.default_rng(k).normal(size=result.shape)
        total += tf.reduce_sum(result * tf.constant(weights, result.dtype))
    return total


def gradients(function: Callable[..., Any], arguments: list[Any]) -> tuple[list[Any], list[Any]]:
    """All results, outputs and final states, and the gradients in all arguments."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        results = list(function(*arguments))
        loss = weighted(results)
    return results, tape.gradient(loss, arguments)


def by_keras(kind: str, arguments: list[Any], sequences: bool) -> tuple[list[Any], list[Any]]:
    x, states, weights = arguments[0], arguments[1:-3], arguments[-3:]
    layer = LAYERS[kind](states[0].shape[1], return_sequences=sequences, return_state=True, dtype=x.dtype.name)
    layer.build(x.shape)
    layer.set_weights([w.numpy() for w in weights])
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        results = layer(x, initial_state=states)
        loss = weighted(results)
    return results, tape.gradient(loss, [x, *states, *(v.value for v in layer.trainable_weights)])


def by_kernel(kind: str, **choices: Any) -> Callable[..., Any]:
    return lambda *arguments: (lstm if kind == "lstm" else gru)(*arguments, **choices)


def by_generic(kind: str, core: GenericCore, names: list[str], **choices: Any) -> Callable[..., Any]:
    def run(x: Any, *rest: Any) -> list[Any]:
        outputs, states = core(x, rest[:-3], dict(zip(names, rest[-3:], strict=True)), **choices)
        return [outputs, *states]

    return run


def generic_of(kind: str, arguments: list[Any]) -> tuple[GenericCore, list[str]]:
    cell = CELLS[kind](arguments[1].shape[1], dtype=arguments[0].dtype.name)
    cell.build((None, arguments[0].shape[2]))
    return GenericCore(cell.project, cell.step), list(cell.tensors())


def agree(ours: tuple[list[Any], list[Any]], theirs: tuple[list[Any], list[Any]]) -> None:
    for mine, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5, rtol=1e-5)
    for mine, other in zip(ours[1], theirs[1], strict=True):
        scale = float(np.max(np.abs(other)))
        np.testing.assert_allclose(mine, other, atol=1e-4 * scale, rtol=0)


@pytest.mark.parametrize(
    ("shape", "hoist", "sequences"),
    [(SHAPES[1], hoist, sequences) for hoist in (True, False) for sequences in (True, False)]
    + [(SHAPES[2], way, way) for way in (True, False)]
    + [(SHAPES[0], True, True), (SHAPES[3], False, False), (SHAPES[4], True, True), (SHAPES[4], False, True)]
    + [(SHAPES[5], False, False)],
)
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_outputs_states_and_all_gradients_are_those_of_keras(
    kind: str, shape: tuple[int, int, int, int], hoist: bool, sequences: bool
) -> None:
    arguments = draw(kind, shape)
    ours = gradients(by_kernel(kind, hoist=hoist, streams=2, return_sequences=sequences), arguments)
    agree(ours, by_keras(kind, arguments, sequences))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_streams_change_nothing_inside_a_graph_whether_or_not_the_batch_size_is_known(
    kind: str, streams: int, dynamic: bool
) -> None:
    arguments = draw(kind, (7, 4, 3, 2))
    carried = 1 + STATES[kind]
    signature = [
        tf.TensorSpec([None if dynamic and k < carried else a.shape[0], *a.shape[1:]], a.dtype)
        for k, a in enumerate(arguments)
    ]

    @tf.function(input_signature=signature)
    def graph(*inside: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inside)
            results = by_kernel(kind, streams=streams)(*inside)
            loss = tf.add_n([tf.reduce_sum(r * tf.sin(tf.cumsum(r, 1))) for r in results])
        return list(results), tape.gradient(loss, inside)

    def eager(*inside: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inside)
            results = by_kernel(kind, streams=1)(*inside)
            loss = tf.add_n([tf.reduce_sum(r * tf.sin(tf.cumsum(r, 1))) for r in results])
        return list(results), tape.gradient(loss, inside)

    agree(graph(*arguments), eager(*arguments))
    if dynamic:
        fewer = [a[:1] if k < carried else a for k, a in enumerate(arguments)]  # fewer rows than streams
        agree(graph(*fewer), eager(*fewer))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gradients_are_finite_differences_in_double_precision(kind: str) -> None:
    arguments = draw(kind, (2, 3, 2, 2), "float64")
    function = by_kernel(kind)
    _, found = gradients(function, arguments)
    for k, gradient in enumerate(found):
        np.testing.assert_allclose(gradient, differences(function, arguments, k), atol=1e-7)


def differences(function: Callable[..., Any], arguments: list[Any], k: int, by: float = 1e-5) -> np.ndarray:
    values = arguments[k].numpy()
    found = np.empty_like(values)
    for at in np.ndindex(values.shape):
        sides = []
        for sign in (1, -1):
            moved = values.copy()
            moved[at] += sign * by
            sides.append(float(weighted(function(*arguments[:k], tf.constant(moved), *arguments[k + 1 :]))))
        found[at] = (sides[0] - sides[1]) / (2 * by)
    return found


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("shape", [(6, 5, 3, 4), (4, 1, 1, 3)])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_generic_core_computes_what_keras_does_and_so_what_the_factored_one_does(
    kind: str, shape: tuple[int, int, int, int], sequences: bool
) -> None:
    arguments = draw(kind, shape)
    core, names = generic_of(kind, arguments)
    ours = gradients(by_generic(kind, core, names, streams=2, return_sequences=sequences), arguments)
    agree(ours, by_keras(kind, arguments, sequences))


def test_the_generic_core_works_in_double_precision() -> None:
    arguments = draw("gru", (3, 4, 2, 2), "float64")
    core, names = generic_of("gru", arguments)
    _, ours = gradients(by_generic("gru", core, names), arguments)
    _, theirs = gradients(by_kernel("gru"), arguments)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


@pytest.mark.parametrize("generic", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_graph_that_was_traced_without_its_tape_has_the_same_gradients(kind: str, generic: bool) -> None:
    arguments = draw(kind, (4, 3, 2, 3))
    graph = tf.function(by_generic(kind, *generic_of(kind, arguments)) if generic else by_kernel(kind))
    graph(*arguments)  # traced here, where nothing is recorded
    agree(gradients(graph, arguments), by_keras(kind, arguments, True))


@pytest.mark.parametrize("generic", [False, True])
def test_a_tape_around_a_graph_gets_what_the_tape_inside_does_not_record(generic: bool) -> None:
    arguments = draw("lstm", (4, 3, 2, 3))
    run = by_generic("lstm", *generic_of("lstm", arguments)) if generic else by_kernel("lstm")

    @tf.function
    def graph(*inside: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inside[3])  # a weight, and not x
            return list(run(*inside))

    agree(gradients(graph, arguments), by_keras("lstm", arguments, True))


def test_eager_gradients_of_the_weights_alone_need_no_input_gradient() -> None:
    x, *rest = draw("lstm", (4, 3, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(rest)
        loss = weighted(lstm(x, *rest))
    found = tape.gradient(loss, rest)
    expected = by_keras("lstm", [x, *rest], True)[1][1:]
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


class Layer(keras.layers.Layer):
    """The last output of an LSTM, through a kernel."""

    def __init__(self, generic: bool) -> None:
        super().__init__()
        self.cell = LSTMCell(3)
        self.core = GenericCore(self.cell.project, self.cell.step) if generic else None

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.cell.build((shape[0], shape[-1]))

    def call(self, x: Any) -> Any:
        states = self.cell.get_initial_state(tf.shape(x)[0])
        w = self.cell.tensors()
        if self.core is not None:
            return self.core(x, states, w, return_sequences=False)[0]
        return lstm(x, *states, w["kernel"], w["recurrent_kernel"], w["bias"], return_sequences=False)[0]


@pytest.mark.parametrize("generic", [False, True])
def test_fit_with_a_partial_last_batch_learns_what_keras_learns(generic: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(22, 5, 2)).astype("float32"), rng.normal(size=(22, 3)).astype("float32")
    ours, theirs = (keras.Sequential([keras.Input((5, 2)), layer]) for layer in (Layer(generic), keras.layers.LSTM(3)))
    theirs.set_weights(ours.get_weights())
    losses = []
    for model in (ours, theirs):
        model.compile("sgd", "mse", jit_compile=False, run_eagerly=False)
        losses.append(model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    np.testing.assert_allclose(ours.predict(x, batch_size=8, verbose=0), theirs.predict(x, verbose=0), atol=1e-5)


def test_repeated_calls_and_the_last_partial_batch_are_traced_once_each() -> None:
    full, partial = draw("lstm", (16, 6, 5, 7)), draw("lstm", (9, 6, 5, 7))

    @tf.function
    def step(*arguments: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            loss = tf.add_n([tf.reduce_sum(r) for r in lstm(*arguments, streams=1)])
        return tape.gradient(loss, arguments)

    def traced(work: Callable[[], object]) -> list[int]:
        before = [core.experimental_get_tracing_count() for core in factored.LSTM.cores]
        work()
        return [
            core.experimental_get_tracing_count() - count
            for core, count in zip(factored.LSTM.cores, before, strict=True)
        ]

    assert traced(lambda: step(*full)) == [1, 1, 1, 1]
    assert traced(lambda: [step(*full) for _ in range(3)]) == [0, 0, 0, 0]
    assert traced(lambda: step(*partial)) == [1, 1, 1, 1]
    assert traced(lambda: [step(*batch) for batch in (full, partial, full)]) == [0, 0, 0, 0]
    assert traced(lambda: [gradients(by_kernel("lstm", streams=1), full) for _ in range(3)]) == [0, 0, 0, 0]


def test_nothing_is_saved_where_nothing_is_recorded() -> None:
    arguments = draw("gru", (4, 3, 2, 3))
    seen = []

    def forward(x: Any, states: Any, weights: Any, options: Any) -> Any:
        seen.append(options.save)
        return factored._gru_forward(x, states, weights, options)

    run = factored.Streamed(forward, *[core.python_function for core in factored.GRU.cores[1:]])
    options = factored.Options(sequences=True)
    run(arguments[0], (arguments[1],), tuple(arguments[2:]), options)
    assert seen == [False]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        run(arguments[0], (arguments[1],), tuple(arguments[2:]), options)
    assert seen == [False, True]


def test_the_batch_is_cut_evenly_and_only_where_it_is_large_enough() -> None:
    assert row_counts(tf.zeros((7, 1, 1)), 2) == (4, 3)
    assert row_counts(tf.zeros((1, 1, 1)), 2) == (1,)
    assert row_counts(tf.zeros((9, 1, 1)), None) == (9,)
    assert sum(row_counts(tf.zeros((1000, 1, 1)), None)) == 1000


def test_an_unknown_number_of_steps_is_refused_with_what_to_do() -> None:
    arguments = draw("lstm", (2, 3, 2, 2))

    @tf.function(input_signature=[tf.TensorSpec([2, None, 2])], autograph=False)
    def graph(x: Any) -> Any:
        return lstm(x, *arguments[1:])

    with pytest.raises(ArgumentError, match="number of steps that is known"):
        graph(arguments[0])


def test_wrong_dtypes_widths_and_streams_are_named() -> None:
    arguments = draw("lstm", (2, 3, 2, 2))
    with pytest.raises(ArgumentError, match="got float32, float64"):
        lstm(tf.cast(arguments[0], "float64"), *arguments[1:])
    with pytest.raises(ArgumentError, match=r"kernel must be \(1, 8\)"):
        lstm(arguments[0][:, :, :1], *arguments[1:])
    with pytest.raises(ArgumentError, match="streams must be at least 1"):
        lstm(*arguments, streams=0)
