"""From a cell to a layer over whole sequences, on the quickest path that cell, backend and device have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn import routes
from forecast_kit.nn.cells.base import Cell, States, with_dtype_of

Shape = Sequence[int | None]


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


def bidirectional(
    cell: Cell, *, merge_mode: str | None = "concat", name: str | None = None, **kwargs: Any
) -> keras.layers.Layer:
    """A layer that runs the cell forwards and a copy of it backwards, and joins the outputs.

    Args:
        cell: for the forward direction; the copy has weights of its own.
        merge_mode: `"concat"`, `"sum"`, `"mul"`, `"ave"`, or None for both outputs.
        name: of the layer.
        kwargs: see `recurrent`. Final states, and those that `initial_state` gives, are the forward ones, then
            the backward ones.

    Raises:
        ArgumentError: `go_backwards` was given, or see `Recurrence`.
        ValueError: from Keras, the merge mode is unknown.

    Source: Schuster and Paliwal (1997), Bidirectional Recurrent Neural Networks.

    >>> from forecast_kit.nn.cells.gru import GRUCell
    >>> tuple(bidirectional(GRUCell(8))(ops.ones((2, 5, 3))).shape)
    (2, 16)
    """
    if "go_backwards" in kwargs:
        raise ArgumentError("bidirectional reads both ways by itself; leave go_backwards out")
    layer = recurrent(cell, **kwargs)
    return keras.layers.Bidirectional(layer, merge_mode=merge_mode, name=name, dtype=layer.dtype_policy)


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
            run side by side. T must be a multiple of d; with `return_state` or `initial_state` d must be 1.
        route: how the sequence is run. `"auto"` is the quickest for cell, backend, device and dtype, one of:
            `"scan"`, the loop of the backend, which runs everything;
            `"kernel"`, TensorFlow on a CPU in full precision, T known: loops compiled by XLA with gradients of
            their own, parts of the batch side by side. Inside a model that is compiled as a whole the parts
            run one after another, so `model.compile(jit_compile=False)`;
            `"associative"`, all steps of a linear recurrence (`MinGRUCell`, `MinLSTMCell`) in parallel;
            `"native"`, what the backend has for LSTM and GRU: cuDNN on a GPU.
        kwargs: name and trainable, see `keras.layers.Layer`. The dtype is the cell's: `LSTMCell(8, dtype="float64")`.

    Call: sequence `[B, T, F]`, initial_state (a list of `[B, S]`, as many as `cell.state_sizes`; those that are
    drawn, as a dropout mask is, may be left out), training. Returns the output, or with `return_state` a tuple of it
    and the states.

    Raises:
        ArgumentError: an argument is out of range or does not fit the others; at build or call, F is not known, T is
            0 or no multiple of the dilation, the states do not fit the cell, or what its `step` returns does not.
        ValueError: from Keras, the sequence is not `[B, T, F]`, or F is another than at build.

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
        super().__init__(autocast=False, **with_dtype_of(cell, "Recurrence", kwargs))
        if dilation < 1 or (dilation > 1 and return_state):
            raise ArgumentError(f"dilation must be at least 1, and 1 where states are returned; got {dilation}")
        if route not in routes.NAMES:
            raise ArgumentError(f"route must be one of {', '.join(routes.NAMES)}; got {route!r}")
        self.cell = cell
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.dilation, self.route = dilation, route
        self.supports_jit = routes.compiles(route, cell)
        self.stateful, self.states = False, None  # keras.layers.Bidirectional asks
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def build(self, sequence_shape: tuple[int | None, ...], initial_state_shape: Any = None) -> None:
        """Creates the cell's weights, and tries its step on shapes alone."""
        features = sequence_shape[-1]
        if features is None:
            raise ArgumentError(f"the number of features must be known where the weights are created, got a sequence "
                                f"of shape {tuple(sequence_shape)}; state it, e.g. keras.Input((24, 3))")  # fmt: skip
        if not self.cell.built:
            self.cell.build((sequence_shape[0], features))
            self.cell.built = True
        _try_step(self.cell, features)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: features})

    def call(self, sequence: Any, initial_state: Any = None, training: bool = False) -> Any:
        """The last output or all of them, and the final states where asked."""
        given = _as_list(initial_state)
        self._check(sequence.shape, None if given is None else [state.shape for state in given])
        x = ops.cast(sequence, self.compute_dtype)
        if self.go_backwards:
            x = ops.flip(x, axis=1)
        if self.dilation > 1:
            x = self._interleave(x)
        states = self._start(given, ops.shape(x)[0], training=training)
        wanted = routes.Wanted(training, every=self.return_sequences or self.dilation > 1)
        output, states = routes.route_of(self.route, self.cell, x)(self.cell, x, states, wanted)
        if self.dilation > 1:
            output = self._restore(output)
        result = ops.cast(output, self.compute_dtype)
        return (result, *states) if self.return_state else result

    def _check(self, sequence: Shape, given: list[Shape] | None) -> None:
        """Refuses shapes that do not fit, as far as they are known."""
        batch, length, _ = sequence
        if length == 0:
            raise ArgumentError(f"the sequence must have at least one step, got shape {tuple(sequence)}")
        if length is not None and length % self.dilation:
            raise self._odd(length)
        if given is None:
            return
        if self.dilation > 1:
            raise ArgumentError(f"initial_state goes with dilation=1, got {self.dilation}: d interleaved sequences "
                                f"would need states of their own each")  # fmt: skip
        cell, sizes, drawn = type(self.cell).__name__, self.cell.state_sizes, self.cell.drawn
        if len(given) not in (len(sizes), drawn.count(False)):
            may = f", {sum(drawn)} of them drawn, which may be left out" if any(drawn) else ""
            raise ArgumentError(f"{cell} has {len(sizes)} states{may}; initial_state has {len(given)}")
        wanted = [size for size, own in zip(sizes, drawn, strict=True) if len(given) == len(sizes) or not own]
        for k, (shape, size) in enumerate(zip(given, wanted, strict=True)):
            if len(shape) != 2 or not all(map(_agree, shape, (batch, size))):
                expected = f"[{'B' if batch is None else batch}, {size}]"
                raise ArgumentError(f"initial_state[{k}] of {cell} must be {expected}, got shape {tuple(shape)}")

    def _odd(self, length: int | None) -> ArgumentError:
        d = self.dilation
        return ArgumentError(f"with dilation={d} the sequence must have a multiple of {d} steps, got {length}; pad it")

    def _start(self, given: list[Any] | None, batch: Any, *, training: bool) -> States:
        """The states to begin with: given ones, the cell's own where there are none."""
        if given is None:
            return self.cell.begin(batch, training=training)
        states = tuple(ops.cast(state, self.cell.carry_dtype) for state in given)
        if len(states) < len(self.cell.state_sizes):
            left, own = iter(states), self.cell.begin(batch, training=training)
            return tuple(mine if drawn else next(left) for mine, drawn in zip(own, self.cell.drawn, strict=True))
        return states if training else self.cell.settle(states)

    def _interleave(self, x: Any) -> Any:
        """`[B, T, F]` as `[B d, T / d, F]`: every d-th step is a sequence of its own."""
        d, (length, features) = self.dilation, x.shape[1:]
        if length is None:
            raise self._odd(length)
        x = ops.reshape(x, (-1, length // d, d, features))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, length // d, features))

    def _restore(self, outputs: Any) -> Any:
        """Outputs `[B d, T / d, U]` as `[B, T, U]`, or the last of them."""
        d, (steps, units) = self.dilation, outputs.shape[1:]
        outputs = ops.reshape(outputs, (-1, d, steps, units))
        if not self.return_sequences:
            return outputs[:, -1, -1]
        return ops.reshape(ops.transpose(outputs, (0, 2, 1, 3)), (-1, steps * d, units))

    def compute_output_shape(self, sequence_shape: tuple[Any, ...], initial_state_shape: Any = None) -> Any:
        """Shapes of the output, and of the states where they are asked for."""
        given = _as_list(initial_state_shape)  # of one state alone, the shape itself
        self._check(sequence_shape, [given] if given and not isinstance(given[0], list | tuple) else given)
        batch, length, _ = sequence_shape
        output = (batch, length, self.cell.units) if self.return_sequences else (batch, self.cell.units)
        return (output, *((batch, size) for size in self.cell.state_sizes)) if self.return_state else output

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {name: getattr(self, name) for name in ("return_sequences", "return_state", "go_backwards", "dilation",
                                                      "route")}  # fmt: skip
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Recurrence:
        """The layer that `get_config` describes."""
        return cls(keras.saving.deserialize_keras_object(config.pop("cell")), **config)


def _as_list(states: Any) -> list[Any] | None:
    """States, or their shapes, as a list; None for None."""
    if states is None:
        return None
    return list(states) if isinstance(states, list | tuple) else [states]


def _agree(one: int | None, other: int | None) -> bool:
    """Whether two sizes may be the same; None is one that is not known."""
    return one is None or other is None or one == other


def _try_step(cell: Cell, features: int) -> None:
    """Has the cell check what its step returns, on shapes alone: in a compiled loop the complaint is hard to read."""
    from keras.src import backend  # the public way wraps the error into several lines of its own

    states = [keras.KerasTensor((2, size), cell.carry_dtype) for size in cell.state_sizes]
    backend.compute_output_spec(cell.call, keras.KerasTensor((2, features), cell.compute_dtype), states)
