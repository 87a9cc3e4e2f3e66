"""Simple exponential smoothing and the theta method, over the whole panel at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast_kit.core.forecaster import FitCallback
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError
from forecast_kit.models.local import LocalForecaster, States, by_length
from forecast_kit.models.naive import normal_quantiles
from forecast_kit.typing import Floats

_LOW, _HIGH = 1e-4, 0.9999  # where alpha is looked for: the usual bounds
_COARSE, _FINE, _ROUNDS = 17, 7, 7  # of the search; the last grid is 2e-6 wide


class SES(LocalForecaster):
    """Simple exponential smoothing: `y_(T+h|T) = l_T` with `l_t = l_(t-1) + alpha (y_t - l_(t-1))`.

    `alpha` and the first level are those of the least sum of squared one-step errors in the training part:
    the level in closed form for each alpha, alpha by a search on ever finer grids, which finds the least
    of several minima too. What was not observed leaves the level as it is. The variance is
    `s^2 (1 + (h - 1) alpha^2)`.

    Args:
        alpha: between 0 and 1; None for the best of each series.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: alpha is out of range.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 8.1; of the variance,
    Hyndman, Koehler, Ord and Snyder, 2008, table 6.1.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 4]})
    >>> SES(0.5).fit(Panel.from_frame(frame, freq=1)).predict(2).mean.round(3)
    array([[3.176, 3.176]])
    """

    def __init__(self, alpha: float | None = None, *, horizon: int | None = None) -> None:
        if alpha is not None:
            check_share(alpha=alpha)
        super().__init__(1, horizon=horizon)
        self.alpha = alpha

    def _learn(self, panel: Panel, callbacks: Sequence[FitCallback]) -> tuple[States, np.ndarray]:
        states = {key: np.zeros(len(panel)) for key in ("alpha", "level", "deviation")}
        for at, y in by_length(panel):
            found = smooth(y, self.alpha)
            for key, values in states.items():
                values[at] = found[key]
        return states, np.full(len(panel), "", np.str_)

    def _step(self, states: States, y: Floats, future: Floats) -> States:
        return {**states, "level": _towards(states["level"], states["alpha"], y)}

    def _ahead(self, states: States, horizon: int, levels: tuple[float, ...], future: Floats) -> tuple[Floats, Floats]:
        mean = np.repeat(states["level"][:, None], horizon, axis=1)
        return mean, normal_quantiles(mean, _spread(states, horizon), levels)


class ThetaLine(LocalForecaster):
    """The theta method without season: half a straight line, half simple exponential smoothing, for `theta = 2`.

    With the line `a + b t` of least squares, `z_t = theta y_t + (1 - theta) (a + b t)` is smoothed as by `SES`,
    and `y_(T+h|T) = z_(T+h|T) / theta + (1 - 1 / theta) (a + b (T + h))`.

    Args:
        theta: at least 1; 1 is `SES`, 2 the classic.
        alpha: the smoothing parameter; None for the best of each series.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: theta or alpha is out of range.

    Source: Assimakopoulos and Nikolopoulos, The theta model, International Journal of Forecasting 16, 2000;
    Hyndman and Billah, Unmasking the Theta method, the same 19, 2003, which gives the variance too: that
    of `SES` on z, divided by `theta^2`.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 4]})
    >>> ThetaLine().fit(Panel.from_frame(frame, freq=1)).predict(2).mean.round(2)
    array([[4.5, 5. ]])
    """

    def __init__(self, theta: float = 2.0, *, alpha: float | None = None, horizon: int | None = None) -> None:
        if alpha is not None:
            check_share(alpha=alpha)
        check_theta(theta)
        super().__init__(1, horizon=horizon)
        self.theta, self.alpha = theta, alpha

    def _learn(self, panel: Panel, callbacks: Sequence[FitCallback]) -> tuple[States, np.ndarray]:
        states = {key: np.zeros(len(panel)) for key in ("alpha", "level", "deviation", "slope", "line")}
        for at, y in by_length(panel):
            end, slope = _line(y)
            behind = np.arange(len(y))[:, None] - (len(y) - 1.0)
            found = smooth(self.theta * y + (1.0 - self.theta) * (end + slope * behind), self.alpha)
            for key, values in (found | {"slope": slope, "line": end}).items():
                states[key][at] = values
        states["deviation"] /= self.theta
        return states, np.full(len(panel), "", np.str_)

    def _step(self, states: States, y: Floats, future: Floats) -> States:
        line = states["line"] + states["slope"]
        z = self.theta * y + (1.0 - self.theta) * line
        return {**states, "line": line, "level": _towards(states["level"], states["alpha"], z)}

    def _ahead(self, states: States, horizon: int, levels: tuple[float, ...], future: Floats) -> tuple[Floats, Floats]:
        line = states["line"][:, None] + states["slope"][:, None] * np.arange(1, horizon + 1)
        mean = states["level"][:, None] / self.theta + (1.0 - 1.0 / self.theta) * line
        return mean, normal_quantiles(mean, _spread(states, horizon), levels)


def smooth(y: Floats, alpha: float | None = None) -> States:
    """Of the series `[T, n]` each its `alpha`, last `level` and `deviation` of errors, `[n]`; NaN is not observed.

    The level is `l_t = a_t + d_t l_0`, of which `a` and `d` follow from alpha alone, so the best first level
    `l_0` is a projection, and only alpha must be searched for.
    """
    seen = ~np.isnan(y)
    count = seen.sum(axis=0)
    # Around its mean and in its own unit, a series loses no digits in the sums of squares.
    middle = np.where(seen, y, 0.0).sum(axis=0) / np.maximum(count, 1)
    unit = np.sqrt(np.where(seen, np.square(y - middle), 0.0).sum(axis=0) / np.maximum(count, 1))
    unit = np.where(unit > 0, unit, 1.0)
    scaled = (y - middle) / unit
    if alpha is None:
        low, high = np.full(len(middle), _LOW), np.full(len(middle), _HIGH)
        for points in (_COARSE, *[_FINE] * _ROUNDS):
            grid = low + (high - low) * np.linspace(0.0, 1.0, points)[:, None]  # [G, n]
            best = np.argmin(_squares(scaled, grid)[0], axis=0)
            low = np.take_along_axis(grid, np.maximum(best - 1, 0)[None], axis=0)[0]
            high = np.take_along_axis(grid, np.minimum(best + 1, points - 1)[None], axis=0)[0]
            found = np.take_along_axis(grid, best[None], axis=0)
    else:
        found = np.full((1, len(middle)), float(alpha))
    squares, level = _squares(scaled, found)
    return {
        "alpha": found[0],
        "level": middle + unit * level[0],
        "deviation": unit * np.sqrt(squares[0] / np.maximum(count, 1)),
    }


def _squares(y: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """The least sum of squared errors over the first level, and the last level, for each alpha `[G, n]`."""
    a, d = np.zeros_like(alpha), np.ones_like(alpha)
    plain, cross, weight = np.zeros_like(alpha), np.zeros_like(alpha), np.zeros_like(alpha)
    keep = 1.0 - alpha
    for row in y:
        seen = ~np.isnan(row)
        if not seen.all():
            error, share = np.where(seen, row - a, 0.0), np.where(seen, d, 0.0)
            d = np.where(seen, keep * d, d)
        else:
            error, share = row - a, d
            d = keep * d
        plain += error * error
        cross += share * error
        weight += share * share
        a = a + alpha * error
    first = cross / np.maximum(weight, 1e-300)
    return np.maximum(plain - first * cross, 0.0), a + d * first


def _line(y: Floats) -> tuple[Floats, Floats]:
    """The line of least squares through each series `[T, n]`: its value at the last step, and its slope; `[n]`."""
    seen = ~np.isnan(y)
    count = np.maximum(seen.sum(axis=0), 1)
    behind = np.where(seen, np.arange(len(y))[:, None] - (len(y) - 1.0), 0.0)
    filled = np.where(seen, y, 0.0)
    centre, mean = behind.sum(axis=0) / count, filled.sum(axis=0) / count
    off = np.where(seen, behind - centre, 0.0)
    slope = (off * np.where(seen, y - mean, 0.0)).sum(axis=0) / np.maximum(np.square(off).sum(axis=0), 1e-300)
    return mean - slope * centre, slope


def _towards(level: Floats, alpha: Floats, y: Floats) -> Floats:
    return np.where(np.isnan(y), level, level + alpha * (y - level))


def _spread(states: States, horizon: int) -> Floats:
    """`[N, H]` `s sqrt(1 + (h - 1) alpha^2)`."""
    return states["deviation"][:, None] * np.sqrt(1.0 + np.arange(horizon) * np.square(states["alpha"])[:, None])


def check_theta(theta: float) -> None:
    """Raises an `ArgumentError` where it is no number from 1 on."""
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 1.0 <= theta < float("inf"):
        raise ArgumentError(f"theta must be a number, at least 1; got {theta!r}")


def check_share(**shares: float) -> None:
    """Raises an `ArgumentError` where one does not lie above 0 and at most at 1."""
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ArgumentError(f"{name} must be a number above 0 and at most 1; got {value!r}")
