"""What every recurrent cell is: a pure step, and a layer that holds its weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from forecast_kit.errors import ArgumentError, check_whole, nearest

Weights = Mapping[str, Any]  # tensors by the name of the weight
States = tuple[Any, ...]  # tensors, each [B, ...]


class Cell(keras.layers.Layer):
    """One step of a recurrence, `(x_t, state_(t-1)) -> (y_t, state_t)`, and its weights.

    Usable in `keras.layers.RNN`, and faster through `forecast_kit.nn.recurrent`. A subclass creates its
    weights in `build` and has two pure functions of tensors:

    - `project(x, w)`: what depends on the input alone, `x W + b` unless it is overridden. It takes one step
      `[B, F]` or all of them `[B, T, F]`, so that the whole sequence can be projected in one product;
    - `step(p, states, w)`: from the projected input of a step `[B, P]` and the states to the output and
      the new states.

    Both see the weights as `w`, a mapping by name. Under a mixed policy matrices are in the compute
    dtype, while states and everything that is added up stay in `float32`: a thousand steps in `float16`
    drift. `keras.layers.RNN` carries states in the compute dtype all the same.

    Args:
        units: width of the output, U.
        kernel_initializer, recurrent_initializer, bias_initializer: of the input matrices, of the
            matrices between states, and of the biases.
        kwargs: name, dtype and trainable, see `keras.layers.Layer`.

    Attributes:
        carries: what the states are, a word for each.

    Raises:
        ArgumentError: `units` is no whole number of at least 1.
        ValueError: Keras knows no such initialiser or argument.

    >>> from forecast_kit.nn.cells import ElmanCell
    >>> cell = ElmanCell(3)
    >>> output, states = cell(ops.ones((2, 4)), cell.get_initial_state(2))
    >>> tuple(output.shape), len(states), cell.state_size
    ((2, 3), 1, [3])
    """

    carries: ClassVar[tuple[str, ...]] = ("hidden",)  # what the states are, for messages and documentation

    def __init__(
        self,
        units: int,
        *,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        check_whole("units", units)
        self.units = units
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.output_size = units

    # ---- to be written by each cell

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of each state."""
        return (self.units,) * len(self.carries)

    def project(self, x: Any, w: Weights) -> Any:
        """`[..., P]` the part of the step that depends on the input `[..., F]` alone: `x W + b`, unless overridden."""
        return matmul(x, w["kernel"]) + w["bias"]

    @abstractmethod
    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """The output `[B, U]` and the new states, from the projected input `[B, P]` and the states."""

    # ---- what Keras and the door call

    @property
    def state_size(self) -> list[int]:
        """The width of each state, as Keras asks for it."""
        return list(self.state_sizes)

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """One step: the output `[B, U]`, in the compute dtype, and the new states, in the dtype they came in."""
        w = self.tensors()
        p = self.prepare(ops.cast(inputs, self.compute_dtype), w, training=training)
        before = tuple(ops.cast(state, "float32") if _is_low(state) else state for state in _tuple(states))
        before = before if training else self.settle(before)
        output, after = self._checked(self.step(p, before, w))
        returned = [ops.cast(new, old.dtype) for new, old in zip(after, _tuple(states), strict=True)]
        return ops.cast(output, self.compute_dtype), returned

    def prepare(self, x: Any, w: Weights, *, training: bool) -> Any:
        """`[..., P]` what `step` takes: the projected input `[..., F]`, then noise where it is drawn."""
        p = self.project(x, w)
        if not self.noise_size:
            return p
        return ops.concatenate([p, self.noise(tuple(ops.shape(p)[:-1]), training=training)], axis=-1)

    def _checked(self, returned: Any) -> tuple[Any, States]:
        """What `step` returned, once it is seen to fit `units` and `state_sizes`."""
        pair = isinstance(returned, list | tuple) and len(returned) == 2 and isinstance(returned[1], list | tuple)
        came, widths = [returned[0], *returned[1]] if pair else [], [self.units, *self.state_sizes]
        if len(came) != len(widths) or not all(map(_is_wide, came, widths)):
            output, states = _shape(self.units), ", ".join(map(_shape, self.state_sizes))
            got = f"{_told(returned[0])} and ({', '.join(map(_told, returned[1]))})" if pair else _told(returned)
            raise ArgumentError(f"{type(self).__name__}.step must return the output {output} and a tuple of the new "
                                f"states ({states}), one for each of `carries`; got {got}")  # fmt: skip
        return returned[0], tuple(returned[1])

    @property
    def drawn(self) -> tuple[bool, ...]:
        """Of each state whether it is drawn when a sequence begins, as a dropout mask is, and says nothing of it."""
        return (False,) * len(self.state_sizes)

    @property
    def noise_size(self) -> int:
        """How many random numbers a step takes."""
        return 0

    def noise(self, shape: tuple[Any, ...], *, training: bool) -> Any:
        """`[..., noise_size]` random numbers for steps of that shape."""
        return ops.zeros((*shape, 0), dtype=self.carry_dtype)

    def begin(self, batch_size: Any, *, training: bool) -> States:
        """The states before the first step of a sequence, `[B, S]` each."""
        return tuple(self.get_initial_state(batch_size))

    def settle(self, states: States) -> States:
        """The states as they are outside training."""
        return states

    def tensors(self) -> dict[str, Any]:
        """The weights by name: matrices in the compute dtype, biases in that of the variable."""
        return {
            weight.name: ops.cast(weight, self.compute_dtype if weight.name.endswith("kernel") else self.carry_dtype)
            for weight in self.weights
        }

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """Zeros `[B, S]` for each state, carried in `float32` or wider."""
        return [ops.zeros((batch_size, size), dtype=self.carry_dtype) for size in self.state_sizes]

    @property
    def carry_dtype(self) -> str:
        """The dtype of the states: that of the variables, which a mixed policy leaves at `float32`."""
        return str(self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        initializers = {
            name: keras.initializers.serialize(getattr(self, name))
            for name in ("kernel_initializer", "recurrent_initializer", "bias_initializer")
        }
        return {**super().get_config(), "units": self.units, **initializers}

    # ---- for build

    def _matrix(self, name: str, shape: tuple[int, ...], *, recurrent: bool = False) -> None:
        """A weight of that name; initialised as input matrices are, or as those between states."""
        initializer = self.recurrent_initializer if recurrent else self.kernel_initializer
        setattr(self, name, self.add_weight(name=name, shape=shape, initializer=initializer))

    def _bias(self, name: str, size: int, initializer: Any = None) -> None:
        """A vector of that name."""
        chosen = self.bias_initializer if initializer is None else initializer
        setattr(self, name, self.add_weight(name=name, shape=(size,), initializer=chosen))


def matmul(x: Any, kernel: Any) -> Any:
    """`x @ kernel`, the product in the kernel's dtype, the result in `float32` or wider."""
    if not _is_low(kernel):
        return ops.matmul(x, kernel)
    return ops.cast(ops.matmul(ops.cast(x, kernel.dtype), kernel), "float32")


def open_forget_gate(cell: Cell) -> Callable[..., Any]:
    """An initialiser of biases `[4U]`, i, f, g, o: those of `f` are 1, the others as the cell's own begin."""

    def initialize(shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
        u = cell.units
        rest = cell.bias_initializer((3 * u,), *args, **kwargs)
        return ops.concatenate([rest[:u], ops.ones((u,), dtype=rest.dtype), rest[u:]])

    return initialize


def activation_of(name: str | Callable[..., Any]) -> Callable[[Any], Any]:
    """The activation function of that name in `keras.activations`, or the function itself.

    Raises:
        ArgumentError: Keras knows no activation of that name.
    """
    try:
        return keras.activations.get(name)
    except ValueError as error:
        known = [key for key in dir(keras.activations) if not key.startswith("_")]
        raise ArgumentError(f"unknown activation {name!r}.{nearest(str(name), known)}") from error


def with_dtype_of(cell: Cell, owner: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A layer's keyword arguments, with the dtype policy of the cell that it runs.

    Args:
        cell: the cell.
        owner: what the layer is called, for the error.
        arguments: as they were given.

    Raises:
        ArgumentError: another dtype was given.
    """
    given = arguments.get("dtype")
    if given is not None and keras.dtype_policies.get(given).name != cell.dtype_policy.name:
        raise ArgumentError(f"{owner} computes in the dtype of its cell, {cell.dtype_policy.name}; got dtype="
                            f"{keras.dtype_policies.get(given).name!r}: give it to the cell")  # fmt: skip
    return {**arguments, "dtype": cell.dtype_policy}


def _is_wide(tensor: Any, width: int) -> bool:
    """Whether it is a tensor `[B, width]`, as far as is known before it is computed."""
    shape: Any = getattr(tensor, "shape", ())
    if getattr(shape, "rank", 0) is None:  # TensorFlow does not know
        return True
    return len(shape) == 2 and shape[-1] in (None, width)


def _shape(width: int) -> str:
    return f"[B, {width}]"


def _told(returned: Any) -> str:
    """What a step returned, in words."""
    shape = getattr(returned, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return f"a {type(returned).__name__}" + (f" of {len(returned)}" if isinstance(returned, list | tuple) else "")
    return f"[{', '.join(['B', *map(str, shape[1:])])}]" if len(shape) else "a number"


def _is_low(tensor: Any) -> bool:
    return keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16")


def _tuple(states: Any) -> States:
    return tuple(states) if isinstance(states, list | tuple) else (states,)
