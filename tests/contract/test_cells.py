"""What every recurrent cell promises, alone and wrapped, in every way of running it. For any backend of Keras."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import forecast_kit
from forecast_kit.nn.cells.base import Cell
from forecast_kit.nn.cells.elman import ElmanCell
from forecast_kit.nn.cells.feedback import Feedback
from forecast_kit.nn.cells.gru import GRUCell, GRUResetBeforeCell, InputGatedGRUCell, OutputGatedGRUCell
from forecast_kit.nn.cells.lstm import LSTMCell, PeepholeLSTMCell
from forecast_kit.nn.cells.minimal import MGUCell, MinGRUCell, MinLSTMCell
from forecast_kit.nn.cells.normalized import LayerNormGRUCell, LayerNormLSTMCell, SLSTMCell
from forecast_kit.nn.cells.wrappers import RecurrentDropout, Residual, Stacked, Zoneout
from forecast_kit.nn.recurrent import Recurrence, bidirectional, recurrent

F, U, T = 4, 4, 6

PLAIN: dict[str, Callable[..., Cell]] = {
    "elman": ElmanCell,
    "elman_sigmoid": lambda units, **kw: ElmanCell(units, activation="sigmoid", **kw),
    "lstm": LSTMCell,
    "peephole_lstm": PeepholeLSTMCell,
    "peephole_lstm_full": lambda units, **kw: PeepholeLSTMCell(units, diagonal=False, gated_candidate=True, **kw),
    "gru": GRUCell,
    "gru_reset_before": GRUResetBeforeCell,
    "output_gated_gru": OutputGatedGRUCell,
    "input_gated_gru": InputGatedGRUCell,
    "min_gru": MinGRUCell,
    "min_lstm": MinLSTMCell,
    "mgu": MGUCell,
    "layer_norm_lstm": LayerNormLSTMCell,
    "layer_norm_gru": LayerNormGRUCell,
    "slstm": SLSTMCell,
}
WRAPPED = {name: PLAIN[name] for name in ("lstm", "gru")}
CELLS: dict[str, Callable[..., Cell]] = {
    **PLAIN,
    **{
        f"residual_{name}": lambda units, cell=cell, **kw: Residual(cell(units, **kw)) for name, cell in WRAPPED.items()
    },
    **{
        f"dropout_{name}": lambda units, cell=cell, **kw: RecurrentDropout(cell(units, **kw), 0.3, seed=1)
        for name, cell in WRAPPED.items()
    },
    **{
        f"zoneout_{name}": lambda units, cell=cell, **kw: Zoneout(cell(units, **kw), 0.2, seed=1)
        for name, cell in WRAPPED.items()
    },
    "stacked": lambda units, **kw: Stacked([GRUCell(units + 1, **kw), LSTMCell(units, **kw)]),
    "feedback": lambda units, **kw: Feedback(GRUCell(units + 1, **kw), units),
    "residual_of_dropout_of_lstm": lambda units, **kw: Residual(RecurrentDropout(LSTMCell(units, **kw), 0.2, seed=3)),
}
every = pytest.mark.parametrize("name", CELLS)
SAME = 2e-6
# Which are trained by the quickest route, which compiles for a second or two; the others by the plain loop. Whatever
# differs from cell to cell in a kernel, its gradients, is held to finite differences below.
BY_KERNEL = ("lstm", "gru", "dropout_gru", "zoneout_gru", "feedback")


def sequence(batch: int = 3, length: int = T, features: int = F, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, length, features)).astype(np.float32)


def arrays(result: object) -> list[np.ndarray]:
    return [ops.convert_to_numpy(t) for t in (result if isinstance(result, list | tuple) else [result])]


def randomized(cell: Cell, seed: int = 7) -> Cell:
    """The cell built on F features, with weights that are nowhere zero."""
    rng = np.random.default_rng(seed)
    if not cell.built:
        cell.build((None, F))
        cell.built = True
    for weight in cell.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return cell


@every
@pytest.mark.parametrize("return_sequences", [False, True])
def test_the_door_computes_what_keras_rnn_computes(name: str, return_sequences: bool) -> None:
    cell, x = randomized(CELLS[name](U)), sequence()
    ours = recurrent(cell, return_sequences=return_sequences, return_state=True)
    theirs = keras.layers.RNN(cell, return_sequences=return_sequences, return_state=True)
    states = len(cell.state_sizes) - ("dropout" in name)  # a mask is drawn anew
    for one, other in zip(arrays(ours(x))[: 1 + states], arrays(theirs(x))[: 1 + states], strict=True):
        np.testing.assert_allclose(one, other, atol=SAME)


@every
def test_the_last_output_is_the_last_of_all_outputs(name: str) -> None:
    cell, x = randomized(CELLS[name](U)), sequence()
    (every_one,) = arrays(recurrent(cell, return_sequences=True)(x))
    (last,) = arrays(recurrent(cell)(x))
    np.testing.assert_allclose(every_one[:, -1], last, atol=SAME)


@every
def test_a_sequence_in_chunks_is_the_sequence_at_once(name: str) -> None:
    cell, x = randomized(CELLS[name](U)), sequence(length=9)
    layer = recurrent(cell, return_sequences=True, return_state=True)
    whole, *final = arrays(layer(x))
    parts, states = [], None
    for chunk in (x[:, :4], x[:, 4:5], x[:, 5:]):
        part, *states = layer(chunk, initial_state=states)
        parts.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=SAME)
    for one, other in zip(arrays(states), final, strict=True):
        np.testing.assert_allclose(one, other, atol=SAME)


@every
def test_backwards_is_forwards_on_the_reversed_sequence(name: str) -> None:
    cell, x = randomized(CELLS[name](U)), sequence()
    (back,) = arrays(recurrent(cell, go_backwards=True, return_sequences=True)(x))
    (forth,) = arrays(recurrent(cell, return_sequences=True)(x[:, ::-1]))
    np.testing.assert_allclose(back, forth, atol=SAME)


@every
@pytest.mark.parametrize("dilation", [2, 3])
def test_a_dilated_recurrence_is_that_of_each_interleaved_sequence(name: str, dilation: int) -> None:
    cell, x = randomized(CELLS[name](U)), sequence()
    (got,) = arrays(recurrent(cell, return_sequences=True, dilation=dilation)(x))
    for k in range(dilation):
        (expected,) = arrays(recurrent(cell, return_sequences=True)(x[:, k::dilation]))
        np.testing.assert_allclose(got[:, k::dilation], expected, atol=SAME)
    (last,) = arrays(recurrent(cell, dilation=dilation)(x))
    np.testing.assert_allclose(last, got[:, -1], atol=SAME)


@every
def test_batch_and_length_may_vary(name: str) -> None:
    layer = recurrent(randomized(CELLS[name](U)))
    inputs = keras.Input((None, F))
    model = keras.Model(inputs, layer(inputs))
    for batch, length in ((3, 6), (1, 6), (5, 2)):
        x = sequence(batch, length)
        np.testing.assert_allclose(*arrays([model(x), layer(x)]), atol=SAME)


@every
def test_training_lowers_the_loss_on_remembering_the_first_step(name: str) -> None:
    keras.utils.set_random_seed(3)
    x = sequence(64, T, F, seed=5)
    inputs = keras.Input((T, F))
    route = "auto" if name in BY_KERNEL else "scan"
    model = keras.Model(inputs, keras.layers.Dense(1)(recurrent(CELLS[name](F), route=route)(inputs)))
    # The optimiser is built in the first step, which has that traced twice: a tensor kept on a cell is found out.
    model.compile(keras.optimizers.Adam(0.03), "mse", jit_compile=keras.backend.backend() == "jax")
    losses = model.fit(x, x[:, 0, :1], epochs=12, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", [*PLAIN, "stacked"])
def test_a_thousand_steps_in_mixed_precision_stay_close_to_full(name: str) -> None:
    x, tolerances = sequence(2, 1000), {"float32": 0.0, "mixed_bfloat16": 0.08, "mixed_float16": 0.012}
    exact = None
    for policy, tolerance in tolerances.items():
        inputs = keras.Input((1000, F))
        cell = randomized(CELLS[name](U, dtype=policy))
        model = keras.Model(inputs, recurrent(cell, return_sequences=True, return_state=True)(inputs))
        output, *states = model.predict_on_batch(x)
        assert {str(state.dtype) for state in states} == {"float32"}
        assert str(output.dtype) == policy.removeprefix("mixed_")
        if exact is None:
            exact = output
        else:
            ours = np.asarray(output, np.float32)
            assert np.sqrt(((ours - exact) ** 2).mean()) < tolerance * max(1.0, exact.std()), policy


@every
def test_a_cell_and_a_layer_are_what_their_configurations_say(name: str) -> None:
    cell = CELLS[name](U)
    again = type(cell).from_config(cell.get_config())
    assert again.get_config() == cell.get_config()
    layer = recurrent(cell, return_sequences=True, go_backwards=True, dilation=2)
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


LOAD = """
import pathlib, keras, numpy as np
import forecast_kit.nn.recurrent
for file in sorted(pathlib.Path(".").glob("*.keras")):
    x = np.load("x.npy")
    np.save(file.with_suffix(".out.npy"), keras.ops.convert_to_numpy(keras.models.load_model(file)(x)))
