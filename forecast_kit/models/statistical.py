"""Statistical models estimated by statsmodels, series by series; their recursions are ours.

The only module that imports statsmodels. What statsmodels estimates is kept as numbers (smoothing
parameters and final states) and applied by the vectorised recursion below, so nothing is pickled
and a forecast for new data needs no second estimation.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from forecast_kit.core.forecaster import FitCallback, FitProgress, Forecaster
from forecast_kit.core.splits import check_min_length
from forecast_kit.data.panel import Panel, positions
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import ArgumentError, TimeIndexError, name_some
from forecast_kit.models.naive import normal_quantiles, repeat_season
from forecast_kit.typing import Bools, Floats

logger = logging.getLogger(__name__)

Trend = Literal["add", "damped"] | None
Seasonal = Literal["add"] | None


@dataclass(frozen=True)
class ETSStates:
    """Parameters and last states of N series.

    alpha, beta, gamma, phi `[N]`: smoothing of level, trend and season, and damping; level, trend
    `[N]`; season `[N, m]`, the component of the next m steps; variance `[N]` of one-step errors;
    fitted `[N]`, False where estimation failed.
    """

    alpha: Floats
    beta: Floats
    gamma: Floats
    phi: Floats
    level: Floats
    trend: Floats
    season: Floats
    variance: Floats
    fitted: Bools

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name."""
        return dict(vars(self))


def ets_mean(states: ETSStates, horizon: int) -> Floats:
    """`[N, H]` the forecast `l + (phi + ... + phi^h) b + s_(t+h-m(k+1))`."""
    damping = np.cumsum(states.phi[:, None] ** np.arange(1, horizon + 1), axis=1)  # [N, H]
    season = states.season[:, np.arange(horizon) % states.season.shape[1]]
    return states.level[:, None] + damping * states.trend[:, None] + season


def ets_deviation(states: ETSStates, horizon: int) -> Floats:
    """`[N, H]` standard deviation: `s^2 (1 + sum_(j<h) c_j^2)`, `c_j = alpha + beta phi_j + gamma [m | j]`.

    `phi_j = phi + ... + phi^j`. Source: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential
    Smoothing, 2008, table 6.1.
    """
    j = np.arange(1, horizon)  # [H - 1]
    damping = np.cumsum(states.phi[:, None] ** j, axis=1)
    c = states.alpha[:, None] + states.beta[:, None] * damping
    c = c + states.gamma[:, None] * (j % states.season.shape[1] == 0)
    growth = np.concatenate([np.ones((len(c), 1)), 1.0 + np.cumsum(c * c, axis=1)], axis=1)
    return np.sqrt(states.variance[:, None] * growth)


def ets_update(states: ETSStates, y: Floats, given: Bools) -> ETSStates:
    """The states after one more step, for the series where one is given.

    `e = y - (l + phi b + s)`, then `l' = l + phi b + alpha e`, `b' = phi b + beta e`, `s' = s + gamma e`.

    Args:
        states: before the step.
        y, given: `[N]` the new value, and whether there is one.
    """
    carried = states.level + states.phi * states.trend
    error = np.where(given, y - carried - states.season[:, 0], 0.0)
    level = np.where(given, carried + states.alpha * error, states.level)
    trend = np.where(given, states.phi * states.trend + states.beta * error, states.trend)
    newest = states.season[:, 0] + states.gamma * error
    turned = np.concatenate([states.season[:, 1:], newest[:, None]], axis=1)
    season = np.where(given[:, None], turned, states.season)
    return ETSStates(
        states.alpha,
        states.beta,
        states.gamma,
        states.phi,
        level,
        trend,
        season,
        states.variance,
        states.fitted,
    )


