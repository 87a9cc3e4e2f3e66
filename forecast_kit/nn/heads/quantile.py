"""Quantiles learned by the pinball loss."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads.base import Head, affine


@keras.saving.register_keras_serializable("forecast_kit")
class QuantileHead(Head):
    """Quantiles that cannot cross: a median, and positive distances to the levels above and below it.

    With levels `q_1 < ... < q_c = 0.5 < ... < q_K` and raw outputs `a [B, H, K]`:
    `Q_c = a_c`, `Q_(k+1) = Q_k + softplus(a_(k+1))` above, `Q_(k-1) = Q_k - softplus(a_(k-1))` below.

    A base is added to all quantiles. The point forecast is the median.

    Args:
        levels: quantile probabilities, ascending, 0.5 among them.

    Raises:
        ArgumentError: they are not.

    >>> head = QuantileHead((0.1, 0.5, 0.9))
    >>> ops.convert_to_numpy(head(np.zeros((1, 1, 3)))).round(3)
    array([[[-0.693,  0.   ,  0.693]]], dtype=float32)
    """

    def __init__(self, levels: tuple[float, ...] = (0.1, 0.5, 0.9), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = tuple(float(q) for q in levels)
        if 0.5 not in self.levels or list(self.levels) != sorted({q for q in self.levels if 0.0 < q < 1.0}):
            raise ArgumentError(f"levels must ascend, lie strictly between 0 and 1, and hold 0.5; got {tuple(levels)}")
        self.middle = self.levels.index(0.5)

    @property
    def width(self) -> int:
        """One raw output a level."""
        return len(self.levels)

    def call(self, raw: Any, base: Any = None) -> Any:
        """See `Head`."""
        c = self.middle
        median = raw[:, :, c : c + 1]
        above = ops.cumsum(ops.softplus(raw[:, :, c + 1 :]), axis=-1)
        below = ops.flip(ops.cumsum(ops.flip(ops.softplus(raw[:, :, :c]), axis=-1), axis=-1), axis=-1)
        ordered = ops.concatenate([median - below, median, median + above], axis=-1)
        return ordered if base is None else ordered + ops.expand_dims(base, -1)

    def rescale(self, params: Any, shift: Any, scale: Any) -> Any:
        """See `Head`."""
        return affine(params, shift, scale)

    def loss(self, y: Any, params: Any) -> Any:
        """Twice the pinball loss, averaged over levels, `[B, H]`: with the median alone it is the absolute error.

        Source: Koenker and Bassett, Regression Quantiles, 1978.
        """
        error = ops.expand_dims(y, -1) - params
        levels = ops.convert_to_tensor(np.array(self.levels, np.float32))
        return 2.0 * ops.mean(ops.maximum(levels * error, (levels - 1.0) * error), axis=-1)

    def center(self, params: np.ndarray) -> np.ndarray:
        """The median."""
        return params[:, :, self.middle]

    def quantile(self, params: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        """Linear between the learned levels; outside them there is none."""
        outside = [q for q in levels if not self.levels[0] <= q <= self.levels[-1]]
        if outside:
            raise ArgumentError(
                f"the network learned the levels {self.levels[0]} to {self.levels[-1]}, {outside} lie outside; "
                f"train it with levels= that hold them"
            )
        return interpolate_levels(params, self.levels, levels)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "levels": list(self.levels)}


def interpolate_levels(quantiles: np.ndarray, trained: tuple[float, ...], asked: tuple[float, ...]) -> np.ndarray:
    """`[..., len(asked)]` quantiles at the asked levels, linear between the trained ones `[..., K]`.

    The asked levels must lie within the trained ones.
    """
    at = np.interp(asked, trained, np.arange(len(trained)))
    low = np.minimum(at.astype(int), len(trained) - 1)
    if (at == low).all():
        return quantiles[..., low]
    high = np.minimum(low + 1, len(trained) - 1)
    share = at - low
    # Weighted where there is something to weigh: nought times an infinite quantile would be no number.
    above = np.where(share > 0, quantiles[..., high], 0.0) * share
    return quantiles[..., low] * (1.0 - share) + above
