"""Heads: from a network's output at every step of the horizon to parameters of a forecast, and their loss.

A head's loss and everything after the last layer is computed in `float32`, whatever the network's
compute dtype.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("forecast_kit")
class QuantileHead(keras.layers.Layer):
    """Quantiles that cannot cross: a median, and positive distances to the levels above and below it.

    With levels `q_1 < ... < q_c = 0.5 < ... < q_K` and raw outputs `a [B, H, K]`:
    `Q_c = a_c`, `Q_(k+1) = Q_k + softplus(a_(k+1))` above, `Q_(k-1) = Q_k - softplus(a_(k-1))` below.

    Args:
        levels: quantile probabilities, ascending, 0.5 among them.

    Call: `[B, H, K] -> [B, H, K]`.
    """

    def __init__(self, levels: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.levels = tuple(float(q) for q in levels)
        self.center = self.levels.index(0.5)
        self.built = True

    def call(self, raw: Any) -> Any:
        """Raw outputs as ordered quantiles."""
        c = self.center
        median = raw[:, :, c : c + 1]
        above = ops.cumsum(ops.softplus(raw[:, :, c + 1 :]), axis=-1)
        below = ops.flip(ops.cumsum(ops.flip(ops.softplus(raw[:, :, :c]), axis=-1), axis=-1), axis=-1)
        return ops.concatenate([median - below, median, median + above], axis=-1)

    def loss(self, y: Any, quantiles: Any) -> Any:
        """Twice the pinball loss, averaged over levels, `[B, H]`: with the median alone it is the absolute error.

        Source: Koenker and Bassett, Regression Quantiles, 1978.
        """
        error = ops.expand_dims(y, -1) - quantiles
        levels = ops.convert_to_tensor(np.array(self.levels, np.float32))
        return 2.0 * ops.mean(ops.maximum(levels * error, (levels - 1.0) * error), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "levels": list(self.levels)}


def interpolate_levels(quantiles: np.ndarray, trained: tuple[float, ...], asked: tuple[float, ...]) -> np.ndarray:
    """`[..., len(asked)]` quantiles at the asked levels, linear between the trained ones `[..., K]`.

    The asked levels must lie within the trained ones.
    """
    at = np.interp(asked, trained, np.arange(len(trained)))
    low = np.minimum(at.astype(int), len(trained) - 1)
    high = np.minimum(low + 1, len(trained) - 1)
    share = at - low
    # Weighted where there is something to weigh: nought times an infinite quantile would be no number.
    above = np.where(share > 0, quantiles[..., high], 0.0) * share
    return quantiles[..., low] * (1.0 - share) + above
