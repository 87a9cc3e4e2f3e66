"""Transforms of one value at a time: scalings, the logarithm, powers, and scikit-learn's transformers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import clone

from forecast_kit.data.panel import Panel
from forecast_kit.data.stages import Stage, count_of, damage_named, mean_of, refuse_values
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, name_some
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

    def _learn(self, panel: Panel) -> tuple[np.ndarray, ...]:
        refuse_values(panel, panel.y < 0, "Log1p takes values of 0 and above")
        return ()

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        self._learn(panel)
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
        lam: the power; None for each series' maximum-likelihood estimate in `[-1, 2]`, under which
            `z` has the least variance. A constant series, or one with a single observation, has 1.

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
        number = isinstance(self.lam, int | float | np.number) and not isinstance(self.lam, bool)
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
    """`[N]` the power in `[-1, 2]` with the least variance of `_power(u, lam)`, 1 where `u` does not vary.

    `u` `[R]` is the logarithm less its mean in each series, so the Jacobian drops out of the
    likelihood. All series at once: a grid, then the golden section around its best point.
    """
    lengths = np.diff(indptr)

    def variance(lam: Floats) -> Floats:
        z = _power(u, np.repeat(lam, lengths))
        off = z - np.repeat(mean_of(z, observed, indptr), lengths)
        return np.nan_to_num(mean_of(off * off, observed, indptr), nan=np.inf)

    grid = np.linspace(-1.0, 2.0, 13)
    best = grid[np.argmin([variance(np.full(len(lengths), lam)) for lam in grid], axis=0)]
    low, high = np.maximum(best - 0.25, -1.0), np.minimum(best + 0.25, 2.0)
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


class Sklearn(Stage):
    """A scikit-learn transformer as a stage: `z = transform(y)`, fitted on all observed values in one column.

    Back: `y = inverse_transform(z)`, as exact as the transformer's own (a `QuantileTransformer`, for
    one, has no values outside those it saw). It must be increasing on the training values, so that
    a quantile goes back as the same quantile; a mean is exact through a linear transformer only.

    Args:
        transformer: has `fit`, `transform` and `inverse_transform`, one column in and one out; stays
            unfitted, a clone is fitted.

    Raises:
        ArgumentError: the transformer has no inverse, or is not increasing, or makes more columns.
        DataError: the transformer refuses the values, or there are none.

    >>> import pandas as pd
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(3), "y": [1.0, 4.0, 9.0]}), freq=1)
    >>> Sklearn(MinMaxScaler()).fit(panel).transform(panel).y
    array([0.   , 0.375, 1.   ])
    """

    name = "sklearn"
    transformer_: Any = None

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def check(self) -> None:
        """See `Stage`."""
        lacks = [verb for verb in ("fit", "transform", "inverse_transform") if not hasattr(self.transformer, verb)]
        if lacks or isinstance(self.transformer, type):
            why = f"lacks {name_some(lacks)}" if lacks else "is a class, not an instance"
            raise ArgumentError(f"transformer must be a scikit-learn transformer with an inverse, "
                                f"but {self._title} {why}")  # fmt: skip

    @property
    def _title(self) -> str:
        kind = self.transformer if isinstance(self.transformer, type) else type(self.transformer)
        return kind.__name__

    def _learn(self, panel: Panel) -> tuple[np.ndarray, ...]:
        seen = panel.y[panel.observed]
        if not seen.size:
            raise DataError(f"there is no observed value to fit {self._title} on")
        self.transformer_ = clone(self.transformer)
        self._apply(self.transformer_.fit, seen)
        known = np.unique(seen)
        z = self._apply(self.transformer_.transform, known)
        if (np.diff(z) < -1e-9 * np.abs(z).max()).any():
            raise ArgumentError(f"{self._title} is not increasing on the training values, so quantiles would not go "
                                f"back as quantiles; use an increasing transformer")  # fmt: skip
        return ()

    def _apply(self, method: Any, values: Floats) -> Floats:
        """The transformer's method on a column, its answer a flat array again."""
        try:
            answer = method(values[:, None])
        except ValueError as error:
            raise DataError(f"{self._title} refuses the values: {error}") from error
        if method.__name__ == "fit":
            return values
        if getattr(answer, "shape", None) != (len(values), 1):
            raise ArgumentError(f"{self._title}.{method.__name__} must make one column of one, "
                                f"got shape {getattr(answer, 'shape', None)}")  # fmt: skip
        return np.asarray(answer, np.float64)[:, 0]

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        z = np.zeros(len(panel.y))
        if panel.observed.any():
            z[panel.observed] = self._apply(self.transformer_.transform, panel.y[panel.observed])
        return z, panel.observed

    def _backward(self, values: Floats, history: Panel) -> Floats:
        y, finite = values.copy(), np.isfinite(values)  # what is infinite already stays so
        if finite.any():
            y[finite] = self._apply(self.transformer_.inverse_transform, values[finite])
        return y

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Stage`; possible where all that the transformer learned are numbers, texts and arrays of them.

        Raises:
            ArtifactError: it learned something else, which only pickle would hold.
        """
        values, arrays = super().state()
        plain: dict[str, Any] = {}
        for key, learned in vars(self.transformer_).items():
            if key in self.transformer_.get_params(deep=False):
                continue
            if isinstance(learned, np.ndarray | np.generic) and learned.dtype.kind in "biufUS" and key.endswith("_"):
                arrays[f"learned.{key}"] = np.asarray(learned)
            elif isinstance(learned, bool | int | float | str | None) and key.endswith("_"):
                plain[key] = learned
            else:
                raise ArtifactError(
                    f"{self._title} cannot be saved without pickle: its {key} is a {type(learned).__name__}; use "
                    f"one of forecast_kit's own stages, or a transformer that learns plain arrays"
                )
        return values | {"transformer": self._title, "learned": plain}, arrays

    def restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """See `Stage`."""
        with damage_named(self):
            if values.get("transformer", self._title) != self._title:
                raise ArtifactError(f"the state is of {values['transformer']}, but this stage has {self._title}")
            super().restore(values, arrays)
            self.transformer_ = clone(self.transformer)
            for key, learned in values["learned"].items():
                setattr(self.transformer_, key, learned)
            for key, array in arrays.items():
                if key.startswith("learned."):
                    setattr(self.transformer_, key.removeprefix("learned."), array if array.ndim else array[()])
        return self

    def describe(self) -> dict[str, Any]:
        """Refuses: a configuration cannot name a transformer.

        Raises:
            ArtifactError: always.
        """
        raise ArtifactError(f"the stage Sklearn({self._title}) has no form in a configuration; use one of "
                            f"forecast_kit's own stages, or construct it in Python")  # fmt: skip
