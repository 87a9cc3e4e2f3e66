"""ARIMA models with regressors: estimated for each series, carried on and forecast for all at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from forecast_kit.core.forecaster import FitCallback
from forecast_kit.data.filling import fill_by_season
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError
from forecast_kit.models.local import LocalForecaster, States
from forecast_kit.models.naive import check_positive, normal_quantiles
from forecast_kit.models.statistical.arima_fit import fit_twice, pose
from forecast_kit.models.statistical.arima_orders import Order, differencing, products
from forecast_kit.models.statistical.arima_search import Found, Limits, search, unmoved
from forecast_kit.models.statistical.arima_states import arima_deviation, arima_mean, arima_step
from forecast_kit.models.statistical.workers import (
    Deadline,
    Estimate,
    OutOfTime,
    check_budget,
    estimate_each,
    tell_stopped,
)
from forecast_kit.typing import Floats


class _Arima(LocalForecaster):
    """What `ARIMA` and `AutoARIMA` share: all but how the model of a series is found."""

    packages = ("numpy", "pandas", "scipy", "joblib", "statsmodels")

    @property
    def uses_future(self) -> bool:
        """True: they are its regression."""
        return True

    def __init__(
        self,
        season_length: int | None,
        max_history: int | None,
        budget_s: float | None,
        jobs: int | None,
        horizon: int | None,
    ) -> None:
        check_positive(max_history=max_history, jobs=jobs)
        check_budget(budget_s)
        super().__init__(season_length, horizon=horizon)
        self.max_history, self.budget_s, self.jobs = max_history, budget_s, jobs

    @property
    def orders_(self) -> np.ndarray:
        """See `AutoARIMA`."""
        return self.states_["order"]

    @abstractmethod
    def _estimator(self) -> partial[Estimate]:
        """The function that estimates one series `[T, 1 + K]`, target and covariates."""

    def _learn(self, panel: Panel, callbacks: Sequence[FitCallback]) -> tuple[States, np.ndarray]:
        rows = panel.tail(self.max_history) if self.max_history else panel
        values = np.column_stack([fill_by_season(rows, self.season_length_), rows.future])
        series = [values[a:b] for a, b in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)]
        estimates = estimate_each(self._estimator(), series, self.jobs, callbacks)
        tell_stopped(self.name, panel.ids, estimates)
        widths = {key: max([1, *(len(e.state[key]) for e in estimates if e.state)]) for key in ("ar", "ma")}
        states = [_padded(e.state or _state(Order(0, 0, 0), values.shape[1] - 1), widths) for e in estimates]
        stacked = {key: np.stack([np.asarray(state[key]) for state in states]) for key in states[0]}
        return stacked, np.array([e.reason for e in estimates], np.str_)

    def _step(self, states: States, y: Floats, future: Floats) -> States:
        return arima_step(states, y, future)

    def _ahead(self, states: States, horizon: int, levels: tuple[float, ...], future: Floats) -> tuple[Floats, Floats]:
        mean = arima_mean(states, horizon, future)
        return mean, normal_quantiles(mean, arima_deviation(states, horizon), levels)


class ARIMA(_Arima):
    """An ARIMA model of given orders for each series, with a season and known-future covariates.

    `phi(B) Phi(B^m) (w_t - c - x_t' b) = theta(B) Theta(B^m) a_t`, where `w` is the series after `d` plain and
    `D` seasonal differences, and `x` the panel's known-future covariates, differenced likewise: a regression
    with ARIMA errors. Estimated by exact maximum likelihood of the differenced series. Quantiles are normal, with
    coefficients and past errors taken as known; the variance is that of the errors divided by the steps less the
    number of coefficients.

    A series too short for the orders gets the seasonal naive forecast instead, and the forecast says so in
    `fallback` and `reason`. Missing values are filled before the estimation, see `fill_by_season`; among later
    observations they bring no news.

    Args:
        order: p lags of the series, d differences, q lags of the errors.
        seasonal_order: P, D and Q, likewise in steps of a season.
        season_length: steps in a season, m; by default the schema's. Of 1, the seasonal orders are left out.
        constant: whether `c` is in the model, the mean where d + D is 0 and the drift where it is 1; by default it
            is, and is not where d + D is more.
        max_history: the last steps of each series to estimate from; by default all.
        budget_s: seconds for each series; where they are not enough, it falls back.
        jobs: processes; by default one for each processor.
        horizon: steps ahead where `predict` is not told.

    Attributes:
        orders_: `[N]` the model of each series; empty where it fell back.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Box, Jenkins and Reinsel, Time Series Analysis, chapters 4, 5, 7 and 9; Hyndman and Athanasopoulos,
    Forecasting: Principles and Practice (3rd ed.), chapters 9 and 10.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> model = ARIMA((0, 1, 1), (0, 1, 1)).fit(panel)
    >>> model.orders_.tolist(), model.predict(12).mean.shape
    (['(0,1,1)(0,1,1)[12]'], (1, 12))
    """

    def __init__(
        self,
        order: tuple[int, int, int] = (1, 1, 1),
        seasonal_order: tuple[int, int, int] = (0, 0, 0),
        *,
        season_length: int | None = None,
        constant: bool | str = "auto",
        max_history: int | None = None,
        budget_s: float | None = 30.0,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        for name, value in (("order", order), ("seasonal_order", seasonal_order)):
            if not isinstance(value, list | tuple) or len(value) != 3 or not all(_is_count(k) for k in value):
                raise ArgumentError(f"{name} must be three whole numbers, none below 0; got {value!r}")
        if constant != "auto" and not isinstance(constant, bool):
            raise ArgumentError(f"constant must be True, False or 'auto'; got {constant!r}")
        if constant is True and order[1] + seasonal_order[1] > 1:
            raise ArgumentError(
                "constant=True with two or more differences would be a trend that bends; take constant='auto'"
            )
        super().__init__(season_length, max_history, budget_s, jobs, horizon)
        self.order, self.seasonal_order, self.constant = tuple(order), tuple(seasonal_order), constant

    def _estimator(self) -> partial[Estimate]:
        (p, d, q), (P, D, Q) = self.order, self.seasonal_order
        if self.season_length_ == 1:
            P = D = Q = 0
        constant = d + D <= 1 and self.constant is not False
        order = Order(p, d, q, P, D, Q, self.season_length_, constant)
        return partial(estimate_arima, order=order, budget_s=self.budget_s)


class AutoARIMA(_Arima):
    """The ARIMA model that suits each series best, found by a stepwise search.

    Seasonal differences where the seasonal strength is above 0.64, plain ones as the KPSS test asks for them at
    5 %. Then, from four models, always on to a neighbour of lower AICc: lags one more or fewer, five in all, the
    constant in or out. A model with a root nearer to the unit circle than 1.01 is not taken. Of series beyond 150
    steps, or seasons beyond 12, only the best three models are estimated by the exact likelihood, after a search
    by conditional least squares. See `ARIMA` for the rest.

    Args:
        season_length: steps in a season, m; by default the schema's.
        max_p, max_q: most plain lags of the series and of the errors.
        max_P, max_Q: most seasonal ones.
        d, D: plain and seasonal differences; by default as the tests have it.
        max_history: the last steps of each series to estimate from; by default all.
        budget_s: seconds for each series. Of the models that were estimated by then the best is taken; where
            there is none, the series falls back.
        jobs: processes; by default one for each processor.
        horizon: steps ahead where `predict` is not told.

    Attributes:
        orders_: `[N]` the model of each series: `"(1,1,2)(0,1,1)[12] drift"`; empty where it fell back.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Hyndman and Khandakar, Automatic time series forecasting, Journal of Statistical Software 27(3), 2008;
    Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 9.7.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> AutoARIMA().fit(panel).orders_.tolist()
    ['(2,1,1)(0,1,0)[12]']
    """

    def __init__(
        self,
        *,
        season_length: int | None = None,
        max_p: int = 5,
        max_q: int = 5,
        max_P: int = 2,
        max_Q: int = 2,
        d: int | None = None,
        D: int | None = None,
        max_history: int | None = None,
        budget_s: float | None = 30.0,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        for name, value in (("max_p", max_p), ("max_q", max_q), ("max_P", max_P), ("max_Q", max_Q), ("d", d), ("D", D)):
            if not _is_count(value) and not (value is None and name in ("d", "D")):
                raise ArgumentError(f"{name} must be a whole number, none below 0; got {value!r}")
        super().__init__(season_length, max_history, budget_s, jobs, horizon)
        self.max_p, self.max_q, self.max_P, self.max_Q, self.d, self.D = max_p, max_q, max_P, max_Q, d, D

    def _estimator(self) -> partial[Estimate]:
        limits = Limits(self.max_p, self.max_q, self.max_P, self.max_Q, d=self.d, D=self.D)
        return partial(choose_arima, limits=limits, season_length=self.season_length_, budget_s=self.budget_s)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@np.errstate(all="ignore")  # hostile series overflow: what is not finite falls back
def estimate_arima(values: Floats, *, order: Order, budget_s: float | None) -> Estimate:
    """The model of these orders for one series `[T, 1 + K]`, target and covariates, at the end of it."""
    if _is_constant(values):
        return Estimate(_constant(values))
    T, deadline = len(values), Deadline(budget_s)
    short = Estimate({}, f"{T} observations are too few for {order}")
    if T - order.lost < 2:
        return short
    task = pose(values, order)
    if task.still:
        return Estimate(_end(values, Found(unmoved(order, task), task)))
    if not np.isfinite(task.w).all():
        return Estimate({}, "the differences are not finite")
    try:
        fit = fit_twice(task.w, task.x, order, deadline.check)
    except OutOfTime:
        return Estimate({}, f"{order} was not estimated within {budget_s:g} s")
    return short if fit is None else Estimate(_end(values, Found(fit, task)))


@np.errstate(all="ignore")  # hostile series overflow: what is not finite falls back
def choose_arima(values: Floats, *, limits: Limits, season_length: int, budget_s: float | None) -> Estimate:
    """The model of least AICc for one series `[T, 1 + K]`, target and covariates, at the end of it."""
    if _is_constant(values):
        return Estimate(_constant(values))
    found = search(values, limits, season_length, budget_s)
    if isinstance(found, str):
        return Estimate({}, found)
    return Estimate(_end(values, found), note=found.cut)


def _is_constant(values: Floats) -> bool:
    return bool((values[:, 0] == values[0, 0]).all())


def _constant(values: Floats) -> dict[str, Any]:
    return {**_state(Order(0, 0, 0, constant=True), values.shape[1] - 1), "constant": float(values[0, 0])}


def _state(order: Order, covariates: int) -> dict[str, Any]:
    """The states of a model without lags, see `arima_states`."""
    return {"ar": np.empty(0), "ma": np.empty(0), "last": np.empty(0), "errors": np.empty(0), "constant": 0.0,
            "weights": np.zeros(covariates), "deviation": 0.0, "order": np.str_(order)}  # fmt: skip


def _end(values: Floats, found: Found) -> dict[str, Any]:
    """The states after the last step of the series."""
    fit, task = found.fit, found.task
    order, n = fit.order, len(fit.errors)
    own, ma = products(fit.params, order)
    ar = np.convolve(own, differencing(order))
    weights = task.weights(fit, values.shape[1] - 1)
    rest = values[:, 0] - values[:, 1:] @ weights
    freedom = max(n - fit.count + 1, 1)
    return {
        **_state(order, len(weights)),
        "ar": -ar[1:],
        "ma": ma[1:],
        "last": rest[::-1][: len(ar) - 1],
        "errors": task.scale * fit.errors[::-1][: len(ma) - 1],
        "constant": float(own.sum()) * task.level(fit),
        "weights": weights,
        "deviation": task.scale * float(np.sqrt(fit.variance * n / freedom)),
    }


def _padded(state: dict[str, Any], widths: dict[str, int]) -> dict[str, Any]:
    """The state with as many lags as the widest of the panel; those beyond its own count nothing."""

    def wide(key: str, width: int) -> Floats:
        return np.append(state[key], np.zeros(width - len(state[key])))

    return {**state, **{key: wide(key, widths[like])
                        for key, like in (("ar", "ar"), ("last", "ar"), ("ma", "ma"), ("errors", "ma"))}}  # fmt: skip
