"""Forecast errors, vectorised. The error is actual minus forecast; unobserved actuals do not count.

Every function takes arrays whose last axis is averaged over, usually the horizon: `[..., H] -> [...]`.
Turned round, `[H, N] -> [H]`, the same functions give the error of each step over all series. Where a
value is not defined (nothing observed, a scale of zero) it is NaN, so that callers can count such cases.

Scales are arguments: those of the training part come from `forecast_kit.data.seasonal.seasonal_error`.
"""

from __future__ import annotations

import numpy as np

from forecast_kit.errors import ArgumentError
from forecast_kit.typing import Bools, Floats

__all__ = [
    "me", "mae", "mse", "rmse", "mape", "smape", "wape", "bias", "mase", "rmsse", "owa",
    "pinball", "wql", "crps", "crps_samples", "coverage", "interval_width", "msis",
    "classification",
]  # fmt: skip


def mean_over(values: Floats, observed: Bools) -> Floats:
    """`[...]` the mean of `values [..., H]` over the observed steps, NaN where there are none."""
    if values.shape[-1] and observed.all():
        return values.mean(axis=-1)
    return ratio(np.where(observed, values, 0.0).sum(axis=-1), observed.sum(axis=-1))


def ratio(above: Floats, below: Floats) -> Floats:
    """`above / below`, NaN where `below` is not a positive number."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


# ---- point forecasts


def me(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Mean error, in the target's unit: above 0 where forecasts are too low.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    >>> float(me(np.array([3.0, 5]), np.array([4.0, 3]), np.array([True, True])))
    0.5
    """
    return mean_over(y - mean, observed)


