"""Baselines that average what was seen, or draw a line through it, over the whole panel at once.

Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2 and 5.5.
"""

from __future__ import annotations

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.models.local import by_length
from forecast_kit.models.naive import FromHistory, SeasonalFromHistory, check_positive, repeat_season, season_growth
from forecast_kit.typing import Floats


class HistoricAverage(FromHistory):
    """The mean of all that was observed: `y_(T+h|T) = mean(y)`, with variance `s^2 (1 + 1 / T)`.

    `s^2` is the variance of the training part; quantiles are normal.

    Args:
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: the horizon is below 1.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2; of the variance, 5.5.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 6]})
    >>> HistoricAverage().fit(Panel.from_frame(frame, freq=1)).predict(2).mean
    array([[3., 3.]])
    """

    @property
    def context_length(self) -> int:
        """One row, which tells where the forecast begins."""
        return 1

    def _learn(self, panel: Panel) -> dict[str, Floats]:
        count, mean = _means(panel, panel.y)
        _, square = _means(panel, np.square(panel.y - np.repeat(mean, panel.lengths)))
        unbiased = square * count / np.maximum(count - 1.0, 1.0)
        return {"mean": mean, "count": count, "deviation": np.sqrt(unbiased)}

    def _forecast(self, history: Panel, horizon: int, learned: dict[str, Floats]) -> tuple[Floats, Floats]:
        mean = np.repeat(learned["mean"][:, None], horizon, axis=1)
        return mean, np.broadcast_to(np.sqrt(1.0 + 1.0 / learned["count"])[:, None], mean.shape)


class Drift(FromHistory):
    """A line through the first and the last value: `y_(T+h|T) = y_T + h (y_T - y_1) / (T - 1)`.

    Its variance is `s^2 h (1 + h / (T - 1))`, where `s^2` is the mean squared deviation of the steps from
    the slope; quantiles are normal. With a single observation the slope is 0.

    Args:
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: the horizon is below 1.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2; of the variance, 5.5.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 5, 3, 7]})
    >>> Drift().fit(Panel.from_frame(frame, freq=1)).predict(2).mean
    array([[ 9., 11.]])
    """

    @property
    def context_length(self) -> int:
        """The last value."""
        return 1

    def _learn(self, panel: Panel) -> dict[str, Floats]:
        steps = np.maximum(panel.lengths - 1.0, 1.0)
        slope = (panel.y[panel.indptr[1:] - 1] - panel.y[panel.indptr[:-1]]) / steps
        # mean (d - slope)^2 over steps d whose both ends were observed, from their mean square and mean.
        square = np.nan_to_num(seasonal_error(panel, 1, power=2))
        spread = np.maximum(square - np.square(slope), 0.0)
        return {"slope": slope, "steps": steps, "deviation": np.sqrt(spread)}

    def _forecast(self, history: Panel, horizon: int, learned: dict[str, Floats]) -> tuple[Floats, Floats]:
        ahead = np.arange(1.0, horizon + 1)
        mean = history.y[history.indptr[1:] - 1][:, None] + learned["slope"][:, None] * ahead
        return mean, np.sqrt(ahead * (1.0 + ahead / learned["steps"][:, None]))


class WindowAverage(SeasonalFromHistory):
    """The mean of the last values, or of the last values of the same season: a moving average.

    `y_(T+h|T) = mean(y_(T+h-m(k+1)), ..., one for each of the last w seasons)` with `k = (h-1) // m`, and
    m = 1 without a season; what was not observed is left out, and a series of less than a season repeats
    its last value. The deviation is that of the one-step errors in the training part; it grows like that of
    exponential smoothing with the same mean age of its data, `a = 2 / (w + 1)`: by `sqrt(1 + k a^2)`.

    Args:
        window: values to average, w: steps, or with `season_length` seasons.
        season_length: m; 1 for the plain moving average, None for the schema's season.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: a number is below 1.

    Source: of the growth, Brown, Smoothing, Forecasting and Prediction of Discrete Time Series, 1963, on the mean
    age of data; of the variance of exponential smoothing, Hyndman and Athanasopoulos, 8.7.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": [1.0, 10, 2, 20, 3, 30]})
    >>> panel = Panel.from_frame(frame, freq=1)
    >>> WindowAverage(2).fit(panel).predict(2).mean
    array([[16.5, 16.5]])
    >>> WindowAverage(2, season_length=2).fit(panel).predict(3).mean
    array([[ 2.5, 25. ,  2.5]])
    """

    def __init__(self, window: int = 7, *, season_length: int | None = 1, horizon: int | None = None) -> None:
        check_positive(window=window)
        super().__init__(season_length, horizon=horizon)
        self.window = window

    @property
    def context_length(self) -> int:
        """The window, in steps."""
        return self.window * self.season_length_

    def _learn(self, panel: Panel) -> dict[str, Floats]:
        deviation = np.zeros(len(panel))
        for at, y in by_length(panel, width=1024):
            seen = ~np.isnan(y)
            filled, total, count = np.where(seen, y, 0.0), np.zeros(y.shape), np.zeros(y.shape, np.int32)
            for lag in range(self.season_length_, self.window * self.season_length_ + 1, self.season_length_):
                total[lag:] += filled[:-lag]
                count[lag:] += seen[:-lag]
            known = seen & (count > 0)
            error = np.where(known, filled - total / np.maximum(count, 1), 0.0)
            deviation[at] = np.sqrt(np.square(error).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
        return {"deviation": deviation}

    def _forecast(self, history: Panel, horizon: int, learned: dict[str, Floats]) -> tuple[Floats, Floats]:
        m = self.season_length_
        ahead = np.arange(min(m, horizon))
        lags = m * np.arange(1, self.window + 1)
        place = history.lengths[:, None, None] + ahead[:, None] - lags  # [N, m, w] in each series
        rows = np.maximum(history.indptr[:-1, None, None] + place, 0)
        there = (place >= 0) & history.observed[rows]
        count = there.sum(axis=2)
        total = np.where(there, history.y[rows], 0.0).sum(axis=2)
        # Where nothing was observed in the window: the panel carries the last value on.
        last = repeat_season(history, m, len(ahead))
        short = history.lengths[:, None] < m
        season = np.divide(total, count, out=last.astype(np.float64), where=(count > 0) & ~short)
        age = 2.0 / (self.window + 1.0)
        growth = np.sqrt(1.0 + np.arange(horizon) // m * age**2)
        return season[:, np.arange(horizon) % m], np.where(short, season_growth(history, m, horizon), growth)


def _means(panel: Panel, values: Floats) -> tuple[Floats, Floats]:
    """How many values of each series were observed, and their mean, `[N]` each."""
    owner = np.repeat(np.arange(len(panel)), panel.lengths)
    count: Floats = np.bincount(owner, panel.observed, len(panel)).astype(np.float64)
    total = np.bincount(owner, np.where(panel.observed, values, 0.0), len(panel))
    return count, total / np.maximum(count, 1.0)
