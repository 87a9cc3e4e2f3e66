"""Training: a network, batches and a specification in; a trained network out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from forecast_kit.errors import ArgumentError, TrainingError
from forecast_kit.nn.feeding import Draw, feed
from forecast_kit.nn.heads import Head
from forecast_kit.typing import Batch, Floats

OnStep = Callable[[int, float], None]
_EXECUTION = 16  # optimiser steps that run between two returns to Python


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained.

    Args:
        steps: optimiser steps in all.
        batch_size: windows in a step.
        learning_rate: the highest; it rises over the first 5 % of the steps and falls to 0 as a cosine.
        clip_norm: gradients whose norm over all weights is larger are shortened to it.
        seed: of initial weights, dropout and draws.

    Raises:
        ArgumentError: an argument is out of range.
    """

    steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 4e-3
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{name} must be a whole number, at least 1; got {value!r}")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ArgumentError(f"{name} must be a positive number, got {value!r}")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ArgumentError(f"seed must be a whole number, at least 0; got {self.seed!r}")


def train(model: keras.Model, head: Head, draw: Draw, spec: TrainingSpec, *, on_step: OnStep) -> None:
    """Trains the model in place, by Adam on the head's loss.

    Args:
        model: from `build_network`.
        head: whose loss to take, averaged over the steps of the horizon that were observed.
        draw: gives batch `k`: inputs by name, targets `[B, H, 1]`, weights `[B, H]`.
        spec: how.
        on_step: called every few steps with the number of steps done and the mean loss so far.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(_schedule(spec), global_clipnorm=spec.clip_norm),
        loss=_WeightedLoss(head),
        steps_per_execution=1 if keras.backend.backend() == "torch" else min(_EXECUTION, spec.steps),
        # On TensorFlow a step of a small network, compiled whole, gains nothing and starts 2 s later; JAX without
        # compilation was twenty times slower.
        jit_compile=keras.backend.backend() == "jax",
    )
    model.fit(feed(draw, spec.steps), shuffle=False, verbose=0, callbacks=[_Watch(spec.steps, on_step)])


def apply(model: keras.Model, batch: Batch, size: int = 1024) -> Floats:
    """`[N, H, Q]` the network's output, `size` windows at a time.

    Called directly: a compiled `predict` would be traced anew for every model and used once.
    """
    count = len(next(iter(batch.values())))
    parts = [
        model({name: array[k : k + size] for name, array in batch.items()}, training=False)
        for k in range(0, count, size)
    ]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts]).astype(np.float64)


class _WeightedLoss(keras.losses.Loss):
    """The head's loss, averaged over the steps that were observed."""

    def __init__(self, head: Head) -> None:
        super().__init__(name="quantile_loss", reduction="mean_with_sample_weight")
        self._head = head

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self._head.loss(y_true[:, :, 0], y_pred)


class _Watch(keras.callbacks.Callback):
    """Reports progress, and stops training when the loss is no longer a number."""

    def __init__(self, steps: int, on_step: OnStep) -> None:
        super().__init__()
        self._steps, self._on_step = steps, on_step

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = float((logs or {})["loss"])
        done = min(batch + 1, self._steps)  # Keras counts the last, shorter execution as a whole one
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {done} of {self._steps}; lower learning_rate or clip_norm, and "
                f"look for extreme values in the data"
            )
        self._on_step(done, loss)


def _schedule(spec: TrainingSpec) -> keras.optimizers.schedules.LearningRateSchedule:
    """Up in a line over the first 5 % of the steps, down to 0 as a cosine."""
    warmup = max(1, spec.steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, spec.steps - warmup), warmup_target=spec.learning_rate, warmup_steps=warmup
    )
