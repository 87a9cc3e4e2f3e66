"""Forecasts of the seasonally adjusted series, with the season put back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, Forecaster, as_forecaster
from forecast_kit.data.filling import fill_by_season
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import classical_season
from forecast_kit.errors import ArgumentError
from forecast_kit.models.local import by_length, choose, places
from forecast_kit.models.naive import Naive, check_positive
from forecast_kit.models.nested import packages_of
from forecast_kit.models.smoothing import ThetaLine, check_theta
from forecast_kit.typing import Bools, Floats, Ints

Model = Literal["auto", "additive", "multiplicative"]
_INNER = "forecaster"


@dataclass(frozen=True)
class Decomposition:
    """What a panel's series are made of.

    Attributes:
        adjusted: `[R]` the target without season.
        seasons: for each season its pattern over the next m steps after each series' last row, `[N, m]`.
        times: `[N]` where the pattern multiplies; elsewhere it is added.
    """

    adjusted: Floats
    seasons: tuple[Floats, ...]
    times: Bools


class Adjusted(Forecaster):
    """Another forecaster on what a decomposition leaves when the season is taken out, and the season put back.

    A subclass writes `_decompose`. To the forecaster inside, the series have a season of one step. The
    pattern found at the end of the training part goes on unchanged, through new history too;
    quantiles are those of the adjusted series with the season put back.

    Args:
        base: any forecaster, or its name, or a mapping that describes it.
        horizon: steps ahead where `predict` is not told; by default that of the base.
    """

    def __init__(self, base: Any, *, horizon: int | None = None) -> None:
        check_positive(horizon=horizon)
        self.base = as_forecaster(base)
        self.horizon = self.base.horizon if horizon is None else horizon
        self.packages = packages_of(type(self).packages, [self.base])
        self.inner_: Forecaster | None = None
        self.ids_: np.ndarray = np.empty(0, np.str_)
        self.last_: Ints = np.empty(0, np.int64)
        self.origin_: np.ndarray = np.zeros(1, np.int64)
        self.seasons_: tuple[Floats, ...] = ()
        self.times_: Bools = np.empty(0, bool)

    @abstractmethod
    def _decompose(self, panel: Panel) -> Decomposition:
        """What the training part is made of."""

    @property
    def context_length(self) -> int:
        """That of the forecaster inside."""
        return 1 if self.inner_ is None else self.inner_.context_length

    @property
    def reach(self) -> int | None:
        """That of the forecaster inside."""
        return None if self.inner_ is None else self.inner_.reach

    @property
    def uses_future(self) -> bool:
        """Whether they change those of the forecaster inside."""
        return self.inner_ is None or self.inner_.uses_future

    @property
    def fit_report(self) -> str:
        """That of the forecaster inside."""
        return "" if self.inner_ is None else self.inner_.fit_report

    @property
    def costs(self) -> dict[str, float]:
        """Those of the forecaster inside."""
        return {} if self.inner_ is None else self.inner_.costs

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        parts = self._decompose(panel)
        self.ids_, self.last_, self.origin_ = panel.ids, panel.last, panel.axis.stamps(np.zeros(1, np.int64))
        self.seasons_, self.times_ = parts.seasons, parts.times
        plain = replace(panel, y=parts.adjusted, schema=replace(panel.schema, season_length=1))
        self.inner_ = self.base.clone().fit(plain, callbacks=callbacks)

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        assert self.inner_ is not None  # predict has checked that we are fitted
        at = places(self.name, self.ids_, history)
        done = self.inner_._predict(self._without_season(history, at), horizon, levels, future)
        season = self._season(history, at[:, None], history.horizon_steps(horizon))
        times = self.times_[at]
        with np.errstate(all="ignore"):  # what overflows is refused by predict
            mean = np.where(times[:, None], done.mean * season, done.mean + season)
            quantiles = choose(times, done.quantiles * season[:, :, None], done.quantiles + season[:, :, None])
        return replace(done, mean=mean, quantiles=quantiles)

    def _take_in(self, panel: Panel) -> Panel:
        assert self.inner_ is not None  # update has checked that we are fitted
        moved = copy(self.inner_)  # should it fail, the one we have stays where it is
        moved._take_in(self._without_season(panel, places(self.name, self.ids_, panel)))
        self.inner_ = moved
        return super()._take_in(panel)

    def _season(self, history: Panel, at: Ints, steps: Ints) -> Floats:
        """The pattern of all seasons together at steps of the history's axis, of the series at these places."""
        shift = history.axis.steps(self.origin_)[0]  # steps from the history's origin to ours
        after = steps - shift - self.last_[at] - 1
        total = np.where(self.times_[at], 1.0, 0.0) + np.zeros(steps.shape)
        for pattern in self.seasons_:
            values = pattern[at, after % pattern.shape[1]]
            total = np.where(self.times_[at], total * values, total + values)
        return total

    def _without_season(self, history: Panel, at: Ints) -> Panel:
        owner = np.repeat(at, history.lengths)
        season = self._season(history, owner, history.row_steps)
        divide = self.times_[owner]
        return replace(history, y=np.where(divide, history.y / np.where(divide, season, 1.0), history.y - season))

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self.inner_ is not None  # save has checked that we are fitted
        self.inner_.save(folder / _INNER)
        calendar = self.origin_.dtype.kind != "i"
        origin = str(self.origin_[0]) if calendar else int(self.origin_[0])
        seasons = {f"season_{k}": values for k, values in enumerate(self.seasons_)}
        return {"origin": origin}, {"ids": self.ids_, "last": self.last_, "times": self.times_, **seasons}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.inner_ = Forecaster.load(folder / _INNER)
        self.origin_ = np.array([values["origin"]], np.int64 if isinstance(values["origin"], int) else "datetime64[us]")
        self.ids_, self.last_, self.times_ = arrays["ids"], arrays["last"], arrays["times"]
        self.seasons_ = tuple(arrays[f"season_{k}"] for k in range(len(arrays) - 3))


