"""Exponential smoothing, estimated for each series by statsmodels, carried on and forecast for all at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from forecast_kit.core.forecaster import FitCallback
from forecast_kit.data.filling import fill_by_season
from forecast_kit.data.panel import Panel
from forecast_kit.data.stages import count_of
from forecast_kit.errors import ArgumentError, name_some
from forecast_kit.models.local import LocalForecaster, States
from forecast_kit.models.naive import check_positive
from forecast_kit.models.statistical.ets_states import ets_mean, ets_quantiles, ets_step
from forecast_kit.models.statistical.workers import (
    Deadline,
    Estimate,
    OutOfTime,
    check_budget,
    estimate_each,
    tell_stopped,
)
from forecast_kit.typing import Floats

Error = Literal["add", "mul", "auto"]
Trend = Literal["add", "damped", "auto"] | None
Seasonal = Literal["add", "mul", "auto"] | None
Initial = Literal["heuristic", "estimated"]


@dataclass(frozen=True)
class Form:
    """One of the forms of exponential smoothing: how error, trend and season enter, in the words of `ETS`."""

    error: str
    trend: str | None
    seasonal: str | None

    @property
    def code(self) -> str:
        """The usual letters: `AAdM` for an additive error, a damped trend and a season that multiplies."""
        letters = {None: "N", "add": "A", "damped": "Ad", "mul": "M"}
        return letters[self.error] + letters[self.trend] + letters[self.seasonal]

    @property
    def positive(self) -> bool:
        """Whether it takes positive values alone."""
        return "mul" in (self.error, self.seasonal)

    def count(self, season_length: int) -> int:
        """How many numbers are estimated: smoothing parameters, starting states and the variance."""
        season = season_length if self.seasonal else 0
        return 3 + {None: 0, "add": 2, "damped": 3}[self.trend] + (season and season + 1)


class ETS(LocalForecaster):
    """Exponential smoothing in state-space form, estimated by maximum likelihood for each series.

    `y_t = l_(t-1) + phi b_(t-1) + s_(t-m) + e_t`; level, trend and season each take in a share of the
    error (`ets_step`). Season and error may multiply instead. Where a component is `"auto"`, every
    form is estimated and each series gets the one of least AICc, its starting states counted as
    parameters. Forms with an additive error and a season that multiplies are left out, which are
    numerically unstable; those that multiply are for series with positive values alone.

    Estimated by statsmodels' `ETSModel`. Quantiles are the model's own: normal where all is additive, of
    sample paths elsewhere. A series on which the estimation breaks down (a single observation, or fewer than two
    seasons) gets the seasonal naive forecast instead, and the forecast says so in `fallback` and `reason`.

    Args:
        error: `"add"`, `"mul"` or `"auto"`; by default it multiplies where the season does and adds elsewhere.
        trend: None, `"add"`, `"damped"` or `"auto"`.
        seasonal: None, `"add"`, `"mul"` or `"auto"`.
        season_length: steps in a season, m; by default the schema's. A season of 1 is none.
        initial: starting states `"heuristic"`, from the first seasons, or `"estimated"` with the rest,
            which takes three to thirteen times as long and forecasts no better on the M4 series.
        max_history: the last steps of each series to estimate from; by default all. With a long
            history, estimation costs much more and the forecast hardly gains.
        budget_s: seconds for each series. Of the forms that were estimated by then the best is taken; where
            there is none, the series falls back.
        jobs: processes; by default one for each processor.
        horizon: steps ahead where `predict` is not told.

    Attributes:
        forms_: `[N]` the form of each series, in the usual letters: `"AAdN"`; empty where it fell back.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing, 2008, chapters 2 and 7.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> model = ETS(error="auto", trend="auto", seasonal="auto").fit(panel)
    >>> model.forms_.tolist(), model.predict(12).mean.shape
    (['MAM'], (1, 12))
    """

    packages = ("numpy", "pandas", "joblib", "statsmodels")

    def __init__(
        self,
        *,
        error: Error | None = None,
        trend: Trend = None,
        seasonal: Seasonal = "add",
        season_length: int | None = None,
        initial: Initial = "heuristic",
        max_history: int | None = None,
        budget_s: float | None = 30.0,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        for name, value, allowed in (
            ("error", error, (None, *get_args(Error))),
            ("trend", trend, (None, "add", "damped", "auto")),
            ("seasonal", seasonal, (None, "add", "mul", "auto")),
            ("initial", initial, get_args(Initial)),
        ):
            if value not in allowed:
                raise ArgumentError(f"{name} must be one of {name_some(allowed)}; got {value!r}")
        if error == "add" and seasonal == "mul":
            raise ArgumentError("error='add' with seasonal='mul' is unstable; leave error out, or take 'mul' or 'auto'")
        check_positive(max_history=max_history, jobs=jobs)
        check_budget(budget_s)
        super().__init__(season_length, horizon=horizon)
        self.error, self.trend, self.seasonal, self.initial = error, trend, seasonal, initial
        self.max_history, self.budget_s, self.jobs = max_history, budget_s, jobs

    @property
    def forms_(self) -> np.ndarray:
        """See the class."""
        return self.states_["form"]

    def _candidates(self, season_length: int) -> list[Form]:
        error = self.error or ("mul" if self.seasonal == "mul" else "add")
        errors = ("add", "mul") if error == "auto" else (error,)
        trends = (None, "add", "damped") if self.trend == "auto" else (self.trend,)
        seasons = (None, "add", "mul") if self.seasonal == "auto" else (self.seasonal,)
        if season_length == 1:
            seasons = (None,)
        return [Form(e, t, s) for e in errors for t in trends for s in seasons if not (e == "add" and s == "mul")]

    def _learn(self, panel: Panel, callbacks: Sequence[FitCallback]) -> tuple[States, np.ndarray]:
        m = self.season_length_
        rows = panel.tail(self.max_history) if self.max_history else panel
        filled = fill_by_season(rows, m)
        # A single value would pass for a constant series, of which the next values are certain.
        seen = count_of(rows.observed, rows.indptr)
        series = [filled[a:b] if n > 1 else filled[b - n : b]
                  for a, b, n in zip(rows.indptr[:-1], rows.indptr[1:], seen, strict=True)]  # fmt: skip
        forms = self._candidates(m)
        estimate = partial(estimate_ets, forms=forms, season_length=m, initial=self.initial, budget_s=self.budget_s)
        estimates = estimate_each(estimate, series, self.jobs, callbacks)
        width = m if any(form.seasonal for form in forms) else 1
        tell_stopped(self.name, panel.ids, estimates)
        states = [e.state or _state(np.zeros(1), "", np.zeros(width), deviation=0.0) for e in estimates]
        for state in states:
            state["season"] = np.resize(state["season"], width)
        stacked = {key: np.stack([np.asarray(state[key]) for state in states]) for key in states[0]}
        return stacked, np.array([e.reason for e in estimates], np.str_)

    def _step(self, states: States, y: Floats, future: Floats) -> States:
        return ets_step(states, y)

    def _ahead(self, states: States, horizon: int, levels: tuple[float, ...], future: Floats) -> tuple[Floats, Floats]:
        return ets_mean(states, horizon), ets_quantiles(states, horizon, levels)


class AutoETS(ETS):
    """Exponential smoothing of the form that suits each series best: `ETS` with every component `"auto"`.

    The arguments, attributes and errors are those of `ETS`.

    Source: Hyndman, Koehler, Snyder and Grose, A state space framework for automatic forecasting using exponential
    smoothing methods, International Journal of Forecasting 18, 2002; of their forms, those that `ETS` has.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> AutoETS().fit(panel).predict(12, levels=(0.1, 0.9)).quantiles.shape
    (1, 12, 2)
    """

    def __init__(
        self,
        *,
        season_length: int | None = None,
        initial: Initial = "heuristic",
        max_history: int | None = None,
        budget_s: float | None = 30.0,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        super().__init__(
            error="auto", trend="auto", seasonal="auto", season_length=season_length, initial=initial,
            max_history=max_history, budget_s=budget_s, jobs=jobs, horizon=horizon,
        )  # fmt: skip


class HoltWinters(ETS):
    """The method of Holt and Winters: level, trend and season, smoothed with one parameter each.

    It is `ETS` with an additive error, or where the season multiplies with one that multiplies, and with
    starting states estimated with the parameters.

    Args:
        seasonal: `"add"`, `"mul"`, or None for Holt's method without season.
        damped: whether the trend fades out: `b` counts `phi + ... + phi^h` times, not h times.

    The other arguments, the attributes and the errors are those of `ETS`.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 8.3.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> HoltWinters("mul").fit(panel).forms_.tolist()
    ['MAM']
    """

    def __init__(
        self,
        seasonal: Literal["add", "mul"] | None = "add",
        *,
        damped: bool = False,
        season_length: int | None = None,
        initial: Initial = "estimated",
        max_history: int | None = None,
        budget_s: float | None = 30.0,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        super().__init__(
            trend="damped" if damped else "add", seasonal=seasonal, season_length=season_length, initial=initial,
            max_history=max_history, budget_s=budget_s, jobs=jobs, horizon=horizon,
        )  # fmt: skip
        self.damped = damped


def estimate_ets(
    y: Floats, *, forms: list[Form], season_length: int, initial: Initial, budget_s: float | None
) -> Estimate:
    """The form of least AICc for one series `[T]`, and its states after the last step."""
    m, deadline = season_length, Deadline(budget_s)
    if len(y) < 2:
        return Estimate(
            {}, "a single observation does not tell how a series moves" if len(y) else "nothing was observed"
        )
    if (y == y[0]).all():  # nothing to estimate; an optimiser would divide by the variance
        return Estimate(_state(y[-1:], Form("add", None, None).code, np.zeros(1), deviation=0.0))
    scale = float(np.abs(y).mean())
    fits, reason = [form for form in forms if not form.positive or (y > 0).all()], ""
    if not fits:
        return Estimate({}, "a form that multiplies takes positive values alone")
    if len(fits) > 1:  # compared by AICc, which needs more observations than parameters
        fits = [form for form in fits if len(y) > form.count(m) + 1]
        reason = f"{len(y)} observations are too few to choose a form"
    best: tuple[float, Form, ETSModel, Floats] | None = None
    note = False
    for form in fits:
        if form.seasonal and len(y) < 2 * m:
            reason = f"{len(y)} observations are less than two seasons of {m} steps"
            continue
        try:
            model, params, stopped = _fit(y / scale, form, m, initial, deadline.check)
            aicc = _aicc(model.loglike(params), form.count(m), len(y))
        except OutOfTime:
            note, reason = True, f"no form was estimated within {budget_s:g} s"
            break
        except (ValueError, np.linalg.LinAlgError, FloatingPointError, ZeroDivisionError) as error:
            reason = f"statsmodels: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            continue
        if np.isfinite(aicc) and (best is None or aicc < best[0]):
            best, note = (aicc, form, model, params), note or stopped
    if best is None:
        return Estimate({}, reason or "the likelihood is not finite")
    _, form, model, params = best
    return Estimate(_final_state(model, params, form, m, scale), note=note)


def _aicc(loglike: float, count: int, n: int) -> float:
    """Of a single form, with too few observations for it, the likelihood alone."""
    return -2.0 * loglike + 2.0 * count * n / (n - count - 1) if n > count + 1 else -2.0 * loglike


def _fit(
    y: Floats, form: Form, m: int, initial: Initial, callback: Callable[..., None]
) -> tuple[ETSModel, Floats, bool]:
    """The model, its parameters of maximum likelihood, and whether the optimiser stopped before it converged."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")  # counted, not hidden: see ETS._learn
        model = ETSModel(
            y, error=form.error, trend="add" if form.trend else None, damped_trend=form.trend == "damped",
            seasonal=form.seasonal, seasonal_periods=m if form.seasonal else None, initialization_method=initial,
        )  # fmt: skip
        params = model.fit(disp=False, callback=callback, return_params=True)
    return model, np.asarray(params, float), any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _final_state(model: ETSModel, params: Floats, form: Form, m: int, scale: float) -> dict[str, Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of standard errors, which nobody asked for
        found = model.smooth(params)
    value = dict(zip(model.param_names, params, strict=True))
    unit = 1.0 if form.seasonal == "mul" else scale
    return _state(
        found.level[-1:] * scale,
        form.code,
        np.asarray(found.season[-m:], float) * unit if form.seasonal else np.zeros(1),
        alpha=value["smoothing_level"],
        beta=value.get("smoothing_trend", 0.0),
        gamma=value.get("smoothing_seasonal", 0.0),
        phi=value.get("damping_trend", 1.0),
        trend=float(found.slope[-1]) * scale if form.trend else 0.0,
        deviation=float(np.sqrt(found.scale)) * (1.0 if form.error == "mul" else scale),
    )


def _state(level: Floats, form: str, season: Floats, **values: float) -> dict[str, Any]:
    """The states of one series, see `ets_states`; what is not given is neutral."""
    neutral = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0, "phi": 1.0, "trend": 0.0}
    return {**neutral, **values, "level": float(level[0]), "season": season, "form": np.str_(form),
            "times": form.endswith("M"), "relative": form.startswith("M")}  # fmt: skip
