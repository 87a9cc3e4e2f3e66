"""Cells with fewer gates: those that look at the input alone, and the minimal gated unit."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from forecast_kit.nn.cells.base import Cell, States, Weights, matmul


@keras.saving.register_keras_serializable("forecast_kit")
class MinGRUCell(Cell):
    """GRU whose gate and candidate see the input alone: a recurrence linear in its state.

        z = s(x Wz + bz)                what is written
        g = x Wg + bg                   the candidate, without an activation
        h' = (1 - z) * h + z * g

    Weights, columns in the order z, g: `kernel [F, 2U]`, `bias [2U]`. State: `h [B, U]`. As in the paper,
    and unlike in `GRUCell`, `z` weighs the candidate. `recurrent_initializer` is not used.

    `linear` gives the recurrence `h' = a * h + b`, whose `a` and `b` are known for all time steps before
    the first is taken. A single layer cannot react to its state, so stack two or more.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: Feng et al. (2024), Were RNNs All We Needed?, arXiv 2410.01201, section 3.1.

    >>> cell = MinGRUCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        self._matrix("kernel", (int(input_shape[-1] or 0), 2 * self.units))
        self._bias("bias", 2 * self.units)

    @staticmethod
    def linear(p: Any) -> tuple[Any, Any]:
        """`a, b` of `h' = a * h + b`, each `[..., U]`, from the projected input `[..., 2U]` of one step or of all."""
        z, g = ops.split(p, 2, axis=-1)
        # s(-z) rather than 1 - s(z), which is 0 as soon as s(z) rounds to 1
        return ops.sigmoid(-z), ops.sigmoid(z) * g

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        a, b = self.linear(p)
        h = a * h + b
        return h, (h,)


@keras.saving.register_keras_serializable("forecast_kit")
class MinLSTMCell(Cell):
    """LSTM whose gates and candidate see the input alone, the gates normalised to add up to 1.

        i = s(x Wi + bi)
        f = s(x Wf + bf)
        g = x Wg + bg                                   the candidate, without an activation
        h' = f / (f + i) * h + i / (f + i) * g

    Weights, columns in the order i, f, g: `kernel [F, 3U]`, `bias [3U]`. State: `h [B, U]`; there is no
    cell state and no output gate. `recurrent_initializer` is not used.

    `linear` gives the recurrence `h' = a * h + b`, as for `MinGRUCell`.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: Feng et al. (2024), Were RNNs All We Needed?, arXiv 2410.01201, section 3.2.

    >>> cell = MinLSTMCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        self._matrix("kernel", (int(input_shape[-1] or 0), 3 * self.units))
        self._bias("bias", 3 * self.units)

    @staticmethod
    def linear(p: Any) -> tuple[Any, Any]:
        """`a, b` of `h' = a * h + b`, each `[..., U]`, from the projected input `[..., 3U]` of one step or of all."""
        i, f, g = ops.split(p, 3, axis=-1)
        # s(f) / (s(f) + s(i)) = (1 + e^-i) / (1 + e^-i + 1 + e^-f), both sides times e^low so that nothing
        # overflows, and the denominator is at least 1 where both gates round to 0.
        low = ops.stop_gradient(ops.minimum(ops.minimum(f, i), 0.0))
        keep, write = ops.exp(low) + ops.exp(low - i), ops.exp(low) + ops.exp(low - f)
        return keep / (keep + write), write / (keep + write) * g

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        a, b = self.linear(p)
        h = a * h + b
        return h, (h,)


@keras.saving.register_keras_serializable("forecast_kit")
class MGUCell(Cell):
    """Minimal gated unit: one gate both forgets and resets.

        f = s(x Wf + h Uf + bf)
        g = tanh(x Wg + (f * h) Ug + bg)       the candidate
        h' = (1 - f) * h + f * g

    Weights, columns in the order f, g: `kernel [F, 2U]`, `recurrent_kernel [U, 2U]`, `bias [2U]`. State:
    `h [B, U]`. As in the paper, `f` weighs the candidate.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: Zhou, Wu, Zhang and Zhou (2016), Minimal Gated Unit for Recurrent Neural Networks, section 3.

    >>> cell = MGUCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 2 * u))
        self._matrix("recurrent_kernel", (u, 2 * u), recurrent=True)
        self._bias("bias", 2 * u)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        u = self.units
        recurrent = w["recurrent_kernel"]
        f = ops.sigmoid(p[:, :u] + matmul(h, recurrent[:, :u]))
        g = ops.tanh(p[:, u:] + matmul(f * h, recurrent[:, u:]))
        h = (1.0 - f) * h + f * g
        return h, (h,)
