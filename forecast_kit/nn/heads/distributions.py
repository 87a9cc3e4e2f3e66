"""Heads that learn a distribution of each step on the real line, and what all such heads share."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads.base import Head

LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


@keras.saving.register_keras_serializable("forecast_kit")
class NormalHead(Head):
    """A normal distribution: parameters `mu, sigma`.

    From raw outputs `a`, in units of the window: `mu = a_1 + base`, `sigma = softplus(a_2 + c) + min_scale`,
    where `c` makes it 1 at `a_2 = 0`. The loss is `log sigma + z^2 / 2 + log(2 pi) / 2` with
    `z = (y - mu) / sigma`; the point forecast is `mu`, mean and median in one.

    Args:
        min_scale: the least `sigma`, in units of the window. It keeps a step that training data repeat
            exactly from a likelihood without bound.

    Raises:
        ArgumentError: min_scale is not a positive number.

    >>> head = NormalHead()
    >>> head.quantile(np.array([[[10.0, 2.0]]]), (0.025, 0.5, 0.975)).round(2)
    array([[[ 6.08, 10.  , 13.92]]])
    """

    def __init__(self, min_scale: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_scale = check_positive("min_scale", min_scale)

    @property
    def width(self) -> int:
        """Location and scale."""
        return 2

    def call(self, raw: Any, base: Any = None) -> Any:
        """See `Head`."""
        return ops.stack([located(raw, base), positive(raw[:, :, 1], start=1.0, least=self.min_scale)], axis=-1)

    def rescale(self, params: Any, shift: Any, scale: Any) -> Any:
        """`shift + scale mu, scale sigma`."""
        return ops.stack([shift + scale * params[:, :, 0], scale * params[:, :, 1]], axis=-1)

    def loss(self, y: Any, params: Any) -> Any:
        """`[B, H]` the negative log likelihood."""
        mu, sigma = params[:, :, 0], params[:, :, 1]
        return ops.log(sigma) + 0.5 * ops.square((y - mu) / sigma) + LOG_SQRT_2PI

    def center(self, params: np.ndarray) -> np.ndarray:
        """The mean."""
        return params[:, :, 0]

    def quantile(self, params: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        """At any levels between 0 and 1."""
        from scipy.special import ndtri

        mu, sigma = split(params)
        return mu + sigma * ndtri(check_levels(levels))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "min_scale": self.min_scale}


@keras.saving.register_keras_serializable("forecast_kit")
class StudentTHead(Head):
    """A Student t distribution, which an outlier moves little: parameters `mu, sigma, nu`.

    From raw outputs `a`, in units of the window: `mu = a_1 + base`, `sigma = softplus(a_2 + c) + min_scale`,
    where `c` makes it 1 at `a_2 = 0`, and `nu = 2 + softplus(a_3)` degrees of freedom, so that there is a
    variance, `sigma^2 nu / (nu - 2)`. With `z = (y - mu) / sigma` the loss is
    `log sigma + log(nu pi) / 2 + log G(nu / 2) - log G((nu + 1) / 2) + (nu + 1) / 2 log(1 + z^2 / nu)`;
    the point forecast is `mu`, mean and median in one.

    Args:
        min_scale: the least `sigma`, in units of the window.

    Raises:
        ArgumentError: min_scale is not a positive number.

    Source: Lange, Little and Taylor, Robust Statistical Modeling Using the t Distribution, 1989.

    >>> head = StudentTHead()
    >>> head.quantile(np.array([[[10.0, 2.0, 4.0]]]), (0.025, 0.5, 0.975)).round(2)
    array([[[ 4.45, 10.  , 15.55]]])
    """

    def __init__(self, min_scale: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_scale = check_positive("min_scale", min_scale)

    @property
    def width(self) -> int:
        """Location, scale and degrees of freedom."""
        return 3

    def call(self, raw: Any, base: Any = None) -> Any:
        """See `Head`."""
        freedom = 2.0 + ops.softplus(raw[:, :, 2])
        return ops.stack(
            [located(raw, base), positive(raw[:, :, 1], start=1.0, least=self.min_scale), freedom], axis=-1
        )

    def rescale(self, params: Any, shift: Any, scale: Any) -> Any:
        """`shift + scale mu, scale sigma, nu`."""
        return ops.stack([shift + scale * params[:, :, 0], scale * params[:, :, 1], params[:, :, 2]], axis=-1)

    def loss(self, y: Any, params: Any) -> Any:
        """`[B, H]` the negative log likelihood."""
        mu, sigma, nu = params[:, :, 0], params[:, :, 1], params[:, :, 2]
        # log G(a + 1/2) - log G(a) = a log(1 + 1/(2a)) + log(a)/2 - 1/2 + S(a + 1/2) - S(a), of which no part grows
        # faster than the whole; the two logarithms themselves would leave nothing of it in float32.
        a = 0.5 * nu
        ratio = a * ops.log1p(0.5 / a) + 0.5 * ops.log(a) - 0.5 + stirling_error(a + 0.5) - stirling_error(a)
        tail = 0.5 * (nu + 1.0) * ops.log1p(ops.square((y - mu) / sigma) / nu)
        return ops.log(sigma) + 0.5 * ops.log(nu * math.pi) - ratio + tail

    def center(self, params: np.ndarray) -> np.ndarray:
        """The mean."""
        return params[:, :, 0]

    def quantile(self, params: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        """At any levels between 0 and 1."""
        from scipy.special import stdtrit

        mu, sigma, nu = split(params)
        return mu + sigma * stdtrit(nu, check_levels(levels))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "min_scale": self.min_scale}


def stirling_error(x: Any) -> Any:
    """`S(x) = log G(x) - (x - 1/2) log x + x - log(2 pi) / 2` for `x > 0`: what Stirling's formula leaves out.

    `S(x) = S(x + 1) + (x + 1/2) log(1 + 1/x) - 1` four times, then the series `1/(12 x) - 1/(360 x^3) +
    1/(1260 x^5)`, which from 4 on is right to 4e-8. Written in it, likelihoods with gamma functions are sums
    of small terms, where `log G` of a large number, of which most cancels, would use up float32. Keras has
    no `lgamma`; its gradient comes from these terms on any backend.

    Source: Loader, Fast and Accurate Computation of Binomial Probabilities, 2000, section 3.

    >>> x = np.array([0.5, 1.0, 1e6])
    >>> ops.convert_to_numpy(stirling_error(ops.convert_to_tensor(x, "float32"))).round(4)
    array([0.1534, 0.0811, 0.    ], dtype=float32)
    """
    error = 0.0
    for k in range(4):
        error = error + (x + (k + 0.5)) * ops.log1p(1.0 / (x + k)) - 1.0
    inverse = 1.0 / (x + 4.0)
    square = inverse * inverse
    return error + inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0))


def located(raw: Any, base: Any) -> Any:
    """`[B, H]` the first raw output, as a difference to the base where there is one."""
    return raw[:, :, 0] if base is None else raw[:, :, 0] + base


def positive(raw: Any, *, start: float, least: float) -> Any:
    """`softplus(raw + c) + least`, where `c` makes the first term `start` at 0."""
    return ops.softplus(raw + math.log(math.expm1(start))) + least


def split(params: np.ndarray) -> list[np.ndarray]:
    """Each parameter, `[N, H, 1]` in float64, from `[N, H, K]`."""
    return [params[:, :, k : k + 1].astype(np.float64) for k in range(params.shape[2])]


def check_levels(levels: tuple[float, ...]) -> np.ndarray:
    """`[Q]` the levels.

    Raises:
        ArgumentError: one is not strictly between 0 and 1, or they do not ascend.
    """
    asked = np.asarray(levels, np.float64)
    if not (((asked > 0.0) & (asked < 1.0)).all() and (np.diff(asked) > 0.0).all()):
        raise ArgumentError(f"levels must ascend and lie strictly between 0 and 1, got {tuple(levels)}")
    return asked


def check_positive(name: str, value: float) -> float:
    """The number.

    Raises:
        ArgumentError: it is not a positive, finite one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise ArgumentError(f"{name} must be a positive number, got {value!r}")
    return float(value)
