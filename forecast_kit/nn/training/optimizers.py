"""The optimiser of a training: learning rates, clipping, weight decay and averages of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from forecast_kit.nn.training.spec import TrainingSpec

_KINDS: dict[str, tuple[type[keras.optimizers.Optimizer], dict[str, Any]]] = {
    "adam": (keras.optimizers.Adam, {}),
    "adamw": (keras.optimizers.AdamW, {}),
    "nadam": (keras.optimizers.Nadam, {}),
    "rmsprop": (keras.optimizers.RMSprop, {}),
    "sgd": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    "lion": (keras.optimizers.Lion, {}),
}


def make_optimizer(spec: TrainingSpec, steps: int, variables: Sequence[keras.Variable]) -> keras.optimizers.Optimizer:
    """The optimiser that the spec asks for, built for these variables.

    Args:
        spec: which.
        steps: over which the learning rate runs its course.
        variables: what is trained.
    """
    kind, options = _KINDS[spec.optimizer]
    rates = LearningRates(spec.learning_rate, steps, schedule=spec.schedule, warmup=spec.warmup)
    optimizer = _extended(kind, spec)(rates, weight_decay=spec.weight_decay, **options)
    if spec.weight_decay:
        vectors = [v for v in variables if len(v.shape) < 2 or "bias" in v.path.rsplit("/", 1)[-1]]
        optimizer.exclude_from_weight_decay(var_list=vectors)
    else:
        optimizer.weight_decay = None  # an Adam that takes nothing off, in fewer operations
    if spec.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(list(variables))
    return optimizer


def averages_of(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The moving averages of what is trained, in its order; empty where none are kept."""
    averages: list[keras.Variable] = getattr(getattr(optimizer, "inner_optimizer", optimizer), "averages", [])
    return averages


class LearningRates(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of each step: up in a line, then down as the schedule has it.

    With `n` steps, `w` of them to warm up, the rate of step `k = 0, 1, ...` is `rate * (k + 1) / (w + 1)`
    before `w`; from there on, with `t = (k - w) / (n - w)`: `rate * (1 + cos(pi t)) / 2` (cosine),
    `rate * (1 - t)` (linear), `rate * 0.01^t` (exponential), `rate`, a tenth of it from t = 1/2, a hundredth
    from t = 3/4 (step), `rate` (constant).

    Args:
        rate: the highest.
        steps: n.
        schedule: one of these.
        warmup: `w / n`.

    >>> [round(float(LearningRates(1.0, 12, schedule="linear", warmup=0.25)(k)), 3) for k in (0, 1, 2, 3, 6)]
    [0.25, 0.5, 0.75, 1.0, 0.667]
    """

    def __init__(self, rate: float, steps: int, *, schedule: str = "cosine", warmup: float = 0.0) -> None:
        super().__init__()
        self.rate, self.steps, self.schedule, self.warmup = rate, steps, schedule, warmup

    def __call__(self, step: Any) -> Any:
        """The rate of that step, a scalar."""
        warm = min(max(1, int(self.steps * self.warmup)) if self.warmup else 0, self.steps)
        k = ops.cast(step, "float32")
        t = ops.clip((k - warm) / max(1, self.steps - warm), 0.0, 1.0)
        rate = self.rate * self._fall(t)
        return ops.where(k < warm, self.rate * (k + 1.0) / (warm + 1.0), rate) if warm else rate

    def _fall(self, t: Any) -> Any:
        if self.schedule == "cosine":
            return 0.5 * (1.0 + ops.cos(math.pi * t))
        if self.schedule == "linear":
            return 1.0 - t
        if self.schedule == "exponential":
            return ops.exp(math.log(0.01) * t)
        if self.schedule == "step":
            return ops.where(t < 0.5, 1.0, ops.where(t < 0.75, 0.1, 0.01))
        return ops.ones_like(t)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"rate": self.rate, "steps": self.steps, "schedule": self.schedule, "warmup": self.warmup}


def _extended(kind: type[keras.optimizers.Optimizer], spec: TrainingSpec) -> type[keras.optimizers.Optimizer]:
    """The optimiser's class, which also clips by value and by norm, and keeps averages of the weights.

    Keras clips in one way only, and before the gradients of several devices are summed up; its averages
    hold the first weights for long, and every `fit` ends by putting them in place of the weights.
    """
    # PyTorch has classes of its own behind Keras's names.
    own: Any = type(kind(1.0, weight_decay=0.0))
    trained: list[keras.Variable] = []  # not an attribute: Keras would take them for its own

    class Extended(own):
        def build(self, variables: list[keras.Variable]) -> None:
            super().build(variables)
            trained[:] = variables
            self.averages = [
                self.add_variable(
                    shape=v.shape, dtype=v.dtype, aggregation="only_first_replica",
                    name=f"{v.path.replace('/', '_')}_average",
                )
                for v in (variables if spec.average else [])
            ]  # fmt: skip

        def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
            replicas, grads = _summed([None if g is None else ops.convert_to_tensor(g) for g in grads])
            grads = _clipped(grads, spec.clip_value, spec.clip_norm)
            if replicas > 1:  # Keras sums up itself
                grads = [None if g is None else g / replicas for g in grads]
            super().apply(grads, trainable_variables)
            if self.averages:
                done = ops.cast(self.iterations, "float32")
                decay = ops.minimum(spec.average, (done - 1.0) / (done + 9.0))
                for average, variable in zip(self.averages, trained, strict=True):
                    average.assign(decay * average + (1.0 - decay) * variable)

    Extended.__name__ = Extended.__qualname__ = kind.__name__
    return Extended


def _summed(grads: list[Any]) -> tuple[int, list[Any]]:
    """How many devices share the batch, and the gradients summed up over them."""
    if keras.backend.backend() != "tensorflow":
        return 1, grads
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context else 1
    if replicas == 1:
        return 1, grads
    whole = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, [g for g in grads if g is not None]))
    return replicas, [None if g is None else next(whole) for g in grads]


def _clipped(grads: list[Any], value: float | None, norm: float | None) -> list[Any]:
    """The gradients, each number within `value`, and then all of them together within `norm`."""
    if value is not None:
        grads = [None if g is None else ops.clip(g, -value, value) for g in grads]
    if norm is None:
        return grads
    squares = [ops.sum(ops.square(g)) for g in grads if g is not None]
    length = ops.sqrt(ops.sum(ops.stack(squares)))
    # What is no number stays none, and what is infinite is not made 0: training has to notice.
    shorter = norm / ops.maximum(length, norm) + (length - length)
    return [None if g is None else g * shorter for g in grads]
