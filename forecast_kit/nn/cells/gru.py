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
    biases of `z` flipped.

    Args:
        units: width of the state, U.
        kwargs: initialisers, see `Cell`.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder, in the form
    that cuDNN computes.

    >>> cell = GRUCell(3)
    >>> keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape
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
