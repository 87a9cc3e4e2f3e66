"""Gradients on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize

from forecast_kit.nn.heads import Head


def gradient(loss: Callable[[Any], Any], at: np.ndarray) -> np.ndarray:
    """The gradient of the sum of a loss, with respect to its argument."""
    backend = keras.backend.backend()
    x = ops.convert_to_tensor(at, "float32")
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(lambda a: ops.sum(loss(a)))(x))
    if backend == "torch":
        x = x.detach().requires_grad_(True)
        ops.sum(loss(x)).backward()
        return x.grad.cpu().numpy()
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        total = ops.sum(loss(x))
    return tape.gradient(total, x).numpy()


def descend(head: Head, y: np.ndarray) -> np.ndarray:
    """`[K]` the parameters at which the mean loss of targets `[n]` is least, of raw outputs that begin at 0."""
    targets, ones = y[None].astype(np.float32), np.ones((1, len(y), 1), np.float32)

    def judged(raw: Any) -> Any:
        return ops.mean(head.loss(targets, head(raw * ones)))

    def both(raw: np.ndarray) -> tuple[float, np.ndarray]:
        at = raw.reshape(1, 1, -1).astype(np.float32)
        return float(judged(at)), gradient(judged, at).ravel().astype(np.float64)

    found = minimize(both, np.zeros(head.width), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return ops.convert_to_numpy(head(found.x.reshape(1, 1, -1).astype(np.float32)))[0, 0]
