"""From a cell to a layer over whole sequences, on the quickest path that cell, backend and device have."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn import routes
from forecast_kit.nn.cells.base import Cell


def recurrent(
    cell: Cell,
    *,
    return_sequences: bool = False,
    return_state: bool = False,
    go_backwards: bool = False,
    dilation: int = 1,
    route: routes.Name = "auto",
    name: str | None = None,
) -> Recurrence:
    """The layer that runs the cell over a sequence, `[B, T, F]` -> `[B, U]`; its arguments are those of `Recurrence`.

    Raises:
        ArgumentError: see `Recurrence`.

    >>> from forecast_kit.nn.cells.lstm import LSTMCell
    >>> tuple(recurrent(LSTMCell(8), return_sequences=True)(ops.ones((2, 5, 3))).shape)
    (2, 5, 8)
    """
    return Recurrence(
        cell, return_sequences=return_sequences, return_state=return_state, go_backwards=go_backwards,
        dilation=dilation, route=route, name=name,
    )  # fmt: skip


def bidirectional(cell: Cell, *, merge_mode: str | None = "concat", **kwargs: Any) -> keras.layers.Layer:
    """A layer that runs the cell forwards and a copy of it backwards, and joins the outputs.

    Args:
        cell: for the forward direction; the copy has weights of its own.
        merge_mode: `"concat"`, `"sum"`, `"mul"`, `"ave"`, or None for both outputs.
        kwargs: see `recurrent`.

    Raises:
        ArgumentError: see `Recurrence`.
        ValueError: from Keras, the merge mode is unknown.

    Source: Schuster and Paliwal (1997), Bidirectional Recurrent Neural Networks.

    >>> from forecast_kit.nn.cells.gru import GRUCell
    >>> tuple(bidirectional(GRUCell(8))(ops.ones((2, 5, 3))).shape)
    (2, 16)
    """
    return keras.layers.Bidirectional(recurrent(cell, **kwargs), merge_mode=merge_mode)


@keras.saving.register_keras_serializable("forecast_kit")
class Recurrence(keras.layers.Layer):
    """A cell over all steps of a sequence.

    The part of every step that depends on the input alone is computed for all steps at once, in one
    product. States are carried in `float32` whatever the compute dtype, unlike in `keras.layers.RNN`.
    A sequence may be fed in pieces: the states that one call returns, given to the next as
    `initial_state`, carry on as if there had been no cut. There are no masks: what was not observed
    is an input of its own.

    Args:
        cell: any `Cell`.
        return_sequences: whether the output of every step comes back, `[B, T, U]`, or the last one, `[B, U]`.
        return_state: whether the final states come back too, behind the output.
        go_backwards: whether the sequence is read from its end; outputs are in the order of reading.
        dilation: steps between a state and the one that it comes from, d: d interleaved sequences are
            run side by side. T must be a multiple of d; with `return_state` d must be 1.
        route: how the sequence is run. `"auto"` is the quickest for cell, backend, device and dtype, one of:
            `"scan"`, the loop of the backend, which runs everything;
            `"kernel"`, TensorFlow on a CPU in full precision, T known: loops compiled by XLA with gradients of
            their own, parts of the batch side by side. Inside a model that is compiled as a whole the parts
            run one after another, so `model.compile(jit_compile=False)`;
            `"associative"`, all steps of a linear recurrence (`MinGRUCell`, `MinLSTMCell`) in parallel;
            `"native"`, what the backend has for LSTM and GRU: cuDNN on a GPU.

    Call: sequence `[B, T, F]`, initial_state (a list of `[B, S]`), training.

    Raises:
        ArgumentError: an argument is out of range or does not fit the others.

    Source of the dilation: Chang et al. (2017), Dilated Recurrent Neural Networks.

    >>> from forecast_kit.nn.cells.gru import GRUCell
    >>> layer = Recurrence(GRUCell(8), return_state=True)
    >>> x = keras.random.normal((2, 6, 3), seed=0)
    >>> whole, state = layer(x)
    >>> _, state = layer(x[:, :4])  # the same sequence in two pieces
    >>> pieces, state = layer(x[:, 4:], initial_state=[state])
    >>> tuple(pieces.shape), bool(ops.all(ops.abs(pieces - whole) < 1e-5))
    ((2, 8), True)
    """

    def __init__(
        self,
        cell: Cell,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        dilation: int = 1,
        route: routes.Name = "auto",
        **kwargs: Any,
    ) -> None:
        if not isinstance(cell, Cell):
            raise ArgumentError(f"recurrent takes a Cell of forecast_kit, got {type(cell).__name__}; use "
                                f"keras.layers.RNN for other cells")  # fmt: skip
        super().__init__(autocast=False, **{"dtype": cell.dtype_policy, **kwargs})
        if dilation < 1 or (dilation > 1 and return_state):
            raise ArgumentError(f"dilation must be at least 1, and 1 where states are returned; got {dilation}")
        if route not in routes.NAMES:
            raise ArgumentError(f"route must be one of {', '.join(routes.NAMES)}; got {route!r}")
        self.cell = cell
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.dilation, self.route = dilation, route
        self.supports_jit = routes.compiles(route, cell)
        self.stateful = False  # keras.layers.Bidirectional asks

    def build(self, sequence_shape: tuple[int | None, ...], initial_state_shape: Any = None) -> None:
        """Creates the cell's weights."""
        if not self.cell.built:
            self.cell.build((sequence_shape[0], sequence_shape[-1]))
            self.cell.built = True

    def call(self, sequence: Any, initial_state: Any = None, training: bool = False) -> Any:
        """The last output or all of them, and the final states where asked."""
        x = ops.cast(sequence, self.compute_dtype)
        if self.go_backwards:
            x = ops.flip(x, axis=1)
        if self.dilation > 1:
            x = self._interleave(x)
        if initial_state is None:
            states = self.cell.begin(ops.shape(x)[0], training=training)
        else:
            states = tuple(ops.cast(state, self.cell.carry_dtype) for state in self._given(initial_state))
        wanted = routes.Wanted(training, every=self.return_sequences or self.dilation > 1)
        output, states = routes.route_of(self.route, self.cell, x)(self.cell, x, states, wanted)
        if self.dilation > 1:
            output = self._restore(output)
        result = ops.cast(output, self.compute_dtype)
        return [result, *states] if self.return_state else result

    def _interleave(self, x: Any) -> Any:
        """`[B, T, F]` as `[B d, T / d, F]`: every d-th step is a sequence of its own."""
        d, (length, features) = self.dilation, x.shape[1:]
        if length is None or length % d:
            raise ArgumentError(
                f"with dilation={d} the sequence must have a multiple of {d} steps, got {length}; pad it"
            )
        x = ops.reshape(x, (-1, length // d, d, features))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, length // d, features))

    def _restore(self, outputs: Any) -> Any:
        """Outputs `[B d, T / d, U]` as `[B, T, U]`, or the last of them."""
        d, (steps, units) = self.dilation, outputs.shape[1:]
        outputs = ops.reshape(outputs, (-1, d, steps, units))
        if not self.return_sequences:
            return outputs[:, -1, -1]
        return ops.reshape(ops.transpose(outputs, (0, 2, 1, 3)), (-1, steps * d, units))

    def _given(self, initial_state: Any) -> list[Any]:
        states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
        if len(states) != len(self.cell.state_sizes):
            raise ArgumentError(f"{type(self.cell).__name__} has {len(self.cell.state_sizes)} states, "
                                f"initial_state has {len(states)}")  # fmt: skip
        return states

    def compute_output_shape(self, sequence_shape: tuple[Any, ...], initial_state_shape: Any = None) -> Any:
        """Shapes of the output, and of the states where they are asked for."""
        batch, length, _ = sequence_shape
        output = (batch, length, self.cell.units) if self.return_sequences else (batch, self.cell.units)
        states = [(batch, size) for size in self.cell.state_sizes]
        return [output, *states] if self.return_state else output

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {name: getattr(self, name) for name in ("return_sequences", "return_state", "go_backwards", "dilation",
                                                      "route")}  # fmt: skip
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Recurrence:
        """The layer that `get_config` describes."""
        return cls(keras.saving.deserialize_keras_object(config.pop("cell")), **config)
