"""A cell that reads what it said of the step before."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from forecast_kit.errors import check_whole
from forecast_kit.nn.cells.base import Cell, States, Weights, matmul
from forecast_kit.nn.cells.wrappers import _Wrapper

_INNER = "cell."  # in front of the names of the inner cell's weights


@keras.saving.register_keras_serializable("forecast_kit")
class Feedback(_Wrapper):
    """A cell with a dense read-out that is joined to the input of the next step.

        h_t, s_t = cell([y_(t-1); x_t], s_(t-1))
        y_t = h_t V + c

    The output is `y`. It runs free in training as in forecasting: what it is trained on are its own
    outputs, and gradients pass through all of them, so it meets nothing later that it has not learned on.

    Weights: those of the inner cell, whose input is wider by N, `read_kernel [U, N]` and `read_bias [N]`.
    States: the inner cell's, and `y [B, N]`, which a sequence begins with as zeros unless it is given.

    Args:
        cell: the inner cell, U units wide.
        outputs: width of the read-out, N.
        return_hidden: whether the inner cell's output comes back too, behind the read-out, `[B, N + U]`.
        kernel_initializer: of V.

    Raises:
        ArgumentError: `outputs` is out of range, or there is no cell.

    Source: Jordan (1986), Serial Order; as a decoder, Cho et al. (2014), Learning Phrase Representations
    using RNN Encoder-Decoder, section 2.2, with the decoder's own outputs in training too.

    >>> from forecast_kit.nn.cells.gru import GRUCell
    >>> tuple(keras.layers.RNN(Feedback(GRUCell(8), 2), return_sequences=True)(ops.ones((3, 5, 4))).shape)
    (3, 5, 2)
    """

    def __init__(
        self,
        cell: Cell,
        outputs: int,
        *,
        return_hidden: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(cell, **kwargs)
        check_whole("outputs", outputs)
        self.outputs, self.return_hidden = outputs, return_hidden
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.units = self.output_size = outputs + (cell.units if return_hidden else 0)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The inner cell's, and the read-out's."""
        return (*super().state_sizes, self.outputs)

    @property
    def drawn(self) -> tuple[bool, ...]:
        """The inner cell's, and no for the read-out."""
        return (*super().drawn, False)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the read-out, and builds the inner cell on what it reads."""
        super().build((*input_shape[:-1], int(input_shape[-1] or 0) + self.outputs))
        self._matrix("read_kernel", (self.cell.units, self.outputs))
        self._bias("read_bias", self.outputs)

    def project(self, x: Any, w: Weights) -> Any:
        """The input as it is: that of the inner cell is known only when the step before is done."""
        return x

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        *own, y = states
        inner = {name.removeprefix(_INNER): weight for name, weight in w.items() if name.startswith(_INNER)}
        features = p.shape[-1] - self.noise_size
        joined = ops.concatenate([ops.cast(y, p.dtype), p[:, :features]], axis=-1)
        given = self.cell.project(ops.cast(joined, self.compute_dtype), inner)
        if self.noise_size:
            given = ops.concatenate([given, ops.cast(p[:, features:], given.dtype)], axis=-1)
        h, after = self.cell.step(given, tuple(own), inner)
        y = matmul(h, w["read_kernel"]) + w["read_bias"]
        return ops.concatenate([y, h], axis=-1) if self.return_hidden else y, (*after, y)

    def tensors(self) -> dict[str, Any]:
        """See `Cell`; the inner cell's weights with `cell.` in front of their names."""
        inner = {_INNER + name: tensor for name, tensor in self.cell.tensors().items()}
        bias = ops.cast(self.read_bias, self.carry_dtype)
        return {**inner, "read_kernel": ops.cast(self.read_kernel, self.compute_dtype), "read_bias": bias}

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """The inner cell's, and zeros."""
        return [*super().get_initial_state(batch_size), self._nothing_said(batch_size)]

    def begin(self, batch_size: Any, *, training: bool) -> States:
        """See `Cell`."""
        return (*super().begin(batch_size, training=training), self._nothing_said(batch_size))

    def settle(self, states: States) -> States:
        """See `Cell`."""
        return (*super().settle(states[:-1]), states[-1])

    def _nothing_said(self, batch_size: Any) -> Any:
        return ops.zeros((batch_size, self.outputs), dtype=self.carry_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"outputs": self.outputs, "return_hidden": self.return_hidden}
        return {**super().get_config(), **own, "kernel_initializer": keras.initializers.serialize(
            self.kernel_initializer)}  # fmt: skip
