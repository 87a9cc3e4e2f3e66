"""Forecast errors, vectorised. Error is actual minus forecast; unobserved actuals do not count.

Every function takes arrays whose last axis is the horizon and returns one number for each series:
`[..., H] -> [...]`. A series without a defined value (nothing observed, a scale of zero) gets NaN,
so that callers can count such series.
"""

from __future__ import annotations

import numpy as np

from forecast_kit.typing import Bools, Floats


def mean_over(values: Floats, observed: Bools) -> Floats:
    """`[...]` the mean of `values [..., H]` over the observed steps, NaN where there are none."""
    count = observed.sum(axis=-1)
    total = np.where(observed, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def mae(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Mean absolute error, in the target's unit."""
    return mean_over(np.abs(y - mean), observed)


def mase(y: Floats, mean: Floats, observed: Bools, scale: Floats) -> Floats:
    """Mean absolute scaled error: MAE over the mean absolute seasonal difference of the training part.

    Args:
        y, mean, observed: `[..., H]`.
        scale: `[...]` see `forecast_kit.data.seasonal.seasonal_error`; zero or NaN makes it undefined.

    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, 2006; with a season as
    in the M4 competition (Makridakis et al. 2020, 2.1).

    >>> float(mase(np.array([3.0, 5]), np.array([2.0, 2]), np.array([True, True]), np.array(4.0)))
    0.5
    """
    error = mae(y, mean, observed)
    return np.divide(error, scale, out=np.full(np.shape(error), np.nan), where=np.asarray(scale) > 0)


def smape(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Symmetric mean absolute percentage error, `mean(200 |y - f| / (|y| + |f|))`, 0 where both are 0.

    Source: Makridakis et al., The M4 Competition, 2020, 2.1.

    >>> float(smape(np.array([1.0]), np.array([3.0]), np.array([True])))
    100.0
    """
    size = np.abs(y) + np.abs(mean)
    share = np.divide(200.0 * np.abs(y - mean), size, out=np.zeros(size.shape), where=size > 0)
    return mean_over(share, observed)


def pinball(y: Floats, quantiles: Floats, observed: Bools, levels: Floats) -> Floats:
    """Pinball loss, averaged over steps and levels, in the target's unit.

    `max(q (y - f), (q - 1)(y - f))`, `quantiles [..., H, Q]`, `levels [Q]`.

    Source: Koenker and Bassett, Regression Quantiles, 1978.
    """
    error = y[..., None] - quantiles
    return mean_over(np.maximum(levels * error, (levels - 1) * error).mean(axis=-1), observed)


def coverage(y: Floats, low: Floats, high: Floats, observed: Bools) -> Floats:
    """The share of observed actuals within `[low, high]`."""
    return mean_over(((y >= low) & (y <= high)).astype(float), observed)
