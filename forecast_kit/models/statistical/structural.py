"""Structural time-series models: level, trend, season and cycle as components of their own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.statespace import structural

from forecast_kit.core.forecaster import FitCallback
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, name_some
from forecast_kit.models.local import LocalForecaster, States
from forecast_kit.models.naive import check_positive, normal_quantiles
from forecast_kit.models.statistical.kalman import kalman_ahead, kalman_step
from forecast_kit.models.statistical.workers import (
    Deadline,
    Estimate,
    OutOfTime,
    check_budget,
    estimate_each,
    tell_stopped,
)
from forecast_kit.typing import Floats

Trend = Literal["level", "drift", "linear", "smooth"]

# The names of statsmodels.
_TRENDS = {
    "level": "local level",
    "drift": "random walk with drift",
    "linear": "local linear trend",
    "smooth": "smooth trend",
}


class UnobservedComponents(LocalForecaster):
    """A structural model of each series: trend, season, cycle and noise, each with a variance of its own.

    `y_t = mu_t + s_t + c_t + e_t`. With `trend="linear"`, `mu_(t+1) = mu_t + b_t + n_t` and
    `b_(t+1) = b_t + w_t`; `"level"` is without b, `"smooth"` without n, `"drift"` with a constant b and
    without e. The season is a sum of waves whose amplitudes walk. Estimated by statsmodels'
    `UnobservedComponents` with maximum likelihood; states and intervals are those of the Kalman
    filter, for which a step without observation is no trouble.

    Args:
        trend: `"level"`, `"drift"`, `"linear"` or `"smooth"`.
        seasonal: whether there is a season.
        cycle: whether there is a damped stochastic cycle.
        season_length: steps in a season, m; by default the schema's. A season of 1 is none.
        max_history: the last steps of each series to estimate from; by default all.
        budget_s: seconds for each series; one that takes longer falls back.
        jobs: processes; by default one for each processor.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, chapter 2; Durbin and
    Koopman, Time Series Analysis by State Space Methods, 2nd ed., 2012, chapters 3 and 4.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> UnobservedComponents().fit(panel).predict(12, levels=(0.1, 0.9)).quantiles.shape
    (1, 12, 2)
    """

    packages = ("numpy", "pandas", "joblib", "statsmodels")

    def __init__(
        self,
        *,
        trend: Trend = "linear",
        seasonal: bool = True,
        cycle: bool = False,
        season_length: int | None = None,
        max_history: int | None = None,
        budget_s: float | None = 30.0,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        if trend not in _TRENDS:
            raise ArgumentError(f"trend must be one of {name_some(get_args(Trend))}; got {trend!r}")
        check_positive(max_history=max_history, jobs=jobs)
        check_budget(budget_s)
        super().__init__(season_length, horizon=horizon)
        self.trend, self.seasonal, self.cycle = trend, seasonal, cycle
        self.max_history, self.budget_s, self.jobs = max_history, budget_s, jobs

    def _learn(self, panel: Panel, callbacks: Sequence[FitCallback]) -> tuple[States, np.ndarray]:
        rows = panel.tail(self.max_history) if self.max_history else panel
        y = np.where(rows.observed, rows.y, np.nan)
        series = [y[a:b] for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)]
        season = self.season_length_ if self.seasonal and self.season_length_ > 1 else None
        estimate = partial(
            estimate_components, trend=self.trend, season=season, cycle=self.cycle, budget_s=self.budget_s
        )
        estimates = estimate_each(estimate, series, self.jobs, callbacks)
        tell_stopped(self.name, panel.ids, estimates)
        blank = _state(structural.UnobservedComponents(np.zeros(9), **_parts(self.trend, season, self.cycle)))
        states = [e.state or blank for e in estimates]
        return {key: np.stack([s[key] for s in states]) for key in blank}, np.array([e.reason for e in estimates])

    def _step(self, states: States, y: Floats, future: Floats) -> States:
        return kalman_step(states, y)

    def _ahead(self, states: States, horizon: int, levels: tuple[float, ...], future: Floats) -> tuple[Floats, Floats]:
        mean, deviation = kalman_ahead(states, horizon)
        return mean, normal_quantiles(mean, deviation, levels)


def _parts(trend: str, season: int | None, cycle: bool) -> dict[str, Any]:
    """The arguments of statsmodels' model."""
    waves = [{"period": season, "harmonics": season // 2}] if season else None
    return {"level": _TRENDS[trend], "freq_seasonal": waves, "cycle": cycle, "stochastic_cycle": cycle,
            "damped_cycle": cycle}  # fmt: skip


def estimate_components(y: Floats, *, trend: str, season: int | None, cycle: bool, budget_s: float | None) -> Estimate:
    """The model of maximum likelihood for one series `[T]`, NaN where not observed; its state after the last step."""
    seen = y[~np.isnan(y)]
    deadline = Deadline(budget_s)
    parts = _parts(trend, season, cycle)
    if len(seen) < max(2 * (season or 1), 10):
        least = f"two seasons of {season} steps" if season and season > 5 else "10 observations"
        return Estimate({}, f"{len(seen)} observations are less than {least}")
    if (seen == seen[0]).all():  # no variance to share out
        return Estimate(_constant(structural.UnobservedComponents(np.zeros(len(y)), **parts), float(seen[0])))
    scale = float(np.abs(seen).mean())
    try:
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")  # counted, not hidden: see tell_stopped
            model = structural.UnobservedComponents(y / scale, **parts)
            found = model.fit(disp=0, maxiter=200, cov_type="none", callback=deadline.check)
    except OutOfTime:
        return Estimate({}, f"not estimated within {budget_s:g} s")
    except (ValueError, np.linalg.LinAlgError, FloatingPointError) as error:
        return Estimate({}, f"statsmodels: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    state = _state(model)
    state["state"] = found.filter_results.predicted_state[:, -1] * scale
    state["covariance"] = found.filter_results.predicted_state_cov[:, :, -1] * scale**2
    state |= {"disturbance": state["disturbance"] * scale**2, "noise": state["noise"] * scale**2}
    return Estimate(state, note=any(issubclass(w.category, ConvergenceWarning) for w in caught))


def _state(model: structural.UnobservedComponents) -> dict[str, Any]:
    """The matrices of a model at its present parameters, and a state of noughts."""
    ssm = model.ssm
    selection = ssm["selection"]
    size = ssm.k_states
    return {
        "design": np.asarray(ssm["design"], float).reshape(size).copy(),
        "transition": np.asarray(ssm["transition"], float).copy(),
        "disturbance": np.asarray(selection @ ssm["state_cov"] @ selection.T, float),
        "noise": float(ssm["obs_cov"][0, 0]),
        "state": np.zeros(size),
        "covariance": np.zeros((size, size)),
    }


def _constant(model: structural.UnobservedComponents, value: float) -> dict[str, Any]:
    """The state of a series that never changes: its level, and no variance."""
    state = _state(model)
    level = np.zeros(len(state["state"]))
    level[0] = value
    nothing = {"disturbance": np.zeros_like(state["disturbance"]), "noise": 0.0}
    return {**state, **nothing, "state": level, "transition": np.eye(len(level))}