def mae(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Mean absolute error, in the target's unit.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    >>> float(mae(np.array([3.0, 5]), np.array([4.0, 3]), np.array([True, True])))
    1.5
    """
    return mean_over(np.abs(y - mean), observed)


def mse(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Mean squared error, in the target's unit squared.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    >>> float(mse(np.array([3.0, 5]), np.array([4.0, 3]), np.array([True, True])))
    2.5
    """
    return mean_over(np.square(y - mean), observed)


def rmse(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Root of the mean squared error, in the target's unit.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    >>> float(rmse(np.array([3.0, 5]), np.array([2.0, 4]), np.array([True, True])))
    1.0
    """
    return np.sqrt(mse(y, mean, observed))


def mape(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Mean absolute percentage error, `mean(100 |y - f| / |y|)`, over the steps where `y` is not 0.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    >>> float(mape(np.array([2.0, 0.0]), np.array([1.0, 1.0]), np.array([True, True])))
    50.0
    """
    seen = observed & (y != 0)
    return mean_over(np.divide(100.0 * np.abs(y - mean), np.abs(y), out=np.zeros(y.shape), where=seen), seen)


def smape(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Symmetric mean absolute percentage error, `mean(200 |y - f| / (|y| + |f|))`, 0 where both are 0.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    Source: Makridakis et al., The M4 Competition, 2020, 2.1.

    >>> float(smape(np.array([1.0]), np.array([3.0]), np.array([True])))
    100.0
    """
    size = np.abs(y) + np.abs(mean)
    share = np.divide(200.0 * np.abs(y - mean), size, out=np.zeros(size.shape), where=size > 0)
    return mean_over(share, observed)


def wape(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Weighted absolute percentage error, `sum |y - f| / sum |y|`, as a fraction; also called ND.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    Source: as ND, normalised deviation, in Yu, Rao and Dhillon (2016), Temporal Regularized Matrix
    Factorization; Kolassa and Schuetz (2007), Advantages of the MAD/Mean ratio over the MAPE.

    >>> float(wape(np.array([4.0, 0.0]), np.array([3.0, 1.0]), np.array([True, True])))
    0.5
    """
    return ratio(mae(y, mean, observed), mean_over(np.abs(y), observed))


def bias(y: Floats, mean: Floats, observed: Bools) -> Floats:
    """Relative bias, `sum (f - y) / sum |y|`: above 0 where forecasts are too high, as a fraction.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.

    >>> float(bias(np.array([3.0, 5]), np.array([4.0, 8]), np.array([True, True])))
    0.5
    """
    return ratio(mean_over(mean - y, observed), mean_over(np.abs(y), observed))


def mase(y: Floats, mean: Floats, observed: Bools, scale: Floats) -> Floats:
    """Mean absolute scaled error: the mean of |y - f| over what repeating the last season cost.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.
        scale: `[...]`, the mean absolute seasonal difference of the training part, or one for each value, `[..., H]`.
            Zero or NaN makes the metric undefined.

    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, 2006; with a season as
    in the M4 competition (Makridakis et al. 2020, 2.1).

    >>> float(mase(np.array([3.0, 5]), np.array([2.0, 2]), np.array([True, True]), np.array([4.0])))
    0.5
    """
    return _scaled(np.abs(y - mean), observed, scale)


def rmsse(y: Floats, mean: Floats, observed: Bools, scale: Floats) -> Floats:
    """Root mean squared scaled error: the root of the mean of (y - f)^2 over the training part's.

    Args:
        y, mean, observed: `[..., H]` actuals, point forecasts, and which actuals are there.
        scale: `[...]`, the mean squared (seasonal) difference of the training part, or one for each value.

    Source: Hyndman and Koehler 2006; the measure of the M5 competition (Makridakis et al. 2022), with m = 1.

    >>> float(rmsse(np.array([3.0, 5]), np.array([2.0, 2]), np.array([True, True]), np.array([5.0])))
    1.0
    """
    return np.sqrt(_scaled(np.square(y - mean), observed, scale))


def owa(smape: Floats, mase: Floats, reference_smape: Floats, reference_mase: Floats) -> Floats:
    """Overall weighted average: the mean of sMAPE and MASE relative to a reference, Naive2 in the M4 competition.

    Args:
        smape, mase: `[...]` the forecaster's scores, averaged over series first.
        reference_smape, reference_mase: `[...]` the reference's, averaged likewise.

    Source: Makridakis et al., The M4 Competition, 2020, 2.1.

    >>> float(owa(np.array(5.0), np.array(2.0), np.array(10.0), np.array(2.0)))
    0.75
    """
    return 0.5 * (ratio(smape, reference_smape) + ratio(mase, reference_mase))


def _scaled(values: Floats, observed: Bools, scale: Floats) -> Floats:
    scale = np.asarray(scale, np.float64)
    if scale.ndim < values.ndim:
        scale = scale[..., None]
    if scale.shape[-1] == 1 and values.shape[-1]:  # one for each result: that is divided
        return ratio(mean_over(values, observed), scale[..., 0])
    return mean_over(ratio(values, scale), observed & (scale > 0))


# ---- quantiles and intervals


def pinball(y: Floats, quantiles: Floats, observed: Bools, levels: Floats) -> Floats:
    """Pinball loss, averaged over steps and levels, in the target's unit.

    `max(q (y - f), (q - 1)(y - f))` of each forecast f of the quantile q.

    Args:
        y, observed: `[..., H]` actuals, and which are there.
        quantiles: `[..., H, Q]` the forecasts.
        levels: `[Q]` their probabilities.

    Source: Koenker and Bassett, Regression Quantiles, 1978.

    >>> y, seen = np.array([3.0]), np.array([True])
    >>> float(pinball(y, np.array([[2.0, 5.0]]), seen, np.array([0.25, 0.75])))  # (0.25 * 1 + 0.25 * 2) / 2
    0.375
    """
    return mean_over(_pinball(y, quantiles, levels).mean(axis=-1), observed)


def wql(y: Floats, quantiles: Floats, observed: Bools, levels: Floats) -> Floats:
    """Weighted quantile loss, `2 sum pinball / sum |y|`, averaged over levels, as a fraction.

    With the median alone it is `wape` of the median.

    Args:
        y, quantiles, observed, levels: as for `pinball`.

    Source: Salinas et al. (2020), DeepAR, 4.1, as averaged over levels by Rangapuram et al. (2018).

    >>> y, seen = np.array([3.0]), np.array([True])
    >>> float(wql(y, np.array([[2.0, 5.0]]), seen, np.array([0.25, 0.75])))
    0.25
    """
    return ratio(2.0 * pinball(y, quantiles, observed, levels), mean_over(np.abs(y), observed))


def crps(y: Floats, quantiles: Floats, observed: Bools, levels: Floats) -> Floats:
    """Continuous ranked probability score, from quantiles, in the target's unit.

    `CRPS = 2 * integral over q of pinball_q`; each level stands for the probabilities that are nearer to it
    than to its neighbours, the outermost for those up to 0 and 1. For a single median it is `mae`.

    Args:
        y, quantiles, observed, levels: as for `pinball`, the levels ascending.

    Source: Gneiting and Ranjan (2011), Comparing Density Forecasts Using Threshold- and Quantile-Weighted
    Scoring Rules, equation 9.

    >>> float(crps(np.array([1.0]), np.array([[3.0]]), np.array([True]), np.array([0.5])))
    2.0
    """
    levels = np.asarray(levels, np.float64)
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    return mean_over(2.0 * _pinball(y, quantiles, levels) @ np.diff(edges), observed)


def crps_samples(y: Floats, samples: Floats, observed: Bools) -> Floats:
    """Continuous ranked probability score, from sample paths, in the target's unit.

    `mean |x - y| - mean |x - x'| / 2`, the second mean over all pairs of samples.

    Args:
        y, observed: `[..., H]` actuals, and which are there.
        samples: `[..., H, S]` S draws of each step.

    Source: Gneiting and Raftery (2007), Strictly Proper Scoring Rules, Prediction, and Estimation, equation 21.

    >>> float(crps_samples(np.array([1.0]), np.array([[0.0, 4.0]]), np.array([True])))
    1.0
    """
    count = samples.shape[-1]
    away = np.abs(samples - y[..., None]).mean(axis=-1)
    # Of sorted samples, the k-th (from 0) is the larger of a pair k times and the smaller one S - 1 - k times.
    spread = np.sort(samples, axis=-1) @ (2.0 * np.arange(count) - count + 1) / count**2
    return mean_over(away - spread, observed)


def coverage(y: Floats, low: Floats, high: Floats, observed: Bools) -> Floats:
    """The share of observed actuals within an interval, from 0 to 1; its ends count as within.

    Args:
        y, low, high, observed: `[..., H]` actuals, the interval's ends, and which actuals are there.

    >>> float(coverage(np.array([3.0, 9]), np.array([1.0, 1]), np.array([5.0, 5]), np.array([True, True])))
    0.5
    """
    return mean_over(((y >= low) & (y <= high)).astype(float), observed)


def interval_width(low: Floats, high: Floats, observed: Bools) -> Floats:
    """The mean width of an interval, in the target's unit.

    Args:
        low, high, observed: `[..., H]` the interval's ends, and which actuals are there.

    >>> float(interval_width(np.array([1.0, 1]), np.array([5.0, 7]), np.array([True, True])))
    5.0
    """
    return mean_over(high - low, observed)


def msis(y: Floats, low: Floats, high: Floats, observed: Bools, scale: Floats, *, alpha: float = 0.05) -> Floats:
    """Mean scaled interval score of the `1 - alpha` interval: width, and 2 / alpha times each miss, over the scale.

    Args:
        y, low, high, observed: `[..., H]` actuals, the interval's ends, and which actuals are there.
        scale: as for `mase`.
        alpha: the probability outside the interval; 0.05 in the M4 competition.

    Source: Gneiting and Raftery 2007, 6.2; Makridakis et al., The M4 Competition, 2020, 2.2.

    >>> float(msis(*np.array([[5.0], [1.0], [3.0]]), np.array([True]), np.array([2.0]), alpha=0.5))
    5.0
    """
    missed = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    return _scaled(high - low + 2.0 / alpha * missed, observed, scale)


def _pinball(y: Floats, quantiles: Floats, levels: Floats) -> Floats:
    error = y[..., None] - quantiles
    return np.maximum(levels * error, (levels - 1) * error)


# ---- classes


def classification(labels: np.ndarray, probabilities: Floats, classes: np.ndarray) -> dict[str, float]:
    """`accuracy`, `f1` (macro-averaged) and `log_loss` of predicted class probabilities.

    Args:
        labels: `[N]` the true classes.
        probabilities: `[N, C]`, rows that add up to 1.
        classes: `[C]` what the columns stand for.

    Raises:
        ArgumentError: a label is none of the classes, or the shapes do not fit.

    >>> classification(np.array([0, 1]), np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1]))["accuracy"]
    1.0
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    labels, classes = np.asarray(labels), np.asarray(classes)
    if probabilities.shape != (len(labels), len(classes)):
        raise ArgumentError(
            f"probabilities must be {(len(labels), len(classes))}, a row for each label and a column for each class;"
            f" got {probabilities.shape}"
        )
    unknown = set(labels.tolist()) - set(classes.tolist())
    if unknown:
        raise ArgumentError(f"labels hold {sorted(unknown)}, which are not among the classes {classes.tolist()}")
    predicted = classes[probabilities.argmax(axis=1)]
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1": float(f1_score(labels, predicted, labels=classes, average="macro", zero_division=0.0)),
        "log_loss": float(log_loss(labels, probabilities, labels=classes)),
    }