"""


def test_a_saved_network_is_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    x = sequence()
    np.save(tmp_path / "x.npy", x)
    expected = {}
    for name, cell in CELLS.items():
        inputs = keras.Input((T, F))
        hidden = bidirectional(randomized(cell(U)), return_sequences=True)(inputs)
        model = keras.Model(inputs, recurrent(cell(2 * U))(hidden))
        model.save(tmp_path / f"{name}.keras")
        (expected[name],) = arrays(model(x))
    source = str(Path(forecast_kit.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    for name, output in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.out.npy"), output, err_msg=name)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")  # the harness's own generator
def test_keras_own_harness_for_layers_passes(name: str) -> None:
    from keras.src import testing

    cell = CELLS[name](U)
    cell.build((None, F))
    harness = testing.TestCase()
    harness.setUp()
    harness.run_layer_test(
        Recurrence, init_kwargs={"cell": CELLS[name](U), "return_sequences": True}, input_shape=(3, T, F),
        expected_output_shape=(3, T, U), expected_num_trainable_weights=len(cell.weights),
        expected_num_non_trainable_weights=0, supports_masking=False, custom_objects={"Recurrence": Recurrence},
        run_training_check=name == "mgu",  # on made-up data: every cell is trained above
        run_mixed_precision_check=False,  # it sets a dtype on the layer; that belongs on the cell, and is tested above
    )  # fmt: skip


# Which are compiled by XLA as a whole too: the two with kernels of their own, what draws noise or is made of other
# cells, and what has exponentials or means of its own. The kernel of the others is XLA's in any case.
AS_A_WHOLE = ("lstm", "gru", "slstm", "layer_norm_gru", "min_lstm", *(name for name in CELLS if name not in PLAIN))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients are asked of a TensorFlow tape")
# Of a graph they are the kernel's: see the next test.
@pytest.mark.parametrize(("name", "way"), [(n, "eager") for n in CELLS] + [(n, "xla") for n in AS_A_WHOLE])
def test_gradients_are_those_of_keras_rnn(name: str, way: str) -> None:
    import tensorflow as tf

    cell, x = randomized(CELLS[name](U)), tf.constant(sequence())
    rng = np.random.default_rng(2)
    starts = [tf.constant(rng.normal(size=(3, size)), tf.float32) for size in cell.state_sizes]
    pulls = [tf.constant(rng.normal(size=(3, T, U)), tf.float32)]
    pulls += [tf.constant(rng.normal(size=(3, size)), tf.float32) for size in cell.state_sizes]
    ours, theirs = (
        make(cell, return_sequences=True, return_state=True) for make in (recurrent, keras.layers.RNN)
    )  # fmt: skip

    def gradients(layer: keras.layers.Layer) -> list:
        with tf.GradientTape() as tape:
            tape.watch([x, *starts])
            # `training` so that a mask that is given is used; noise is drawn anew and must not be.
            results = layer(x, initial_state=starts, training="dropout" in name)
            total = tf.add_n([tf.reduce_sum(r * pull) for r, pull in zip(results, pulls, strict=True)])
        return tape.gradient(total, [x, *starts, *cell.trainable_weights], unconnected_gradients="zero")

    got = gradients(ours) if way == "eager" else tf.function(gradients, jit_compile=True)(ours)
    for one, other in zip(got, gradients(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kernels are for TensorFlow")
@every
def test_in_double_precision_gradients_of_the_kernel_are_finite_differences_and_those_of_keras_rnn(name: str) -> None:
    import tensorflow as tf

    cell = randomized(CELLS[name](U, dtype="float64"))
    ours, theirs = (
        make(cell, return_sequences=True, return_state=True, **options)
        for make, options in ((recurrent, {"route": "kernel"}), (keras.layers.RNN, {"dtype": "float64"}))
    )
    weights = cell.trainable_weights
    rng = np.random.default_rng(4)
    states = [(3, size) for size in cell.state_sizes]
    at = [0.5 * rng.normal(size=shape) for shape in [(3, T, F), *states, *(weight.shape for weight in weights)]]
    pulls = [tf.constant(rng.normal(size=shape)) for shape in [(3, T, U), *states]]

    def value_and_gradients(given: list, layer: keras.layers.Layer = ours) -> tuple:
        for weight, value in zip(weights, given[1 + len(states) :], strict=True):
            weight.assign(value)
        inputs = given[: 1 + len(states)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            # Outside training zoneout takes the mean, which is smooth; a dropout mask is one of the states.
            results = layer(inputs[0], initial_state=inputs[1:], training="dropout" in name)
            total = tf.add_n([tf.reduce_sum(r * pull) for r, pull in zip(results, pulls, strict=True)])
        return total, tape.gradient(total, [*inputs, *weights], unconnected_gradients="zero")

    graph = tf.function(value_and_gradients)
    here = [tf.constant(a) for a in at]
    (value, gradients), (expected, by_keras) = graph(here), value_and_gradients(here, theirs)
    assert float(value) == pytest.approx(float(expected), rel=1e-10)
    for k, (gradient, other) in enumerate(zip(gradients, by_keras, strict=True)):
        np.testing.assert_allclose(gradient, other, rtol=1e-8, atol=1e-10)
        direction, by = rng.normal(size=at[k].shape), 1e-6
        moved = [[a + sign * by * direction if j == k else a for j, a in enumerate(at)] for sign in (1, -1)]
        above, below = (float(graph([tf.constant(a) for a in arrays])[0]) for arrays in moved)
        assert (above - below) / (2 * by) == pytest.approx(float(np.sum(gradient * direction)), rel=1e-6, abs=1e-6), k


def routes_of(name: str) -> list[str]:
    """The routes, beside the plain loop, that a cell can take on this backend."""
    backend, linear = keras.backend.backend(), name in ("min_gru", "min_lstm")
    native = name in ("lstm", "gru") and backend == "torch"
    return ["kernel"] * (backend == "tensorflow") + ["associative"] * linear + ["native"] * native


@pytest.mark.parametrize(
    ("name", "route", "return_sequences"),
    [
        (name, route, every_output)
        for name in CELLS
        for route in routes_of(name)
        # A kernel leaves the other outputs out in a way of its own for LSTM and GRU, and in one for all other cells.
        for every_output in ([True, False] if route != "kernel" or name in BY_KERNEL else [True])
    ],
)
def test_every_route_computes_what_the_plain_loop_computes(name: str, route: str, return_sequences: bool) -> None:
    cell, x = randomized(CELLS[name](U)), sequence()
    rng = np.random.default_rng(5)
    starts = [rng.normal(size=(3, size)).astype(np.float32) for size in cell.state_sizes]
    layers = [recurrent(cell, return_sequences=return_sequences, return_state=True, route=r) for r in ("scan", route)]
    plain, other = (arrays(layer(x, initial_state=starts)) for layer in layers)
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_allclose(one, two, atol=SAME)


# ---- wrappers


def test_recurrent_dropout_drops_the_same_units_in_every_step_and_none_outside_training() -> None:
    cell = randomized(RecurrentDropout(GRUCell(50), 0.4, seed=0))
    states = cell.begin(200, training=True)
    (mask,) = arrays(states[-1])
    np.testing.assert_allclose(np.unique(mask), [0.0, 1 / 0.6], rtol=1e-6)
    assert abs((mask == 0).mean() - 0.4) < 0.02
    assert (ops.convert_to_numpy(cell.begin(3, training=False)[-1]) == 1).all()
    layer, x = recurrent(cell, return_state=True), sequence(200)
    *_, carried = layer(x, training=True)
    np.testing.assert_allclose(np.unique(ops.convert_to_numpy(carried)), [0.0, 1 / 0.6], rtol=1e-6)
    np.testing.assert_allclose(*arrays([layer(x)[0], recurrent(cell.cell)(x)]), atol=SAME)
    assert (arrays(layer(x, training=True)[0])[0] != arrays(layer(x)[0])[0]).any()


def test_recurrent_dropout_masks_the_state_before_each_step() -> None:
    inner = randomized(LSTMCell(U))
    cell, x, w = RecurrentDropout(inner, 0.5), sequence(), inner.tensors()
    mask = ops.convert_to_tensor(np.random.default_rng(0).integers(0, 2, (3, U)).astype(np.float32) * 2)
    h, c = ops.zeros((3, U)), ops.zeros((3, U))
    for t in range(T):
        _, (h, c) = inner.step(inner.project(x[:, t], w), (h * mask, c), w)
    layer = recurrent(cell, return_state=True)
    got = layer(x, initial_state=[ops.zeros((3, U)), ops.zeros((3, U)), mask], training=True)
    for ours, theirs in zip(arrays(got[1:3]), arrays([h, c]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=SAME)


def test_zoneout_keeps_states_with_its_rate_and_takes_the_mean_outside_training() -> None:
    inner = randomized(LSTMCell(60))
    cell, x, w = Zoneout(inner, 0.25, seed=2), sequence(100), inner.tensors()
    before = tuple(np.random.default_rng(1).normal(size=(100, 60)).astype(np.float32) for _ in range(2))
    _, new = inner.step(inner.project(x[:, 0], w), tuple(map(ops.convert_to_tensor, before)), w)
    kept = recurrent(cell, return_state=True)(x[:, :1], initial_state=list(before), training=True)[1:]
    for old, fresh, got in zip(before, arrays(new), arrays(kept), strict=True):
        stays = np.isclose(got, old, atol=1e-6)
        np.testing.assert_allclose(np.where(stays, fresh, got), fresh, atol=1e-6)
        assert abs(stays.mean() - 0.25) < 0.02
    mean = recurrent(cell, return_state=True)(x[:, :1], initial_state=list(before))[1:]
    for old, fresh, got in zip(before, arrays(new), arrays(mean), strict=True):
        np.testing.assert_allclose(got, 0.25 * old + 0.75 * fresh, atol=1e-6)


def test_a_stack_is_one_layer_on_the_other() -> None:
    cells, x = [randomized(GRUCell(5)), LSTMCell(U)], sequence()
    cells[1].build((None, 5))
    cells[1].built = True
    (stack,) = arrays(recurrent(Stacked(cells), return_sequences=True)(x))
    first = recurrent(cells[0], return_sequences=True)(x)
    np.testing.assert_allclose(stack, arrays(recurrent(cells[1], return_sequences=True)(first))[0], atol=SAME)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: LSTMCell(0), "units must be a whole number, at least 1; got 0"),
        (lambda: Residual(GRUCell(3)).build((None, 4)), "the cell has 3 units, the input 4 features"),
        (lambda: RecurrentDropout(GRUCell(3), 1.0), "rate must be a number of at least 0 and below 1, got 1.0"),
        (lambda: Residual("gru"), "Residual wraps a Cell of forecast_kit, got str"),
        (lambda: Stacked([]), "Stacked takes a list of cells"),
        (lambda: Stacked([Zoneout(GRUCell(3), 0.1)]), "wrap the stack instead"),
        (lambda: recurrent(keras.layers.GRUCell(3)), "got GRUCell; use keras.layers.RNN"),
        (lambda: recurrent(GRUCell(3), dilation=0), "dilation must be at least 1"),
        (lambda: recurrent(GRUCell(3), dilation=4)(sequence()), "a multiple of 4 steps, got 6; pad it"),
        (lambda: recurrent(GRUCell(3), route="fast"), "route must be one of auto, scan, kernel"),
        (lambda: recurrent(GRUCell(3), route="associative")(sequence()), "whose recurrence is linear, MinGRUCell and"),
        (lambda: recurrent(MinGRUCell(3), route="native")(sequence()), "runs LSTMCell and GRUCell, not MinGRUCell"),
        (lambda: recurrent(GRUCell(3, dtype="mixed_float16"), route="kernel")(sequence()), "route 'kernel' "),
        (lambda: recurrent(LSTMCell(3))(sequence(), initial_state=[np.zeros((3, 3))]), "has 2 states"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises((forecast_kit.errors.ArgumentError, ValueError), match=complaint):
        make()