class SeasonallyAdjusted(Adjusted):
    """Another forecaster on the series without its season by the classical decomposition, where there is one.

    A series is adjusted where its autocorrelation at the season's lag m is significant at 90 %:
    `|r_m| > z sqrt((1 + 2 (r_1^2 + ... + r_(m-1)^2)) / T)` with `z = 1.645`, and it has three seasons; others go
    to the forecaster as they are. This is how the M competitions prepare their benchmarks.

    Args:
        base: any forecaster, or its name, or a mapping that describes it.
        season_length: steps in a season, m; by default the schema's.
        model: `"additive"`, `"multiplicative"`, or `"auto"`: multiplicative for series with positive values alone.
            A series that has others is adjusted additively in any case.
        test: whether to ask the autocorrelation; without, every series of three seasons is adjusted.
        horizon: steps ahead where `predict` is not told; by default that of the base.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Makridakis, Spiliotis and Assimakopoulos, The M4 Competition, International Journal of Forecasting
    36, 2020, and its published code; Hyndman and Athanasopoulos, 3.4.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> SeasonallyAdjusted("SES").fit(panel).predict(12).mean.shape
    (1, 12)
    """

    def __init__(
        self,
        base: Any,
        *,
        season_length: int | None = None,
        model: Model = "auto",
        test: bool = True,
        horizon: int | None = None,
    ) -> None:
        check_positive(season_length=season_length)
        check_model(model)
        super().__init__(base, horizon=horizon)
        self.season_length, self.model, self.test = season_length, model, test

    def _decompose(self, panel: Panel) -> Decomposition:
        m = self.season_length or panel.season_length
        seasonal = panel.lengths >= 3 * m if m > 1 else np.zeros(len(panel), bool)
        if self.test and seasonal.any():
            seasonal &= is_seasonal(panel, m)
        times = seasonal & (self.model != "additive") & (np.minimum.reduceat(panel.y, panel.indptr[:-1]) > 0)
        owner = np.repeat(np.arange(len(panel)), panel.lengths)
        # The place of a row counts from the first step after the last row, so that the pattern begins there.
        place = (np.arange(len(panel.y)) - panel.indptr[1:][owner]) % m
        pattern = classical_season(panel, m, place, times) if seasonal.any() else np.zeros((len(panel), m))
        pattern = np.where(seasonal[:, None], pattern, 0.0)
        season, divide = pattern[owner, place], times[owner]
        adjusted = np.where(divide, panel.y / np.where(divide, season, 1.0), panel.y - season)
        return Decomposition(adjusted, (pattern,), times)


