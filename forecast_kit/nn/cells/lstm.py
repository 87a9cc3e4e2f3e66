"""Cells with a separate memory, the cell state, that gates write, keep and read."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from forecast_kit.nn.cells.base import Cell, States, Weights, matmul


@keras.saving.register_keras_serializable("forecast_kit")
class LSTMCell(Cell):
    """Long short-term memory.

        i = s(x Wi + h Ui + bi)        what is written
        f = s(x Wf + h Uf + bf)        what is kept
        g = tanh(x Wg + h Ug + bg)     the candidate
        o = s(x Wo + h Uo + bo)        what is read
        c' = f * c + i * g
        h' = o * tanh(c')

    Weights as in `keras.layers.LSTMCell`, columns in the order i, f, g, o: `kernel [F, 4U]`,
    `recurrent_kernel [U, 4U]`, `bias [4U]`. States: `h [B, U]`, `c [B, U]`.

    Args:
        units: width of the state, U.
        unit_forget_bias: whether the bias of `f` begins at 1 (Jozefowicz et al. 2015).
        kwargs: initialisers, see `Cell`.

    Source: Hochreiter and Schmidhuber (1997), Long Short-Term Memory; the forget gate is of Gers,
    Schmidhuber and Cummins (2000).

    >>> cell = LSTMCell(3)
    >>> keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape
    (2, 3)
    """

    carries = ("hidden", "cell")

    def __init__(self, units: int, *, unit_forget_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 4 * u))
        self._matrix("recurrent_kernel", (u, 4 * u), recurrent=True)
        self._bias("bias", 4 * u, self._start_open if self.unit_forget_bias else None)

    def _start_open(self, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
        u = self.units
        rest = self.bias_initializer((3 * u,), *args, **kwargs)
        return ops.concatenate([rest[:u], ops.ones((u,), dtype=rest.dtype), rest[u:]])

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`."""
        return matmul(x, w["kernel"]) + w["bias"]

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        h, c = states
        i, f, g, o = ops.split(p + matmul(h, w["recurrent_kernel"]), 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, (h, c)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}
