"""Cells with two gates and a single state."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from forecast_kit.nn.cells.base import Cell, States, Weights, matmul


@keras.saving.register_keras_serializable("forecast_kit")
class GRUCell(Cell):
    """Gated recurrent unit, the reset gate applied after the product with the state.

        z = s(x Wz + h Uz + bz)                        what is kept
        r = s(x Wr + h Ur + br)                        what the candidate sees
        g = tanh(x Wg + bg + r * (h Ug + dg))          the candidate
        h' = z * h + (1 - z) * g

    Weights as in `keras.layers.GRUCell(reset_after=True)`, columns in the order z, r, g: `kernel [F, 3U]`,
    `recurrent_kernel [U, 3U]`, `bias [2, 3U]`, the input's and the state's. State: `h [B, U]`.

    An article that lets `z` weigh the candidate has the same cell with the signs of the weights and
    biases of `z` flipped, see `forecast_kit.nn.cells.articles`.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder, in the form
    that cuDNN computes; article 002 (3.2), which calls `r` the merge gate.

    >>> cell = GRUCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 3 * u))
        self._matrix("recurrent_kernel", (u, 3 * u), recurrent=True)
        self.bias = self.add_weight(name="bias", shape=(2, 3 * u), initializer=self.bias_initializer)

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`."""
        return matmul(x, w["kernel"]) + w["bias"][0]

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        u = self.units
        q = matmul(h, w["recurrent_kernel"]) + w["bias"][1]
        z, r = ops.split(ops.sigmoid(p[:, : 2 * u] + q[:, : 2 * u]), 2, axis=-1)
        g = ops.tanh(p[:, 2 * u :] + r * q[:, 2 * u :])
        h = z * h + (1.0 - z) * g
        return h, (h,)


@keras.saving.register_keras_serializable("forecast_kit")
class GRUResetBeforeCell(Cell):
    """Gated recurrent unit, the reset gate applied to the state before the product.

        z = s(x Wz + h Uz + bz)                what is kept
        r = s(x Wr + h Ur + br)                what the candidate sees
        g = tanh(x Wg + (r * h) Ug + bg)       the candidate
        h' = z * h + (1 - z) * g

    Weights as in `keras.layers.GRUCell(reset_after=False)`, columns in the order z, r, g:
    `kernel [F, 3U]`, `recurrent_kernel [U, 3U]`, `bias [3U]`. State: `h [B, U]`. Two products a step, the
    second of which waits for the first, where `GRUCell` has one.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder; article 000
    (3.2), which leaves out the candidate's equation.

    >>> cell = GRUResetBeforeCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 3 * u))
        self._matrix("recurrent_kernel", (u, 3 * u), recurrent=True)
        self._bias("bias", 3 * u)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        h, _ = _reset_before(p, h, w["recurrent_kernel"], gates=2, units=self.units)
        return h, (h,)


@keras.saving.register_keras_serializable("forecast_kit")
class OutputGatedGRUCell(Cell):
    """Gated recurrent unit whose output is gated once more; the state is not.

        z = s(x Wz + h Uz + bz)                what is kept
        r = s(x Wr + h Ur + br)                what the candidate sees
        o = s(x Wo + h Uo + bo)                what is read
        g = tanh(x Wg + (r * h) Ug + bg)       the candidate
        h' = z * h + (1 - z) * g
        y = o * tanh(h')

    Weights, columns in the order z, r, o, g: `kernel [F, 4U]`, `recurrent_kernel [U, 4U]`, `bias [4U]`.
    State: `h [B, U]`; the output is `y`.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: article 000 (3.2), which calls `z` the reset gate and `r` the update gate but uses `z` to
    update; the rest is of Cho et al. (2014), see `GRUResetBeforeCell`.

    >>> cell = OutputGatedGRUCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 4 * u))
        self._matrix("recurrent_kernel", (u, 4 * u), recurrent=True)
        self._bias("bias", 4 * u)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        h, (o,) = _reset_before(p, h, w["recurrent_kernel"], gates=3, units=self.units)
        return o * ops.tanh(h), (h,)


@keras.saving.register_keras_serializable("forecast_kit")
class InputGatedGRUCell(Cell):
    """Gated recurrent unit whose gates see the input alone; the output is the squashed state.

        u = s(x Wu + bu)                       what is renewed
        r = s(x Wr + br)                       what the candidate sees
        g = s(x Wg + (r * h) U + bg)           the candidate, a sigmoid
        h' = (1 - u) * h + u * g
        y = tanh(h')

    Weights, columns in the order u, r, g: `kernel [F, 3U]`, `recurrent_kernel [U, U]`, of the candidate,
    `bias [3U]`. State: `h [B, U]`; the output is `y`. From a state of zeros, both stay between 0 and 1.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: article 001 (2.3), which calls the state M and the output h; a variant of Cho et al. (2014),
    whose gates see the state too.

    >>> cell = InputGatedGRUCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 3 * u))
        self._matrix("recurrent_kernel", (u, u), recurrent=True)
        self._bias("bias", 3 * u)

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`; the gates are complete here, for they do not depend on the state."""
        p = matmul(x, w["kernel"]) + w["bias"]
        gates = 2 * self.units
        return ops.concatenate([ops.sigmoid(p[..., :gates]), p[..., gates:]], axis=-1)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        u, r, q = ops.split(p, 3, axis=-1)
        g = ops.sigmoid(q + matmul(r * h, w["recurrent_kernel"]))
        h = (1.0 - u) * h + u * g
        return ops.tanh(h), (h,)


def _reset_before(p: Any, h: Any, kernel: Any, *, gates: int, units: int) -> tuple[Any, list[Any]]:
    """The new state `[B, U]`, and the gates after z and r. Columns of `p` and `kernel`: z, r, other gates, g."""
    n = gates * units
    z, r, *others = ops.split(ops.sigmoid(p[:, :n] + matmul(h, kernel[:, :n])), gates, axis=-1)
    g = ops.tanh(p[:, n:] + matmul(r * h, kernel[:, n:]))
    return z * h + (1.0 - z) * g, others
