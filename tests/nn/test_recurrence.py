"""The layer around a cell: what it takes and refuses, in both directions, and states in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.cells import Cell, Feedback, GRUCell, LSTMCell, RecurrentDropout, Residual, Stacked, Zoneout
from forecast_kit.nn.recurrent import Recurrence, bidirectional, recurrent

B, T, F, U = 2, 6, 3, 4
SAME = 2e-6


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sequence() -> np.ndarray:
    return random(B, T, F)


def arrays(result: Any) -> list[np.ndarray]:
    return [ops.convert_to_numpy(one) for one in (result if isinstance(result, list | tuple) else [result])]


def assert_same(ours: Any, theirs: Any) -> None:
    for one, other in zip(arrays(ours), arrays(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=SAME)


# ---- what is a sequence


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: recurrent(LSTMCell(U))(random(T, F)), "expected ndim=3, found ndim=2"),
        (lambda: recurrent(LSTMCell(U))(random(1, B, T, F)), "expected ndim=3, found ndim=4"),
        (lambda: recurrent(LSTMCell(U))(keras.Input((F,))), "expected ndim=3, found ndim=2"),
        (lambda: bidirectional(LSTMCell(U))(random(T, F)), "expected ndim=3, found ndim=2"),
        (lambda: recurrent(LSTMCell(U))(keras.Input((T, None))), "number of features must be known .* keras.Input"),
        (lambda: recurrent(LSTMCell(U))(random(B, 0, F)), r"at least one step, got shape \(2, 0, 3\)"),
        (lambda: recurrent(LSTMCell(U))(keras.Input((0, F))), "at least one step"),
        (lambda: recurrent(LSTMCell(U), dilation=4)(keras.Input((T, F))), "a multiple of 4 steps, got 6; pad it"),
    ],
)
def test_what_is_no_sequence_is_refused(call: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):  # an ArgumentError, or Keras's own
        call()


def test_another_number_of_features_than_at_build_is_refused() -> None:
    layer = recurrent(LSTMCell(U))
    layer(sequence())
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        layer(random(B, T, F + 1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recurrence(LSTMCell(U), dtype="float64"),
        lambda: Recurrence(LSTMCell(U, dtype="mixed_bfloat16"), dtype="float32"),
        lambda: Residual(LSTMCell(U), dtype="float64"),
        lambda: Stacked([LSTMCell(U)], dtype="float64"),
    ],
)
def test_a_dtype_of_its_own_is_refused_for_it_is_the_cells(make: Callable[[], Any]) -> None:
    with pytest.raises(ArgumentError, match="computes in the dtype of its cell, .*: give it to the cell"):
        make()


def test_the_dtype_of_the_cell_may_be_said_again() -> None:
    layer = Recurrence(LSTMCell(U, dtype="float64"), dtype="float64")
    assert arrays(layer(sequence()))[0].dtype == np.float64


# ---- both directions


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
@pytest.mark.parametrize("wrapped_by", ["us", "keras"])
def test_final_states_of_both_directions_are_those_of_keras(
    wrapped_by: str, merge_mode: str | None, return_sequences: bool
) -> None:
    how: dict[str, Any] = {"return_sequences": return_sequences, "return_state": True}
    if wrapped_by == "us":
        ours = bidirectional(LSTMCell(U), merge_mode=merge_mode, **how)
    else:
        ours = keras.layers.Bidirectional(recurrent(LSTMCell(U), **how), merge_mode=merge_mode)
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(U, **how), merge_mode=merge_mode)
    x, starts = sequence(), [random(B, U, seed=k) for k in range(1, 5)]
    for layer in (ours, theirs):
        layer(x)
    theirs.set_weights(ours.get_weights())
    assert_same(ours(x), theirs(x))
    assert_same(ours(x, initial_state=starts), theirs(x, initial_state=starts))
    inputs, begin = keras.Input((T, F)), [keras.Input((U,)) for _ in range(4)]
    outputs = ours(inputs, initial_state=begin)
    assert [tuple(one.shape[1:]) for one in outputs] == [one.shape[1:] for one in arrays(theirs(x))]
    assert_same(keras.Model([inputs, *begin], outputs)([x, *starts]), theirs(x, initial_state=starts))


def test_both_directions_have_the_name_and_the_dtype_that_were_asked_for() -> None:
    layer = bidirectional(LSTMCell(U, dtype="float64"), name="enc")
    x = np.random.default_rng(0).normal(size=(B, T, F))
    output = ops.convert_to_numpy(layer(x))
    assert (layer.name, output.dtype) == ("enc", np.float64)
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(U, dtype="float64"), dtype="float64")
    theirs(x)
    theirs.set_weights(layer.get_weights())
    np.testing.assert_allclose(output, ops.convert_to_numpy(theirs(x)), atol=1e-14)


def test_both_directions_take_no_direction() -> None:
    with pytest.raises(ArgumentError, match="reads both ways by itself; leave go_backwards out"):
        bidirectional(LSTMCell(U), go_backwards=True)


# ---- states in


@pytest.mark.parametrize(
    ("cell", "states", "complaint"),
    [
        (LSTMCell(U), [(B, U + 1), (B, U)], r"initial_state\[0\] of LSTMCell must be \[2, 4\], got shape \(2, 5\)"),
        (LSTMCell(U), [(B, U), (1, U)], r"initial_state\[1\] of LSTMCell must be \[2, 4\], got shape \(1, 4\)"),
        (LSTMCell(U), [(B, U), (U,)], r"initial_state\[1\] of LSTMCell must be \[2, 4\], got shape \(4,\)"),
        (LSTMCell(U), [(B, U)], "LSTMCell has 2 states; initial_state has 1"),
        (LSTMCell(U), [], "LSTMCell has 2 states; initial_state has 0"),
        (RecurrentDropout(LSTMCell(U), 0.1), [(B, U)], "has 3 states, 1 of them drawn, which may be left out; init"),
        (Stacked([GRUCell(5), GRUCell(U)]), [(B, U), (B, 5)], r"initial_state\[0\] of Stacked must be \[2, 5\]"),
    ],
)
def test_states_that_do_not_fit_are_refused(cell: Cell, states: list[tuple[int, ...]], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        recurrent(cell)(sequence(), initial_state=[np.zeros(shape, np.float32) for shape in states])


def test_states_that_do_not_fit_are_refused_before_anything_is_computed() -> None:
    with pytest.raises(ArgumentError, match=r"initial_state\[0\] of GRUCell must be \[B, 4\], got shape \(None, 5\)"):
        recurrent(GRUCell(U))(keras.Input((T, F)), initial_state=keras.Input((U + 1,)))


def test_one_state_may_come_without_a_list() -> None:
    layer, start = recurrent(GRUCell(U)), random(B, U)
    inputs, begin = keras.Input((T, F)), keras.Input((U,))
    model = keras.Model([inputs, begin], layer(inputs, initial_state=begin))
    assert_same(model([sequence(), start]), layer(sequence(), initial_state=[start]))


def test_a_dilated_recurrence_takes_no_states() -> None:
    with pytest.raises(ArgumentError, match="initial_state goes with dilation=1, got 2"):
        recurrent(GRUCell(U), dilation=2)(sequence(), initial_state=[random(2 * B, U)])


def lstm_of(seed: int = 7) -> LSTMCell:
    """An LSTM whose weights are nowhere zero."""
    cell = LSTMCell(U)
    cell.build((None, F))
    cell.built = True
    for k, weight in enumerate(cell.weights):
        weight.assign(random(*weight.shape, seed=seed + k))
    return cell


def test_states_of_training_drop_nothing_in_inference() -> None:
    inner = lstm_of()
    layer = recurrent(RecurrentDropout(inner, 0.5, seed=1), return_state=True)
    _, *states = layer(sequence(), training=True)
    assert (arrays(states[-1])[0] == 0).any()
    assert_same(layer(sequence(), initial_state=states)[:3],
                recurrent(inner, return_state=True)(sequence(), initial_state=states[:2]))  # fmt: skip
    theirs = keras.layers.RNN(layer.cell, return_state=True)
    assert_same(layer(sequence(), initial_state=states), theirs(sequence(), initial_state=states))


def test_a_mask_that_is_given_is_used_in_training_and_one_that_is_not_is_drawn() -> None:
    inner, starts = lstm_of(), [random(B, U, seed=k) for k in (1, 2)]
    layer = recurrent(RecurrentDropout(inner, 0.5, seed=1), return_state=True)
    plain = recurrent(inner, return_state=True)
    assert_same(layer(sequence(), initial_state=starts)[:3], plain(sequence(), initial_state=starts))
    *trained, mask = layer(sequence(), initial_state=starts, training=True)
    assert set(np.unique(arrays(mask)[0])) == {0.0, 2.0}
    assert_same(layer(sequence(), initial_state=[*starts, mask], training=True), [*trained, mask])


@pytest.mark.parametrize(
    ("cell", "drawn"),
    [
        (lambda: Residual(RecurrentDropout(LSTMCell(F), 0.5)), (False, False, True)),
        (lambda: Zoneout(RecurrentDropout(GRUCell(U), 0.5), 0.1), (False, True)),
        (lambda: Stacked([RecurrentDropout(GRUCell(5), 0.5), LSTMCell(U)]), (False, True, False, False)),
        (lambda: Feedback(RecurrentDropout(LSTMCell(U), 0.5), 2), (False, False, True, False)),
    ],
)
def test_a_mask_may_be_left_out_wherever_the_dropout_stands(cell: Callable[[], Cell], drawn: tuple[bool, ...]) -> None:
    layer = recurrent(cell(), return_state=True)
    sizes = layer.cell.state_sizes
    assert layer.cell.drawn == drawn
    every = [np.ones((B, size)) if own else random(B, size, seed=k)
             for k, (size, own) in enumerate(zip(sizes, drawn, strict=True))]  # fmt: skip
    own = [state for state, is_drawn in zip(every, drawn, strict=True) if not is_drawn]
    assert_same(layer(sequence(), initial_state=own), layer(sequence(), initial_state=every))


@pytest.mark.parametrize("cell", [LSTMCell(U), Stacked([GRUCell(3), LSTMCell(U)]), RecurrentDropout(LSTMCell(U), 0.5)])
def test_keras_keeps_the_states_of_our_cells_where_it_is_told_to(cell: Cell) -> None:
    layer = keras.layers.RNN(cell, stateful=True)
    layer(sequence()[:, :4])
    assert_same(layer(sequence()[:, 4:]), recurrent(cell)(sequence()))


# ---- cells of one's own


class Half(Cell):
    """A cell whose step returns what it is told to."""

    def __init__(self, returned: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(U, **kwargs)
        self.returned = returned

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self._matrix("kernel", (int(input_shape[-1] or 0), U))
        self._bias("bias", U)

    def step(self, p: Any, states: Any, w: Any) -> Any:
        return self.returned(0.5 * states[0] + p)


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda h: h, r"got \[B, 4\]$"),
        (lambda h: (h, h), "got a tuple of 2"),
        (lambda h: (h, (h, h)), r"got \[B, 4\] and \(\[B, 4\], \[B, 4\]\)"),
        (lambda h: (h, ()), r"got \[B, 4\] and \(\)"),
        (lambda h: (h[:, :3], (h,)), r"got \[B, 3\] and \(\[B, 4\]\)"),
        (lambda h: (h, (h[:, :3],)), r"got \[B, 4\] and \(\[B, 3\]\)"),
        (lambda h: (h, (None,)), r"got \[B, 4\] and \(a NoneType\)"),
    ],
)
def test_a_step_that_returns_something_else_is_refused_at_build(returned: Callable[[Any], Any], got: str) -> None:
    layer = recurrent(Half(returned))
    with pytest.raises(ArgumentError, match=got) as caught:
        layer.build((None, T, F))
    assert "Half.step must return the output [B, 4] and a tuple of the new states ([B, 4])" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_that_returns_what_it_should_passes() -> None:
    layer = recurrent(Half(lambda h: (h, [h])))  # a list will do
    assert tuple(layer(sequence()).shape) == (B, U)


def test_a_stack_of_one_cell_without_a_list_is_refused() -> None:
    with pytest.raises(ArgumentError, match="takes a list of cells of forecast_kit, got one LSTMCell; put it into a"):
        Stacked(LSTMCell(U))
