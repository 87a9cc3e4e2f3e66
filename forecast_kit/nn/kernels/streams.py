"""A recurrence over a batch, in as many parts side by side as there are cores.

XLA compiles a loop over time into tight code, and runs its body on one core. So the batch is cut into
*streams*, one for each core, and each stream is a call of its own of a function with
`jit_compile=True`; the calls lie in a graph that is not compiled, where TensorFlow's executor runs
them at the same time. Hence the one rule for callers: do not put these functions inside another
`jit_compile=True` (`model.compile(jit_compile=False)`), where the streams would run one after another.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from forecast_kit.errors import ArgumentError

try:  # not of TensorFlow's public interface: without it the forward pass always saves
    from tensorflow.python.eager.record import should_record_backprop as _is_recorded
except ImportError:  # pragma: no cover

    def _is_recorded(tensors: Any) -> bool:
        return True


try:  # nor is this
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops as _gen_xla_ops
except ImportError:  # pragma: no cover
    _gen_xla_ops = None


FEWEST_ROWS = 8  # of a stream: below, starting it costs more than it saves


class Options(NamedTuple):
    """What a loop is traced for, beside the shapes.

    Attributes:
        sequences: whether all outputs are wanted, or the last one alone.
        hoist: whether the inputs of all steps are projected in front of the loop.
        save: whether what the backward pass needs is returned too.
        inputs: whether a tape records how the inputs came about, and so will ask for their gradient.
    """

    sequences: bool
    hoist: bool = False
    save: bool = True
    inputs: bool = True


class Streamed:
    """A recurrence as four functions of one stream, each compiled by XLA, run over a batch in streams.

    Args:
        forward: `(x, states, weights, options) -> (outputs, states, saved)`.
        backward: `(d_outputs, d_states, x, saved, weights, options) -> (deltas, d_states_0)`, the loop backwards.
        weight_gradients: `(x, saved, deltas, weights, options) -> d_weights`, like `weights`.
        input_gradients: `((d_outputs, d_states), x, saved, deltas, weights, options) -> d_x`, like `x`.

    `x`, `states` and `weights` are nests of tensors; those of `x` begin `[B, T, ...]`, those of
    `states` `[B, ...]`. Rows of the batch do not see each other.

    The last two are functions of their own because a graph drops calls whose results nobody uses: where
    the input is data, its gradient is not computed.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        weight_gradients: Callable[..., Any],
        input_gradients: Callable[..., Any],
    ) -> None:
        functions = (forward, backward, weight_gradients, input_gradients)
        self.cores = tuple(tf.function(function, jit_compile=True, autograph=False) for function in functions)
        # For eager callers: without a graph around them the streams would run one after another.
        self._eager_forward = tf.function(self._forward, autograph=False)
        self._eager_backward = tf.function(self._backward, autograph=False)

    def __call__(
        self,
        x: Any,
        states: Any,
        weights: Any,
        options: Options,
        *,
        streams: int | None = None,
    ) -> tuple[Any, Any]:
        """Outputs `[B, T, U]`, or the last `[B, U]`, and the final states, differentiable in all arguments.

        `options.save` and `options.inputs` are found out here. Where no tape records, nothing is saved; a
        gradient that is asked for nevertheless, of a graph that was traced without its tape, runs the forward
        pass again.

        Raises:
            ArgumentError: the number of steps is not known, or the dtypes differ.
        """
        given = tf.nest.map_structure(tf.convert_to_tensor, (x, states, weights))
        flat = tf.nest.flatten(given)
        _check(flat)
        options = options._replace(save=_is_recorded(flat), inputs=_is_recorded(tf.nest.flatten(given[0])))
        sizes = row_counts(flat[0], streams)
        eager = tf.executing_eagerly()
        run: Any = self._eager_forward if eager else self._forward
        run_back: Any = self._eager_backward if eager else self._backward
        structure: list[Any] = []

        @tf.custom_gradient
        def differentiable(*tensors: Any) -> Any:
            # What happens inside is no concern of the tapes: they would look for a gradient of the loops.
            inside = tf.nest.pack_sequence_as(given, [tf.stop_gradient(tensor) for tensor in tensors])
            result, saved = run(*inside, sizes, options)
            structure.append(result)

            def gradient(*upstream: Any) -> list[Any]:
                kept = saved if options.save else run(*inside, sizes, options._replace(save=True))[1]
                d_result = tf.nest.pack_sequence_as(result, upstream)
                with_inputs = options.inputs or not eager  # an eager tape asks only for what it records
                found = run_back(*d_result, kept, *inside, sizes, options._replace(save=True), with_inputs)
                return tf.nest.flatten(found)

            return tf.nest.flatten(result), gradient

        flat_result = differentiable(*flat)
        return tf.nest.pack_sequence_as(structure[0], flat_result)

    def _forward(self, x: Any, states: Any, weights: Any, sizes: Any, options: Options) -> Any:
        parts = split((x, states), sizes)
        done = [self.cores[0](*part, weights, options) for part in parts]
        return join([part[:2] for part in done]), [part[2] for part in done]

    def _backward(
        self,
        d_outputs: Any,
        d_states: Any,
        saved: Any,
        x: Any,
        states: Any,
        weights: Any,
        sizes: Any,
        options: Options,
        with_inputs: bool,
    ) -> Any:
        _, backward, weight_gradients, input_gradients = self.cores
        upstream = split((d_outputs, d_states), sizes)
        inputs = split(x, sizes)
        d_x, d_first, d_weights = [], [], []
        for part, kept, x_part in zip(upstream, saved, inputs, strict=True):
            deltas, d_before = backward(*part, x_part, kept, weights, options)
            d_first.append(d_before)
            d_weights.append(weight_gradients(x_part, kept, deltas, weights, options))
            if with_inputs:
                d_x.append(input_gradients(part, x_part, kept, deltas, weights, options))
        total = tf.nest.map_structure(lambda *each: tf.add_n(each), *d_weights)
        return join(d_x) if with_inputs else tf.nest.map_structure(lambda _: None, x), join(d_first), total


