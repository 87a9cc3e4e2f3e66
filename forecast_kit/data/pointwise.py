"""Transforms of one value at a time: scalings, the logarithm, powers."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import Literal

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.data.stages import Stage, count_of, mean_of, refuse_values
from forecast_kit.errors import ArgumentError
from forecast_kit.typing import Bools, Floats, Ints

Scope = Literal["series", "global"]


class _Scaling(Stage):
    """`z = (y - shift) / scale`; a scale of nought, or of rounding noise, counts as 1."""

    _arrays = ("shift", "scale")

    def __init__(self, *, scope: Scope = "series") -> None:
        self.scope = scope

    def check(self) -> None:
        """See `Stage`."""
        if self.scope not in ("series", "global"):
            raise ArgumentError(f"scope must be 'series' or 'global', got {self.scope!r}")

    @staticmethod
    @abstractmethod
    def _shift_and_scale(y: Floats, observed: Bools, indptr: Ints) -> tuple[Floats, Floats]:
        """`[N]` and `[N]` of the series that own the rows `indptr[i]:indptr[i + 1]`."""

    def _learn(self, panel: Panel) -> tuple[Floats, Floats]:
        indptr = panel.indptr if self.scope == "series" else panel.indptr[[0, -1]]
        shift, scale = self._shift_and_scale(panel.y, panel.observed, indptr)
        return shift, np.where(scale <= 1e-9 * np.maximum(np.abs(shift), 1e-290), 1.0, scale)

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        shift, scale = (np.repeat(p, panel.lengths) for p in self._parameters(panel))
        return (panel.y - shift) / scale, panel.observed

    def _backward(self, values: Floats, history: Panel) -> Floats:
        shift, scale = (p[:, None, None] for p in self._parameters(history))
        return values * scale + shift


class Standard(_Scaling):
    """Mean 0 and variance 1: `z = (y - mean) / deviation`, the deviation of the population.

    A constant series, or one with a single observation, has deviation 1.

    Args:
        scope: `"series"`, each by its own, or `"global"`, all by those of their values together.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": [0, 1], "y": [2.0, 6.0]}), freq=1)
    >>> scaling = Standard().fit(panel)
    >>> scaling.transform(panel).y, scaling.inverse(np.array([[2.0]]), panel)
    (array([-1.,  1.]), array([[8.]]))
    """

    name = "standard"

    @staticmethod
    def _shift_and_scale(y: Floats, observed: Bools, indptr: Ints) -> tuple[Floats, Floats]:
        mean = mean_of(y, observed, indptr)
        off = y - np.repeat(mean, np.diff(indptr))
        return mean, np.sqrt(mean_of(off * off, observed, indptr))


class MinMax(_Scaling):
    """The training values between 0 and 1: `z = (y - minimum) / (maximum - minimum)`.

    A constant series, or one with a single observation, has range 1.

    Args:
        scope: `"series"` or `"global"`, see `Standard`.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(3), "y": [2.0, 4, 6]}), freq=1)
    >>> MinMax().fit(panel).transform(panel).y
    array([0. , 0.5, 1. ])
    """

    name = "minmax"

    @staticmethod
    def _shift_and_scale(y: Floats, observed: Bools, indptr: Ints) -> tuple[Floats, Floats]:
        low = np.minimum.reduceat(np.where(observed, y, np.inf), indptr[:-1])
        high = np.maximum.reduceat(np.where(observed, y, -np.inf), indptr[:-1])
        some = low <= high
        return np.where(some, low, 0.0), np.where(some, high, 0.0) - np.where(some, low, 0.0)


class Robust(_Scaling):
    """Against outliers: `z = (y - median) / (q75 - q25)`, quantiles interpolated linearly.

    A series whose middle half is constant has scale 1.

    Args:
        scope: `"series"` or `"global"`, see `Standard`.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(5), "y": [1.0, 2, 3, 4, 100]}), freq=1)
    >>> Robust().fit(panel).transform(panel).y
    array([-1. , -0.5,  0. ,  0.5, 48.5])
    """

    name = "robust"

    @staticmethod
    def _shift_and_scale(y: Floats, observed: Bools, indptr: Ints) -> tuple[Floats, Floats]:
        owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        ranked = y[np.lexsort((np.where(observed, y, np.inf), owner))]  # what is not observed comes last
        count = count_of(observed, indptr)
        top = np.maximum(count - 1, 0)

        def quantile(q: float) -> Floats:
            place = q * top
            below = np.floor(place).astype(np.int64)
            low, high = ranked[indptr[:-1] + below], ranked[indptr[:-1] + np.minimum(below + 1, top)]
            return np.where(count > 0, low + (place - below) * (high - low), 0.0)

        return quantile(0.5), quantile(0.75) - quantile(0.25)


class MeanAbs(_Scaling):
    """In multiples of the mean absolute value: `z = y / mean |y|`. Zero stays zero.

    A series of zeros has scale 1.

    Args:
        scope: `"series"` or `"global"`, see `Standard`.

    Source: Salinas, Flunkert, Gasthaus, Januschowski (2020), DeepAR, section 3.3.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(3), "y": [2.0, -4, 6]}), freq=1)
    >>> MeanAbs().fit(panel).transform(panel).y
    array([ 0.5, -1. ,  1.5])
    """

    name = "mean_abs"

    @staticmethod
    def _shift_and_scale(y: Floats, observed: Bools, indptr: Ints) -> tuple[Floats, Floats]:
        return np.zeros(len(indptr) - 1), mean_of(np.abs(y), observed, indptr)


class Log1p(Stage):
    """The logarithm that bears zeros: `z = log(1 + y)`, for `y >= 0`.

    Back: `y = exp(z) - 1`. A quantile is exact. A mean is not: `exp(E log)` is below the mean
    (Jensen), near the median where the errors are symmetric in `z`. The transformation's bias is
    stated, not corrected. A forecast below 0 comes back as 0, the edge of what has a logarithm here.

    Raises:
        DataError: at fit and transform, an observed value is negative; names series and stamp.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": [0, 1], "y": [0.0, 1.0]}), freq=1)
    >>> Log1p().fit(panel).transform(panel).y.round(3)
    array([0.   , 0.693])
    """

    name = "log1p"

    def _prepare(self, panel: Panel) -> None:
        refuse_values(panel, panel.y < 0, "Log1p takes values of 0 and above")

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        self._prepare(panel)
        return np.log1p(np.maximum(panel.y, 0.0)), panel.observed

    def _backward(self, values: Floats, history: Panel) -> Floats:
        return np.expm1(np.maximum(values, 0.0))


class BoxCox(Stage):
    """Powers that make a distribution more nearly normal: `z = ((y / g)^lam - 1) / lam`, for `y > 0`.

    `lam = 0` is the limit, `log(y / g)`. `g` is the series' geometric mean, learned like `lam`: the
    units of `y` do not matter, and no digits are lost where `y` is large or small.

    Back: `y = g (1 + lam z)^(1 / lam)`. A quantile is exact. A mean comes back as the median would,
    biased low for `lam < 1`; the bias is stated, not corrected. Where `1 + lam z <= 0` nothing has
    that image: the forecast comes back as the edge, 0 for `lam > 0` and infinite for `lam < 0`.

    Args:
        lam: the power; None for each series' maximum-likelihood estimate in `[0, 2]`, under which
            `z` has the least variance. A constant series, or one with a single observation, has 1.
            A power below 0 must be stated: a forecast a little too high then comes back infinite.

    Raises:
        DataError: at fit and transform, an observed value is not positive; names series and stamp.

    Source: Box and Cox (1964), An Analysis of Transformations, section 3.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(3), "y": [1.0, 10.0, 100.0]}), freq=1)
    >>> stage = BoxCox(lam=0.0).fit(panel)
    >>> stage.transform(panel).y.round(3)
    array([-2.303,  0.   ,  2.303])
    """

    name = "boxcox"
    _arrays = ("lam", "log_mean")

    def __init__(self, lam: float | None = None) -> None:
        self.lam = lam

    def check(self) -> None:
        """See `Stage`."""
        number = isinstance(self.lam, Real) and not isinstance(self.lam, bool)
        if self.lam is not None and not (number and np.isfinite(self.lam)):
            raise ArgumentError(f"lam must be a finite number, or None to estimate it, got {self.lam!r}")

    def _learn(self, panel: Panel) -> tuple[Floats, Floats]:
        self._check_domain(panel)
        log = np.log(np.where(panel.observed, panel.y, 1.0))
        mean = mean_of(log, panel.observed, panel.indptr)
        if self.lam is not None:
            return np.full(len(panel), float(self.lam)), mean
        u = np.where(panel.observed, log - np.repeat(mean, panel.lengths), 0.0)
        return _likeliest_power(u, panel.observed, panel.indptr), mean

    def _check_domain(self, panel: Panel) -> None:
        refuse_values(panel, panel.y <= 0, "BoxCox takes values above 0")

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        self._check_domain(panel)
        lam, mean = (np.repeat(p, panel.lengths) for p in self._parameters(panel))
        return _power(np.log(np.where(panel.y > 0, panel.y, 1.0)) - mean, lam), panel.observed

    def _backward(self, values: Floats, history: Panel) -> Floats:
        lam, mean = (p[:, None, None] for p in self._parameters(history))
        u = np.log1p(np.maximum(lam * values, -1.0)) / np.where(lam == 0, 1.0, lam)
        return np.exp(np.where(lam == 0, values, u) + mean)


def _power(u: Floats, lam: Floats) -> Floats:
    """`(exp(u)^lam - 1) / lam`, and `u` where `lam` is 0."""
    return np.where(lam == 0, u, np.expm1(lam * u) / np.where(lam == 0, 1.0, lam))


def _likeliest_power(u: Floats, observed: Bools, indptr: Ints) -> Floats:
    """`[N]` the power in `[0, 2]` with the least variance of `_power(u, lam)`, 1 where `u` does not vary.

    `u` `[R]` is the logarithm less its mean in each series, so the Jacobian drops out of the
    likelihood. All series at once: a grid, then the golden section around its best point.
    """
    lengths = np.diff(indptr)

    def variance(lam: Floats) -> Floats:
        z = _power(u, np.repeat(lam, lengths))
        off = z - np.repeat(mean_of(z, observed, indptr), lengths)
        return np.nan_to_num(mean_of(off * off, observed, indptr), nan=np.inf)

    grid = np.linspace(0.0, 2.0, 9)
    best = grid[np.argmin([variance(np.full(len(lengths), lam)) for lam in grid], axis=0)]
    low, high = np.maximum(best - 0.25, 0.0), np.minimum(best + 0.25, 2.0)
    shrink = (np.sqrt(5.0) - 1.0) / 2.0
    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = variance(left), variance(right)
    for _ in range(30):  # the bracket shrinks from 1/2 below 1e-6
        lower = at_left < at_right
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        new = np.where(lower, high - shrink * (high - low), low + shrink * (high - low))
        at_new = variance(new)
        left, right = np.where(lower, new, right), np.where(lower, left, new)
        at_left, at_right = np.where(lower, at_new, at_right), np.where(lower, at_left, at_new)
    varies = np.sqrt(mean_of(u * u, observed, indptr)) > 1e-9
    return np.where(varies, (low + high) / 2.0, 1.0)
