"""Baselines that repeat or average what was seen, over the whole panel at once.

Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2 and 5.5.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, Forecaster
from forecast_kit.data.columns import positions
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import check_whole
from forecast_kit.typing import Floats


def repeat_season(history: Panel, season_length: int, horizon: int) -> Floats:
    """`[N, H]` the last season of each series, over and over: `y_(T+h) = y_(T+h-m(k+1))`, `k = (h-1) // m`.

    A series of less than a season has its last value instead.
    """
    ahead = np.arange(horizon) % season_length  # [H]
    rows = history.indptr[1:, None] - season_length + ahead  # [N, H]
    short = (history.lengths < season_length)[:, None]
    return history.y[np.where(short, history.indptr[1:, None] - 1, rows)]


def season_growth(history: Panel, season_length: int, horizon: int) -> Floats:
    """`[N, H]` by what the deviation of `repeat_season` grows with the steps."""
    seasons, steps = np.arange(horizon) // season_length + 1.0, np.arange(horizon) + 1.0
    return np.sqrt(np.where((history.lengths < season_length)[:, None], steps, seasons))


def short_of_season(history: Panel, season_length: int, instead: str = "") -> tuple[np.ndarray, np.ndarray]:
    """`[N]` the name `Naive` where a series has less than a season, else the given one; and what is to say of it."""
    short = history.lengths < season_length
    reasons = [f"{n} of the {season_length} steps of a season" if n < season_length else ""
               for n in history.lengths.tolist()]  # fmt: skip
    return np.where(short, "Naive", instead), np.array(reasons, np.str_)


def seasonal_deviation(panel: Panel, season_length: int) -> Floats:
    """`[N]` the root mean square of a seasonal step, of a plain one where there is none; 0 where there is no pair."""
    seasonal = seasonal_error(panel, season_length, power=2)
    if np.isnan(seasonal).any():
        seasonal = np.where(np.isnan(seasonal), seasonal_error(panel, 1, power=2), seasonal)
    return np.sqrt(np.nan_to_num(seasonal))


def normal_quantiles(mean: Floats, deviation: Floats, levels: Sequence[float]) -> Floats:
    """`[N, H, Q]` quantiles of a normal distribution around the mean `[N, H]`."""
    z = np.array([NormalDist().inv_cdf(q) for q in levels])
    return mean[:, :, None] + deviation[:, :, None] * z


class FromHistory(Forecaster):
    """A forecast from the last rows of the history and a few numbers learned of each series.

    A subclass writes `_learn` and `_forecast`. What was learned of a series at fit counts wherever its
    history is given later; of series never seen it is learned from the history at hand.

    Args:
        horizon: steps ahead where `predict` is not told.
    """

    def __init__(self, *, horizon: int | None = None) -> None:
        check_positive(horizon=horizon)
        self.horizon = horizon
        self.ids_: np.ndarray = np.empty(0, np.str_)
        self.learned_: dict[str, Floats] = {}

    @property
    def uses_future(self) -> bool:
        """False: the history is all."""
        return False

    @abstractmethod
    def _learn(self, panel: Panel) -> dict[str, Floats]:
        """Numbers of each series, `[N]` each; `deviation` is the standard deviation of a one-step error."""

    @abstractmethod
    def _forecast(self, history: Panel, horizon: int, learned: dict[str, Floats]) -> tuple[Floats, Floats]:
        """The means `[N, H]`, and by what the deviation grows with the steps, `[N, H]` or `[H]`."""

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        self.ids_, self.learned_ = panel.ids, self._learn(panel)

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        at = positions(self.ids_, history.ids)
        learned = {key: values[at] for key, values in self.learned_.items()}
        if (at < 0).any():  # series never seen
            learned = {key: np.where(at >= 0, learned[key], own) for key, own in self._learn(history).items()}
        mean, growth = self._forecast(history, horizon, learned)
        quantiles = normal_quantiles(mean, learned["deviation"][:, None] * growth, levels)
        return Prediction(mean, quantiles, *self._fallbacks(history))

    def _fallbacks(self, history: Panel) -> tuple[np.ndarray, np.ndarray] | tuple[()]:
        """What stood in for a series, and why; nothing where nothing can."""
        return ()

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {"ids": self.ids_, **self.learned_}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.learned_ = dict(arrays)
        self.ids_ = self.learned_.pop("ids")


class SeasonalFromHistory(FromHistory):
    """A `FromHistory` that counts in seasons. A series of less than one is forecast by its last value.

    Args:
        season_length: steps in a season, m; by default the schema's.
        horizon: steps ahead where `predict` is not told.
    """

    def __init__(self, season_length: int | None = None, *, horizon: int | None = None) -> None:
        check_positive(season_length=season_length)
        super().__init__(horizon=horizon)
        self.season_length = season_length
        self.season_length_ = season_length or 0

    @property
    def context_length(self) -> int:
        """One season."""
        return self.season_length_

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        self.season_length_ = self.season_length or panel.season_length
        super()._fit(panel, callbacks)

    def _fallbacks(self, history: Panel) -> tuple[np.ndarray, np.ndarray]:
        """See `FromHistory`."""
        return short_of_season(history, self.season_length_)

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"season_length": self.season_length_}, super()._state(folder)[1]

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.season_length_ = values["season_length"]
        super()._restore(folder, values, arrays)


class SeasonalNaive(SeasonalFromHistory):
    """Repeats the last season: the forecast is what was observed one season before.

    `y_(T+h|T) = y_(T+h-m(k+1))` with `k = (h-1) // m`. Its variance is `(k+1) s^2`, where `s^2` is
    the mean squared seasonal difference of the training part; quantiles are normal. A series of less than a
    season repeats its last value, as `Naive` does, and the forecast says so in `fallback`.

    Args:
        season_length: steps in a season, m; by default the schema's.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: a number is below 1.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2; of the variance, 5.5.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 4]})
    >>> SeasonalNaive(2).fit(Panel.from_frame(frame, freq=1)).predict(3).mean
    array([[3., 4., 3.]])
    """

    def _learn(self, panel: Panel) -> dict[str, Floats]:
        return {"deviation": seasonal_deviation(panel, self.season_length_)}

    def _forecast(self, history: Panel, horizon: int, learned: dict[str, Floats]) -> tuple[Floats, Floats]:
        m = self.season_length_
        return repeat_season(history, m, horizon), season_growth(history, m, horizon)


class Naive(SeasonalNaive):
    """Repeats the last value: a random walk's forecast, `y_(T+h|T) = y_T`, with variance `h s^2`.

    `s^2` is the mean squared difference of neighbours in the training part; quantiles are normal.

    Args:
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: the horizon is below 1.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2; of the variance, 5.5.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 4]})
    >>> Naive().fit(Panel.from_frame(frame, freq=1)).predict(2).mean
    array([[4., 4.]])
    """

    def __init__(self, *, horizon: int | None = None) -> None:
        super().__init__(1, horizon=horizon)


def check_positive(**numbers: int | None) -> None:
    """Raises an `ArgumentError` where a number is given and is no whole number from 1 on."""
    for name, value in numbers.items():
        if value is not None:
            check_whole(name, value)
