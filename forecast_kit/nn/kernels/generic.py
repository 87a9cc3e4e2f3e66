"""The sequence of any cell, from its two pure functions, forward and backward compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from forecast_kit.nn.kernels.streams import Options, Streamed, put, time_major


class GenericCore:
    """A recurrence over whole sequences, differentiable, from the functions of one step.

        p_t = project(x_t, w)
        y_t, s_t = step(p_t, s_(t-1), w)            s: the states

    Forward the loop keeps s_(t-1) of all steps and nothing else. Backward, from the last step to the
    first, each step is computed again under a tape that gives, from dy_t and ds_t,

        ds_(t-1), what dw grows by, and, where somebody asks, dx_t

    An instance holds its compiled functions; whoever owns the cell keeps one, for they are traced anew
    for each instance. See `forecast_kit.nn.kernels.streams` for how the batch is spread over the cores.

    Args:
        project: `(x [N, F], w) -> [N, P]`.
        step: `(p [B, P], states, w) -> (output [B, U], states)`. Both are pure functions of tensors, each
            row of the batch on its own.
    """

    def __init__(self, project: Callable[..., Any], step: Callable[..., Any]) -> None:
        self.project = project
        self.step = step
        self.run = Streamed(self._forward, self._backward, self._weight_gradients, self._input_gradients)

    def __call__(
        self,
        x: Any,
        states: Sequence[Any],
        weights: Mapping[str, Any],
        *,
        streams: int | None = None,
        return_sequences: bool = True,
    ) -> tuple[Any, tuple[Any, ...]]:
        """The outputs `[B, T, U]` and the final states, a tuple of `[B, S]`.

        Args:
            x: `[B, T, F]`, T known when the graph is traced.
            states: those before the first step, each `[B, S]`.
            weights: tensors by name, as `project` and `step` look them up.
            streams: how many parts of the batch run side by side; as many as cores if None.
            return_sequences: whether all outputs come back, or the last one, `[B, U]`.

        Raises:
            ArgumentError: T is not known, the dtypes differ, or `streams` is below 1.
        """
        options = Options(sequences=return_sequences)
        outputs, final = self.run(x, tuple(states), dict(weights), options, streams=streams)
        return outputs, tuple(final)

    # ---- of one stream

    def _forward(self, x: Any, states: Any, w: Any, options: Options) -> Any:
        steps = x.shape[1]
        xs = time_major(x)
        # What the first step returns tells the width of the output; XLA drops it, for it is not used.
        output = tf.zeros_like(self.step(self.project(xs[0], w), states, w)[0])
        before = tuple(_of_all_steps(state, steps) for state in states) if options.save else ()
        outputs = _of_all_steps(output, steps) if options.sequences else ()

        def body(t: Any, states: Any, output: Any, before: Any, outputs: Any) -> Any:
            if options.save:
                before = tuple(put(kept, t, state) for kept, state in zip(before, states, strict=True))
            output, states = self.step(self.project(xs[t], w), states, w)
            if options.sequences:
                outputs = put(outputs, t, output)
            return t + 1, tuple(states), output, before, outputs

        _, states, output, before, outputs = tf.while_loop(
            lambda t, *_: t < steps, body, (tf.constant(0), states, output, before, outputs), maximum_iterations=steps
        )
        return time_major(outputs) if options.sequences else output, states, before

    def _backward(self, d_outputs: Any, d_states: Any, x: Any, before: Any, w: Any, options: Options) -> Any:
        steps = x.shape[1]
        xs = time_major(x)
        dys: Any = time_major(d_outputs) if options.sequences else None
        d_xs = tf.zeros_like(xs) if options.inputs else ()

        def one(t: Any, dy: Any, d_states: Any, dw: Any, d_xs: Any) -> Any:
            states, x_t = tuple(kept[t] for kept in before), xs[t]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch((x_t, states, w))
                output, after = self.step(self.project(x_t, w), states, w)
            wanted = (states, w, x_t if options.inputs else ())
            d_before, more, d_x = tape.gradient(
                (output, *after), wanted, output_gradients=(dy, *d_states), unconnected_gradients="zero"
            )
            dw = tf.nest.map_structure(tf.add, dw, more)
            return t - 1, tuple(d_before), dw, put(d_xs, t, d_x) if options.inputs else ()

        # The last step stands before the loop: it has the one output where the others have none.
        last = dys[steps - 1] if options.sequences else d_outputs
        start = one(tf.constant(steps - 1), last, d_states, tf.nest.map_structure(tf.zeros_like, w), d_xs)
        none = tf.zeros_like(last)
        _, d_states, dw, d_xs = tf.while_loop(
            lambda t, *_: t >= 0,
            lambda t, *rest: one(t, dys[t] if options.sequences else none, *rest),
            start,
            maximum_iterations=steps - 1,
        )
        return (dw, d_xs), d_states

    def _weight_gradients(self, x: Any, before: Any, deltas: Any, w: Any, options: Options) -> Any:
        return deltas[0]

    def _input_gradients(self, upstream: Any, x: Any, before: Any, deltas: Any, w: Any, options: Options) -> Any:
        if not options.inputs:  # nobody was seen to want it, and now somebody does
            d_outputs, d_states = upstream
            deltas, _ = self._backward(d_outputs, d_states, x, before, w, options._replace(inputs=True))
        return time_major(deltas[1])


def _of_all_steps(value: Any, steps: int) -> Any:
    """Zeros `[T, ...]`, room for such a value at each step."""
    return tf.zeros(tf.concat([[steps], tf.shape(value)], 0), value.dtype)