class ETS(Forecaster):
    """Exponential smoothing with additive errors, estimated by maximum likelihood for each series.

    `y_t = l_(t-1) + phi b_(t-1) + s_(t-m) + e_t`; level, trend and season each take in a share of the
    error (see `ets_update`). Estimated by statsmodels' `ETSModel` with heuristic starting states.
    Quantiles are the model's own normal ones.

    A series on which the estimation breaks down (fewer than two seasons and a few steps, say) gets
    the seasonal naive forecast instead, and the forecast says so in `fallback`.

    Args:
        trend: None, `"add"` or `"damped"`.
        seasonal: None or `"add"`.
        season_length: steps in a season; by default the schema's. A season of 1 is none.
        max_history: the last steps of each series to estimate from; by default all. With a long
            history, estimation costs much more and the forecast hardly gains.
        jobs: processes; by default one for each processor.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing, 2008, chapter 2.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> ETS(trend="damped").fit(panel).predict(12).mean.shape
    (1, 12)
    """

    packages = ("numpy", "pandas", "joblib", "statsmodels")

    def __init__(
        self,
        *,
        trend: Trend = None,
        seasonal: Seasonal = "add",
        season_length: int | None = None,
        max_history: int | None = None,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        if trend not in (None, "add", "damped"):
            raise ArgumentError(f"trend must be None, 'add' or 'damped', got {trend!r}")
        if seasonal not in (None, "add"):
            raise ArgumentError(f"seasonal must be None or 'add', got {seasonal!r}")
        for name, value in (
            ("season_length", season_length), ("max_history", max_history), ("jobs", jobs), ("horizon", horizon),
        ):  # fmt: skip
            if value is not None and value < 1:
                raise ArgumentError(f"{name} must be at least 1, got {value}")
        self.trend, self.seasonal, self.season_length = trend, seasonal, season_length
        self.max_history, self.jobs, self.horizon = max_history, jobs, horizon
        self.ids_: np.ndarray = np.empty(0, np.str_)
        self.cutoff_: np.ndarray = np.empty(0)
        self.states_: ETSStates | None = None

    @property
    def context_length(self) -> int:
        """A season: the states hold the rest of the past; the rows serve series that fell back."""
        return self._m

    @property
    def _m(self) -> int:
        return 1 if self.states_ is None else self.states_.season.shape[1]

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        season = (self.season_length or panel.season_length) if self.seasonal else 1
        check_min_length(panel, season, f"{self.name} with a season of {season} steps")
        rows = panel.tail(self.max_history) if self.max_history else panel
        jobs = min(self.jobs or os.cpu_count() or 1, len(panel))
        values = [y for _, y in rows.series]
        size = max(1, min(16, len(values) // (4 * jobs)))
        chunks = [values[k : k + size] for k in range(0, len(values), size)]
        estimates: list[_Estimate | None] = []
        for part in _estimate_chunks(chunks, self.trend, season, jobs):
            estimates += part
            for callback in callbacks:
                callback(FitProgress(len(estimates), len(values), {}))
        self.ids_, self.cutoff_ = panel.ids, panel.axis.stamps(panel.last)
        self.states_ = _stack(estimates, season, np.nan_to_num(seasonal_error(panel, season, power=2)))
        self._tell(estimates)

    def _tell(self, estimates: list[_Estimate | None]) -> None:
        failed = [name for name, e in zip(self.ids_.tolist(), estimates, strict=True) if e is None]
        stopped = [name for name, e in zip(self.ids_.tolist(), estimates, strict=True) if e and not e.converged]
        if failed:
            logger.warning("ETS: estimation failed for %d series, they get the seasonal naive forecast: %s",
                           len(failed), name_some(failed))  # fmt: skip
        if stopped:
            logger.info("ETS: the optimiser stopped before it converged for %d series: %s",
                        len(stopped), name_some(stopped))  # fmt: skip

    def _predict(
        self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats
    ) -> tuple[Floats, Floats]:
        states = self._states_after(history)
        mean, deviation = ets_mean(states, horizon), ets_deviation(states, horizon)
        if not states.fitted.all():
            seasons = np.sqrt(np.arange(horizon) // self._m + 1)
            failed = ~states.fitted
            repeated = history.take(history.ids[failed])
            check_min_length(repeated, self._m, f"the seasonal naive forecast instead of {self.name}", carried=True)
            mean[failed] = repeat_season(repeated, self._m, horizon)
            deviation[failed] = np.sqrt(states.variance)[failed, None] * seasons
        return mean, normal_quantiles(mean, deviation, levels)

    def _states_after(self, history: Panel) -> ETSStates:
        """The states at the end of the history: the fitted ones, with every later observation taken in."""
        assert self.states_ is not None  # predict has checked that we are fitted
        at = positions(self.ids_, history.ids)
        if (at < 0).any():
            raise ArgumentError(
                f"{self.name} knows nothing of series {name_some(history.ids[at < 0].tolist())}; it was fitted on "
                f"{len(self.ids_)} others. Fit it on a panel that has them"
            )
        cutoff = history.axis.steps(self.cutoff_[at])
        early, late = history.last < cutoff, history.start > cutoff + 1
        if early.any() or late.any():
            raise TimeIndexError(
                f"{self.name} was fitted up to the cutoff of each series, and goes on from there; the history must "
                f"reach it without a hole, but does not in series {name_some(history.ids[early | late].tolist())}"
            )
        states = ETSStates(**{name: value[at] for name, value in self.states_.arrays().items()})
        new = history.last - cutoff
        for k in range(int(new.max(initial=0))):
            given = k < new
            rows = history.indptr[:-1] + np.minimum(cutoff + 1 + k, history.last) - history.start
            # A step that was not observed brings no news: the error is nought, the season turns all the same.
            y = np.where(history.observed[rows], history.y[rows], ets_mean(states, 1)[:, 0])
            states = ets_update(states, y, given)
        return states

    def _fallbacks(self, history: Panel) -> np.ndarray:
        assert self.states_ is not None
        fitted = self.states_.fitted[positions(self.ids_, history.ids)]
        return np.where(fitted, "", "SeasonalNaive")

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self.states_ is not None
        cutoff = (
            self.cutoff_ if self.cutoff_.dtype.kind == "i" else self.cutoff_.astype("datetime64[us]").astype(np.int64)
        )
        calendar = {"calendar": self.cutoff_.dtype.kind != "i"}
        return calendar, {"ids": self.ids_, "cutoff": cutoff, **self.states_.arrays()}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.ids_, cutoff = arrays.pop("ids"), arrays.pop("cutoff")
        self.cutoff_ = cutoff.astype("datetime64[us]") if values["calendar"] else cutoff
        self.states_ = ETSStates(**arrays)


@dataclass(frozen=True)
class _Estimate:
    """What statsmodels found for one series, and the states after its last observation."""

    alpha: float
    beta: float
    gamma: float
    phi: float
    level: float
    trend: float
    season: Floats  # [m]
    variance: float
    converged: bool


def _estimate_chunks(
    chunks: list[list[Floats]], trend: Trend, season: int, jobs: int
) -> Iterator[list[_Estimate | None]]:
    """The estimates of each chunk, in order; in processes of one thread each where that is worth their start."""
    if jobs == 1 or sum(map(len, chunks)) < 8:
        yield from (_estimate_all(chunk, trend, season) for chunk in chunks)
        return
    parallel = Parallel(n_jobs=jobs, return_as="generator", inner_max_num_threads=1, backend="loky")
    yield from parallel(delayed(_estimate_all)(chunk, trend, season) for chunk in chunks)


def _estimate_all(values: list[Floats], trend: Trend, season: int) -> list[_Estimate | None]:
    return [_estimate(y, trend, season) for y in values]


def _estimate(y: Floats, trend: Trend, season: int) -> _Estimate | None:
    """The maximum likelihood estimate for one series `[T]`, None where statsmodels cannot give one."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")  # counted, not hidden: see ETS._tell
            with np.errstate(all="ignore"):
                model = ETSModel(
                    y, error="add", trend="add" if trend else None, damped_trend=trend == "damped",
                    seasonal="add" if season > 1 else None, seasonal_periods=season if season > 1 else None,
                    initialization_method="heuristic",
                )  # fmt: skip
                found = model.fit(disp=False)
    except (ValueError, np.linalg.LinAlgError, FloatingPointError):
        return None
    value = dict(zip(model.param_names, np.asarray(found.params, float), strict=True))
    estimate = _Estimate(
        alpha=value["smoothing_level"],
        beta=value.get("smoothing_trend", 0.0),
        gamma=value.get("smoothing_seasonal", 0.0),
        phi=value.get("damping_trend", 1.0),
        level=float(found.level[-1]),
        trend=float(found.slope[-1]) if trend else 0.0,
        season=np.asarray(found.season[-season:], float) if season > 1 else np.zeros(1),
        variance=float(found.scale),
        converged=not any(issubclass(w.category, ConvergenceWarning) for w in caught),
    )
    numbers = [estimate.alpha, estimate.beta, estimate.gamma, estimate.phi, estimate.level, estimate.trend,
               estimate.variance, *estimate.season]  # fmt: skip
    return estimate if np.isfinite(numbers).all() else None


def _stack(estimates: list[_Estimate | None], season: int, variance: Floats) -> ETSStates:
    """All estimates side by side; a failed one has zeros, and the variance of a seasonal step."""
    fitted = np.array([e is not None for e in estimates])
    blank = _Estimate(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, np.zeros(season), 0.0, False)
    full = [e or blank for e in estimates]
    columns = {
        name: np.array([getattr(e, name) for e in full]) for name in ("alpha", "beta", "gamma", "phi", "level", "trend")
    }
    return ETSStates(
        **columns,
        season=np.stack([e.season for e in full]),
        variance=np.where(fitted, [e.variance for e in full], variance),
        fitted=fitted,
    )
