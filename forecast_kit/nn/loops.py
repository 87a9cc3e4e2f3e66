"""The plain loop over time, as each backend writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

States = tuple[Any, ...]
Step = Callable[[Any, States], tuple[Any, States]]


def scan(step: Step, p: Any, states: States) -> tuple[Any, States]:
    """All outputs `[B, T, U]` and the final states of `output, states = step(p_t, states)`, t = 1 .. T.

    `keras.ops.scan` would do, but on TensorFlow it keeps every carried tensor in an array of its own.

    Args:
        step: from `[B, P]` and the states to `[B, U]` and the new states, in the dtypes of the old ones.
        p: `[B, T, P]`.
        states: `[B, S]` each.
    """
    loop = {"tensorflow": _tensorflow, "jax": _jax}.get(keras.backend.backend(), _python)
    outputs, states = loop(step, keras.ops.swapaxes(p, 0, 1), states)
    return keras.ops.swapaxes(outputs, 0, 1), states


def _tensorflow(step: Step, p: Any, states: States) -> tuple[Any, States]:
    import tensorflow as tf

    length = p.shape[0] if p.shape[0] is not None else tf.shape(p)[0]
    steps = tf.TensorArray(p.dtype, size=length).unstack(p)
    outputs = tf.TensorArray(states[0].dtype, size=length)

    def body(t: Any, states: States, outputs: Any) -> tuple[Any, States, Any]:
        output, after = step(steps.read(t), states)
        return t + 1, tuple(after), outputs.write(t, tf.cast(output, states[0].dtype))

    _, states, outputs = tf.while_loop(
        lambda t, *_: t < length, body, (tf.constant(0), tuple(states), outputs), maximum_iterations=length
    )
    return outputs.stack(), states


def _jax(step: Step, p: Any, states: States) -> tuple[Any, States]:
    import jax

    def body(states: States, p_t: Any) -> tuple[States, Any]:
        output, after = step(p_t, states)
        return tuple(after), output

    states, outputs = jax.lax.scan(body, tuple(states), p)
    return outputs, states


def _python(step: Step, p: Any, states: States) -> tuple[Any, States]:
    outputs = []
    for t in range(p.shape[0]):
        output, states = step(p[t], states)
        outputs.append(output)
    return keras.ops.stack(outputs), tuple(states)
