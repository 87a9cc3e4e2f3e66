"""Shift and scale of each window, from what was observed in it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
from keras import ops

from forecast_kit.errors import ArgumentError

Normalization = Literal["season", "instance", "last", "mean", "none"]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)


@keras.saving.register_keras_serializable("forecast_kit")
class WindowScale(keras.layers.Layer):
    """Where each window stands and how much it moves, from its observed values alone.

    A level that no training window had then looks like any other.

    `"season"`: shift by the mean of the last season, scale by the mean absolute difference between
        seasons: the unit in which a seasonal naive forecast of this window errs.
    `"instance"`: the window's mean and standard deviation (Kim et al. 2022, RevIN, without its weights).
    `"last"`: shift by the last observed value, no scale (Zeng et al. 2023, NLinear).
    `"mean"`: no shift, scale by the mean absolute value (Salinas et al. 2020, DeepAR): zero stays zero.
    `"none"`: shift 0, scale 1.

    Args:
        season_length: m, in steps; a window shorter than two seasons takes differences of one step.
        mode: one of these.
        epsilon: added to the scale, in units of the input; keeps flat windows from blowing up noise.

    Raises:
        ArgumentError: the mode is unknown.

    Call: y `[B, T]`, observed `[B, T]` -> shift `[B, 1]`, scale `[B, 1]`.

    >>> y = ops.convert_to_tensor([[2.0, 4.0, 6.0]])
    >>> shift, scale = WindowScale(1, "last", epsilon=0.0)(y, ops.ones_like(y))
    >>> float(shift[0, 0]), float(scale[0, 0])
    (6.0, 1.0)
    """

    def __init__(
        self, season_length: int, mode: Normalization = "season", *, epsilon: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        if mode not in NORMALIZATIONS:
            raise ArgumentError(f"mode must be one of {', '.join(NORMALIZATIONS)}; got {mode!r}")
        self.season_length, self.mode, self.epsilon = season_length, mode, epsilon
        self.built = True

    def call(self, y: Any, observed: Any) -> tuple[Any, Any]:
        """Shift and scale of each window."""
        zero = ops.zeros_like(y[:, :1])
        if self.mode == "season":
            return self._season(y, observed)
        if self.mode == "instance":
            mean = _weighted_mean(y, observed)
            return mean, ops.sqrt(_weighted_mean(ops.square(y - mean), observed)) + self.epsilon
        if self.mode == "last":
            return _last(y, observed), zero + 1.0
        if self.mode == "mean":
            return zero, _weighted_mean(ops.abs(y), observed, otherwise=zero + 1.0) + self.epsilon
        return zero, zero + 1.0

    def _season(self, y: Any, observed: Any) -> tuple[Any, Any]:
        m = self.season_length
        season = observed[:, -m:]
        shift = _weighted_mean(y[:, -m:], season, otherwise=_weighted_mean(y, observed))
        lag = m if y.shape[1] >= 2 * m else 1
        both = observed[:, lag:] * observed[:, :-lag]
        return shift, _weighted_mean(ops.abs(y[:, lag:] - y[:, :-lag]), both) + self.epsilon

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"season_length": self.season_length, "mode": self.mode, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


def _weighted_mean(values: Any, weights: Any, *, otherwise: Any = 0.0) -> Any:
    """`[B, 1]` the mean over time of values with weight; `otherwise` where nothing has weight."""
    count = ops.sum(weights, axis=1, keepdims=True)
    mean = ops.sum(values * weights, axis=1, keepdims=True) / ops.maximum(count, 1.0)
    return ops.where(count > 0, mean, otherwise)


def _last(y: Any, observed: Any) -> Any:
    """`[B, 1]` the last observed value, 0 where there is none."""
    # The weights of a window's steps double from each to the next in no dtype that would hold them; ranks do.
    rank = observed * ops.arange(1, y.shape[1] + 1, dtype=y.dtype)  # [B, T]
    last = ops.cast(rank == ops.max(rank, axis=1, keepdims=True), y.dtype) * observed
    return ops.sum(y * last, axis=1, keepdims=True)