def _check(tensors: list[Any]) -> None:
    if tensors[0].shape.rank is None or tensors[0].shape.rank < 3 or tensors[0].shape[1] is None:
        raise ArgumentError(
            f"x must be [B, T, ...] with a number of steps that is known when the graph is traced, because XLA"
            f" compiles the loop for it; got the shape {tensors[0].shape}. State it, e.g. keras.Input((24, 3))"
        )
    dtypes = sorted({tensor.dtype.name for tensor in tensors})
    if len(dtypes) > 1:
        raise ArgumentError(f"x, the states and the weights must have one dtype; got {', '.join(dtypes)}. Cast them")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def row_counts(x: Any, streams: int | None) -> Any:
    """How many rows of the batch each stream takes: numbers, or a tensor where the batch size is not known yet.

    Raises:
        ArgumentError: `streams` is not a positive number.
    """
    if streams is not None and streams < 1:
        raise ArgumentError(f"streams must be at least 1, or None for as many as there are cores; got {streams!r}")
    batch = x.shape[0]
    count = cores() if streams is None else streams
    if batch is None:
        rows = tf.shape(x)[0]
        return (rows,) if count == 1 else (rows + count - 1 - tf.range(count)) // count
    count = max(1, min(count, batch // FEWEST_ROWS if streams is None else batch))
    return tuple((batch + count - 1 - k) // count for k in range(count))


def split(tensors: Any, sizes: Any) -> list[Any]:
    """The nest of tensors `[B, ...]` once for each stream, with its rows."""
    count = len(sizes) if isinstance(sizes, tuple) else int(sizes.shape[0])
    if count == 1:
        return [tensors]
    parts = [tf.split(tensor, sizes, axis=0) for tensor in tf.nest.flatten(tensors)]
    return [tf.nest.pack_sequence_as(tensors, part) for part in zip(*parts, strict=True)]


def join(parts: list[Any]) -> Any:
    """The nests of the streams as one, `[B, ...]` again."""
    if len(parts) == 1:
        return parts[0]
    return tf.nest.map_structure(lambda *each: tf.concat(each, axis=0), *parts)


def buffer(steps: Any, rows: Any, width: Any, dtype: Any) -> Any:
    """Zeros `[T, B, K]` to be filled step by step."""
    return tf.zeros(tf.stack([steps, rows, width]), dtype)


def put(buffer: Any, t: Any, value: Any) -> Any:
    """The buffer `[T, ...]` with `value` at step `t`; XLA writes it in place."""
    if _gen_xla_ops is None:  # pragma: no cover
        return tf.tensor_scatter_nd_update(buffer, [[t]], value[None])  # the same, with a check of the bounds
    start = tf.stack([t] + [0] * (buffer.shape.rank - 1))
    return _gen_xla_ops.xla_dynamic_update_slice(buffer, value[None], start)


def time_major(x: Any) -> Any:
    """`[T, B, ...]` of `[B, T, ...]`, and the other way round."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def rows_of(x: Any) -> Any:
    """`[T B, K]` of `[T, B, K]`."""
    return tf.reshape(x, [-1, x.shape[-1]])
