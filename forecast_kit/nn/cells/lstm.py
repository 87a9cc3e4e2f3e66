"""Cells with a separate memory, the cell state, that gates write, keep and read."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from forecast_kit.nn.cells.base import Cell, States, Weights, matmul, open_forget_gate


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
    `recurrent_kernel [U, 4U]`, `bias [4U]`. States: `h [B, U]`, `c [B, U]`. For weights in the articles'
    notations see `forecast_kit.nn.cells.articles`.

    Args:
        units: width of the state, U.
        unit_forget_bias: whether the bias of `f` begins at 1 (Jozefowicz et al. 2015).
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: Hochreiter and Schmidhuber (1997), Long Short-Term Memory; the forget gate is of Gers,
    Schmidhuber and Cummins (2000). Articles 000 (3.1), 001 (2.2), 003 (4.2) and 004 (3.3.1).

    >>> cell = LSTMCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
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
        self._bias("bias", 4 * u, open_forget_gate(self) if self.unit_forget_bias else None)

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


@keras.saving.register_keras_serializable("forecast_kit")
class PeepholeLSTMCell(Cell):
    """Long short-term memory whose gates see the cell state.

        i = s(x Wi + h Ui + c * pi + bi)       what is written
        f = s(x Wf + h Uf + c * pf + bf)       what is kept
        g = tanh(x Wg + h Ug + bg)             the candidate
        c' = f * c + i * g
        o = s(x Wo + h Uo + c' * po + bo)      what is read, which depends on the new cell state
        h' = o * tanh(c')

    With `diagonal=False` a gate sees every unit's cell state, `c Pi` instead of `c * pi`. With
    `gated_candidate=True` the forget gate also decides what the candidate sees of the output,
    `g = tanh(x Wg + f * (h Ug) + bg)`. Article 002 has both.

    Weights, columns in the order i, f, g, o: `kernel [F, 4U]`, `recurrent_kernel [U, 4U]`, `bias [4U]`,
    as in `LSTMCell`; then, in the order i, f, o, `peephole [3U]` or, if not diagonal,
    `peephole_kernel [U, 3U]`. States: `h [B, U]`, `c [B, U]`. The peepholes begin at 0: before training
    the cell is an `LSTMCell`, but for the gate of the candidate.

    Args:
        units: width of the state, U.
        diagonal: whether a unit's gates see that unit's cell state alone.
        gated_candidate: whether the candidate's recurrent term is gated by `f`.
        unit_forget_bias: whether the bias of `f` begins at 1.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.

    Source: Gers and Schmidhuber (2000), Recurrent Nets that Time and Count, where peepholes are
    diagonal; article 002 (3.1), where they are matrices.

    >>> cell = PeepholeLSTMCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    carries = ("hidden", "cell")

    def __init__(
        self,
        units: int,
        *,
        diagonal: bool = True,
        gated_candidate: bool = False,
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.diagonal = diagonal
        self.gated_candidate = gated_candidate
        self.unit_forget_bias = unit_forget_bias

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 4 * u))
        self._matrix("recurrent_kernel", (u, 4 * u), recurrent=True)
        self._bias("bias", 4 * u, open_forget_gate(self) if self.unit_forget_bias else None)
        if self.diagonal:
            self.peephole = self.add_weight(name="peephole", shape=(3 * u,), initializer="zeros")
        else:
            self.peephole_kernel = self.add_weight(name="peephole_kernel", shape=(u, 3 * u), initializer="zeros")

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        h, c = states
        u = self.units
        q = matmul(h, w["recurrent_kernel"])  # [B, 4U]
        i, f = ops.split(ops.sigmoid(p[:, : 2 * u] + q[:, : 2 * u] + self._peep(c, w, 0, 2)), 2, axis=-1)
        recalled = q[:, 2 * u : 3 * u]
        g = ops.tanh(p[:, 2 * u : 3 * u] + (f * recalled if self.gated_candidate else recalled))
        c = f * c + i * g
        o = ops.sigmoid(p[:, 3 * u :] + q[:, 3 * u :] + self._peep(c, w, 2, 3))
        h = o * ops.tanh(c)
        return h, (h, c)

    def _peep(self, c: Any, w: Weights, first: int, stop: int) -> Any:
        """What the gates from `first` to before `stop`, of i, f, o, see of the cell state: `[B, gates * U]`."""
        u = self.units
        if self.diagonal:
            return ops.tile(c, (1, stop - first)) * w["peephole"][first * u : stop * u]
        return matmul(c, w["peephole_kernel"][:, first * u : stop * u])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {name: getattr(self, name) for name in ("diagonal", "gated_candidate", "unit_forget_bias")}
        return {**super().get_config(), **own}