class Naive2(SeasonallyAdjusted):
    """The naive forecast of the seasonally adjusted series: the yardstick of the M competitions.

    Args:
        season_length: steps in a season, m; by default the schema's.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: a number is below 1.

    Source: Makridakis, Spiliotis and Assimakopoulos, The M4 Competition, International Journal of Forecasting
    36, 2020; see `SeasonallyAdjusted`.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> Naive2().fit(panel).predict(3).mean.round(1)
    array([[437.5, 424.7, 484.2]])
    """

    def __init__(self, season_length: int | None = None, *, horizon: int | None = None) -> None:
        super().__init__(Naive(), season_length=season_length, horizon=horizon)


class Theta(SeasonallyAdjusted):
    """The theta method: half a straight line, half simple exponential smoothing, of the seasonally adjusted series.

    `y_(T+h|T) = z_(T+h|T) / theta + (1 - 1 / theta) (a + b (T + h))`, where `a + b t` is the line of least squares,
    and `z_t = theta y_t + (1 - theta) (a + b t)` is smoothed as by `SES`. The season goes and comes back as in
    `SeasonallyAdjusted`. The best single method of the M3 competition.

    Args:
        theta: at least 1; 2 is the classic.
        season_length: steps in a season, m; by default the schema's.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: theta is below 1, or another number is.

    Source: Assimakopoulos and Nikolopoulos, The theta model, International Journal of Forecasting 16, 2000;
    Hyndman and Billah, Unmasking the Theta method, the same 19, 2003.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> Theta().fit(panel).predict(3).mean.round(1)
    array([[440.9, 429.2, 490.7]])
    """

    def __init__(self, theta: float = 2.0, *, season_length: int | None = None, horizon: int | None = None) -> None:
        check_theta(theta)
        super().__init__(ThetaLine(theta), season_length=season_length, horizon=horizon)
        self.theta = theta


def check_model(model: str) -> None:
    """Raises an `ArgumentError` where it names no way in which a season enters."""
    if model not in ("auto", "additive", "multiplicative"):
        raise ArgumentError(f"model must be 'auto', 'additive' or 'multiplicative'; got {model!r}")


def is_seasonal(panel: Panel, season_length: int) -> Bools:
    """`[N]` whether the autocorrelation at the season's lag is significant at 90 %, see `SeasonallyAdjusted`.

    A lag above `10 log10(T)` is not looked at, as in R's `acf`, and such a series counts as not seasonal.
    """
    m, found = season_length, np.zeros(len(panel), bool)
    whole = replace(panel, y=fill_by_season(panel, m), observed=np.ones(len(panel.y), bool))
    for at, y in by_length(whole, width=1024):
        if len(y) <= m:
            continue  # nothing is a season before anything
        count = panel.lengths[at]
        off = np.nan_to_num(y - np.nansum(y, axis=0) / count)  # nought before the first row
        total = np.square(off).sum(axis=0)
        total = np.where(total > 0, total, np.inf)  # a constant series has no season
        correlation = np.stack([(off[lag:] * off[:-lag]).sum(axis=0) for lag in range(1, m + 1)]) / total
        limit = 1.645 * np.sqrt((1.0 + 2.0 * np.square(correlation[: m - 1]).sum(axis=0)) / count)
        found[at] = (np.abs(correlation[-1]) > limit) & (m <= np.floor(10.0 * np.log10(count)))
    return found
