"""Straight lines, whose next values are known, and a small network for them: what trainings are tested on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from forecast_kit import typing as fk
from forecast_kit.nn.heads import Head, QuantileHead
from forecast_kit.nn.scaling import WindowScale
from forecast_kit.nn.training import Training, TrainingSpec, apply, train
from forecast_kit.typing import Batch

T, H, B = 8, 2, 16
Example = tuple[Batch, np.ndarray, np.ndarray]


def draw(k: int) -> Example:
    """Lines through the origin, each with a slope of its own."""
    slope = np.random.default_rng(k).normal(size=(B, 1)).astype(np.float32)
    y = slope * np.arange(T, dtype=np.float32)
    target = (slope * np.arange(T, T + H, dtype=np.float32))[:, :, None]
    return {fk.PAST_Y: y, fk.PAST_OBSERVED: np.ones_like(y)}, target, np.ones_like(target[:, :, 0])


def median() -> Head:
    return QuantileHead((0.5,))


def network(
    head: Head, *, seed: int = 0, dropout: float = 0.0, normalize: Any = "season", activation: str = "tanh"
) -> keras.Model:
    """Two dense layers, `first` and `last`, between a window's scale and back."""
    y, observed = (keras.Input((T,), name=name) for name in (fk.PAST_Y, fk.PAST_OBSERVED))
    shift, scale = WindowScale(1, normalize)(y, observed)
    kernels = [keras.initializers.GlorotUniform(seed=10 * seed + k) for k in range(2)]
    x = keras.layers.Dense(8, activation=activation, kernel_initializer=kernels[0], name="first")((y - shift) / scale)
    if dropout:
        x = keras.layers.Dropout(dropout, seed=seed + 77)(x)
    x = keras.layers.Dense(H * head.width, kernel_initializer=kernels[1], name="last")(x)
    params = head.rescale(head(keras.layers.Reshape((H, head.width))(x)), shift, scale)
    return keras.Model({fk.PAST_Y: y, fk.PAST_OBSERVED: observed}, params)


def fitted(batches: Any = draw, *, model: keras.Model | None = None, dropout: float = 0.0, **arguments: Any) -> Fitted:
    """A training that is through: arguments of `Training`, the others are of the spec."""
    own = {name: arguments.pop(name) for name in ("held", "checkpoint", "until", "on_step") if name in arguments}
    spec = TrainingSpec(**arguments)
    head = median()
    model = model or network(head, seed=spec.seed, dropout=dropout)
    seen: list[tuple[int, dict[str, float]]] = []
    own.setdefault("on_step", lambda step, logs: seen.append((step, logs)))
    return Fitted(model, train(model, head, batches, spec, **own), seen)


class Fitted:
    """A trained network, its training, and what was told of it."""

    def __init__(self, model: keras.Model, training: Training, seen: list[tuple[int, dict[str, float]]]) -> None:
        self.model, self.training, self.seen = model, training, seen

    @property
    def weights(self) -> np.ndarray:
        """All of them in one row."""
        return np.concatenate([np.ravel(weight) for weight in self.model.get_weights()])

    @property
    def error(self) -> float:
        """The mean absolute error on lines that were not trained on."""
        inputs, target, _ = draw(10_000)
        return float(np.abs(apply(self.model, inputs)[..., :1] - target).mean())
