"""Cells without gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from forecast_kit.nn.cells.base import Cell, States, Weights, activation_of, matmul


@keras.saving.register_keras_serializable("forecast_kit")
class ElmanCell(Cell):
    """Simple recurrent network: the state is a squashed sum of the input and of the state before.

        h' = a(x W + h U + b)

    Weights as in `keras.layers.SimpleRNNCell`: `kernel [F, U]`, `recurrent_kernel [U, U]`, `bias [U]`.
    State: `h [B, U]`. The read-out that the articles add, `y = a(h' V + c)`, is a `keras.layers.Dense`
    on the output.

    Args:
        units: width of the state, U.
        activation: a, by name or as a function: `"tanh"` in article 004, `"sigmoid"` in article 003. A
            function of your own must be registered with Keras, or saved models cannot be loaded.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: Keras knows no activation of that name, or `units` is no whole number of at least 1.

    Source: Elman (1990), Finding Structure in Time; articles 004 (3.2.1, tanh) and 003 (4.1, sigmoid).

    >>> cell = ElmanCell(3, activation="sigmoid")
    >>> tuple(keras.layers.RNN(cell)(keras.ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def __init__(self, units: int, *, activation: str | Callable[..., Any] = "tanh", **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.activation = activation_of(activation)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), u))
        self._matrix("recurrent_kernel", (u, u), recurrent=True)
        self._bias("bias", u)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        h = self.activation(p + matmul(h, w["recurrent_kernel"]))
        return h, (h,)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
