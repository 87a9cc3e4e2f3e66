"""Heads that learn a distribution of each step for targets that have a nought: positive numbers, and counts."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from forecast_kit.nn.heads.base import Head, Support
from forecast_kit.nn.heads.distributions import (
    LOG_SQRT_2PI,
    check_levels,
    check_positive,
    positive,
    split,
    stirling_error,
)

_PULL = 0.1  # by how much a base is drawn towards 1, the mean of its window
_LEAST = 1e-6  # of a mean in units of the window, and of a dispersion: one of nought has no logarithm
_WIDE = 2.0  # the standard deviation of a logarithm from which on it grows more slowly: q90 is 170 times q10


@keras.saving.register_keras_serializable("forecast_kit")
class LogNormalHead(Head):
    """A log-normal distribution, of targets above nought: parameters `mu, sigma` of `log y`.

    From raw outputs `a`, in units of the window: `mu = a_1 + log base`, `sigma = b(softplus(a_2 + c)) + min_scale`,
    where `c` makes the softplus 0.5 at `a_2 = 0`, and `b(s)` is `s` up to 2 and `4 - 4 / s` above. A base is a
    factor; see `drawn`. With `z = (log y - mu) / sigma` the loss is `log y + log sigma + z^2 / 2 + log(2 pi) / 2`.

    The point forecast is the mean, `exp(mu + sigma^2 / 2)`, which adds up over steps and series; the median is
    `exp(mu)`, and where `sigma` is large, far less. As `sigma` stays below 4, the mean stays below 3,000 times the
    median, however odd a window is.

    To a log-normal distribution nought is impossible, and a fit refuses targets that are not above it: take
    `NegativeBinomialHead` for counts, or quantiles behind the transform `log1p`.

    Args:
        min_scale: the least `sigma`; 0.001 is a thousandth of the target.
        floor: targets below it are taken for it, in the target's unit, so that each has a logarithm.

    Raises:
        ArgumentError: an argument is not a positive number.

    Source: Crow and Shimizu (eds.), Lognormal Distributions, 1988, chapter 1.

    >>> head = LogNormalHead()
    >>> params = np.array([[[np.log(10.0), 0.5]]])
    >>> head.quantile(params, (0.1, 0.5, 0.9)).round(2), head.center(params).round(2)
    (array([[[ 5.27, 10.  , 18.98]]]), array([[11.33]]))
    """

    support: ClassVar[Support] = "positive"

    def __init__(self, min_scale: float = 1e-3, floor: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_scale = check_positive("min_scale", min_scale)
        self.floor = check_positive("floor", floor)

    @property
    def width(self) -> int:
        """Mean and standard deviation of the logarithm."""
        return 2

    def call(self, raw: Any, base: Any = None) -> Any:
        """See `Head`."""
        mu = raw[:, :, 0] if base is None else raw[:, :, 0] + ops.log(drawn(base))
        sigma = _bounded(positive(raw[:, :, 1], start=0.5, least=0.0)) + self.min_scale
        return ops.stack([mu, sigma], axis=-1)

    def rescale(self, params: Any, shift: Any, scale: Any) -> Any:
        """`mu + log scale, sigma`; the shift must be 0, as it is where `build_network` allows this head."""
        del shift
        return ops.stack([params[:, :, 0] + ops.log(scale), params[:, :, 1]], axis=-1)

    def loss(self, y: Any, params: Any) -> Any:
        """`[B, H]` the negative log likelihood."""
        mu, sigma = params[:, :, 0], params[:, :, 1]
        log_y = ops.log(ops.maximum(y, self.floor))
        return log_y + ops.log(sigma) + 0.5 * ops.square((log_y - mu) / sigma) + LOG_SQRT_2PI

    def center(self, params: np.ndarray) -> np.ndarray:
        """The mean."""
        mu, sigma = split(params)
        return np.exp(mu + 0.5 * sigma**2)[:, :, 0]

    def quantile(self, params: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        """At any levels between 0 and 1."""
        from scipy.special import ndtri

        mu, sigma = split(params)
        return np.exp(mu + sigma * ndtri(check_levels(levels)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "min_scale": self.min_scale, "floor": self.floor}


@keras.saving.register_keras_serializable("forecast_kit")
class NegativeBinomialHead(Head):
    """A negative binomial distribution, of counts: parameters mean `mu` and dispersion `alpha`.

    `P(y) = G(y + r) / (y! G(r)) (r / (r + mu))^r (mu / (r + mu))^y` with `r = 1 / alpha`, whose variance is
    `mu + alpha mu^2`: Poisson's as `alpha` nears 0. From raw outputs `a`, in units of the window:
    `mu = base softplus(a_1 + c)`, where `c` makes the factor 1 at `a_1 = 0`, and `alpha = softplus(a_2)`;
    see `drawn` for the base, which is 1 without one. Back in counts, with `s` the window's scale, they are
    `s mu` and `alpha / sqrt(s)`.

    The loss is `-log P(y)`, and of what is no whole number the same with gamma functions. A fit refuses targets
    below 0, which would count as 0. The point forecast is the mean, no whole number either; quantiles are
    whole: the least count that holds the level.

    Source: Salinas, Flunkert, Gasthaus and Januschowski, DeepAR, 2020, sections 3.1 and 3.3.

    >>> head = NegativeBinomialHead()
    >>> head.quantile(np.array([[[4.0, 0.5]]]), (0.1, 0.5, 0.9))
    array([[[0., 3., 9.]]])
    """

    support: ClassVar[Support] = "counts"

    @property
    def width(self) -> int:
        """Mean and dispersion."""
        return 2

    def call(self, raw: Any, base: Any = None) -> Any:
        """See `Head`."""
        mean = positive(raw[:, :, 0], start=1.0, least=_LEAST)
        dispersion = ops.softplus(raw[:, :, 1]) + _LEAST
        return ops.stack([mean if base is None else mean * drawn(base), dispersion], axis=-1)

    def rescale(self, params: Any, shift: Any, scale: Any) -> Any:
        """`scale mu, alpha / sqrt(scale)`; the shift must be 0, as it is where `build_network` allows this head."""
        del shift
        return ops.stack([scale * params[:, :, 0], params[:, :, 1] / ops.sqrt(scale)], axis=-1)

    def loss(self, y: Any, params: Any) -> Any:
        """`[B, H]` the negative log likelihood.

        `D(y, (y + r) q) + D(r, (y + r) p) + S(y) + S(r) - S(y + r) + log(2 pi y (y + r) / r) / 2`, where
        `p = r / (r + mu)`, `q = 1 - p`, `D` is `_deviance` and `S` is `stirling_error`: the saddle-point form,
        whose terms stay as small as the loss, where the gamma functions of large counts would cancel.

        Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000, sections 2 and 5.
        """
        mu, r = params[:, :, 0], 1.0 / params[:, :, 1]
        some = y > 0.0
        y = ops.where(some, y, 1.0)  # where there is none the second form holds, and this one must have a gradient
        total, spread = y + r, mu + r
        of_y = _deviance(total * (mu / spread), (y / mu) * (spread / total), (r / total) * ((y - mu) / mu))
        of_r = _deviance(total * (r / spread), spread / total, (mu - y) / total)
        stirling = stirling_error(y) + stirling_error(r) - stirling_error(total)
        loss = of_y + of_r + stirling + 0.5 * (ops.log(y) + ops.log(total / r)) + LOG_SQRT_2PI
        return ops.where(some, loss, r * ops.log1p(mu / r))

    def center(self, params: np.ndarray) -> np.ndarray:
        """The mean."""
        return params[:, :, 0]

    def quantile(self, params: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        """At any levels between 0 and 1."""
        from scipy.stats import nbinom

        mu, alpha = split(params)
        return nbinom.ppf(check_levels(levels), 1.0 / alpha, 1.0 / (1.0 + alpha * mu))


def drawn(base: Any) -> Any:
    """`(base + 0.1) / 1.1`: a base made positive, in units of the window.

    A look back is 0 where nothing was observed, or nothing sold, and no factor would lead away from there. So
    it is drawn a little towards 1, the mean of a window that was divided by its mean. Below 0 counts as 0.
    """
    return (ops.maximum(base, 0.0) + _PULL) / (1.0 + _PULL)


def _bounded(s: Any) -> Any:
    """`s` up to `_WIDE`, and above it `2 _WIDE - _WIDE^2 / s`: no more than twice as much, and never without slope.

    The mean of a log-normal distribution grows with the exponential of its square; without a bound, a window unlike
    all others has a mean beyond all numbers.
    """
    return ops.where(s < _WIDE, s, 2.0 * _WIDE - _WIDE**2 / ops.maximum(s, _WIDE))


def _deviance(m: Any, ratio: Any, excess: Any) -> Any:
    """`D(x, m) = x log(x / m) + m - x`, from `m`, `x / m` and `x / m - 1`.

    Both are asked for, because each is exact where the other is not: the second near `x = m`, the first far off.
    """
    near = ops.abs(excess) < 0.5
    close = ops.log1p(ops.where(near, excess, 0.0))
    log_ratio = ops.where(near, close, ops.log(ops.where(near, 1.0, ratio)))
    return m * (ratio * log_ratio - excess)
