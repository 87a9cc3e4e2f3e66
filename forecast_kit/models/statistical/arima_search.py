"""Which differences a series needs, and which orders suit it best: the search of Hyndman and Khandakar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from statsmodels.tsa.seasonal import STL

from forecast_kit.models.statistical.arima_fit import Fit, Task, fit_conditional, fit_exact, pose
from forecast_kit.models.statistical.arima_orders import Order, nearest_root
from forecast_kit.models.statistical.workers import Deadline, OutOfTime
from forecast_kit.typing import Floats

_CRITICAL = 0.463  # of the KPSS statistic around a level, at 5 %: Kwiatkowski et al. 1992, table 1
_STRONG = 0.64  # seasonal strength above which a season is differenced
_ROOT = 1.01  # roots nearer to the unit circle are not admitted
_MODELS = 94  # at most so many are estimated
_ROUGHLY = 0.01  # of -2 log L, where models are compared
_LONG, _WIDE = 150, 12  # a longer series, or season, has the exact likelihood of the best few alone
_FINAL = 3  # so many are estimated exactly


@dataclass(frozen=True)
class Limits:
    """The largest orders of a search, and the differences where they are given."""

    p: int = 5
    q: int = 5
    P: int = 2
    Q: int = 2
    total: int = 5
    d: int | None = None
    D: int | None = None

    def within(self, n: int, m: int) -> Limits:
        """For `n` observations: at most a third as many lags, and plain lags within a season of m steps."""
        third, season = n // 3, m - 1 if m > 1 else n
        seasonal = third // m if m > 1 else 0
        return replace(self, p=min(self.p, third, season), q=min(self.q, third, season), P=min(self.P, seasonal),
                       Q=min(self.Q, seasonal))  # fmt: skip

    def allow(self, order: Order) -> bool:
        """Whether all orders are from 0 to their limit."""
        return (0 <= order.p <= self.p and 0 <= order.q <= self.q and 0 <= order.P <= self.P
                and 0 <= order.Q <= self.Q and order.size <= self.total)  # fmt: skip


def kpss(y: Floats) -> float:
    """The statistic of Kwiatkowski, Phillips, Schmidt and Shin of a series `[n]`: large where its level wanders.

    `sum_t (e_1 + ... + e_t)^2 / (n^2 s^2)` with `e = y - mean(y)` and the long-run variance `s^2` by Bartlett's
    weights over `3 sqrt(n) / 13` lags.

    Source: Journal of Econometrics 54, 1992; the lags are those of R's `ndiffs`.
    """
    n = len(y)
    e = y - y.mean()
    lags = int(3.0 * np.sqrt(n) / 13.0)
    products = np.array([e[k:] @ e[: n - k] for k in range(lags + 1)])
    weights = 1.0 - np.arange(lags + 1) / (lags + 1.0)
    variance = (2.0 * (weights @ products) - products[0]) / n
    sums = np.cumsum(e)
    return float(sums @ sums) / (n * n * variance) if variance > 0.0 else 0.0


def count_differences(y: Floats, most: int = 2) -> int:
    """How many plain differences make the series `[n]` stationary, by the KPSS test at 5 % each time."""
    for d in range(most):
        if still(y) or not kpss(y) > _CRITICAL:
            return d
        y = np.diff(y)
    return most


def still(y: Floats) -> bool:
    """Whether the series does not move."""
    return len(y) < 2 or bool(np.ptp(y) <= 1e-12 * np.abs(y).max())


def seasonal_strength(y: Floats, m: int) -> float:
    """`max(0, 1 - var(remainder) / var(season + remainder))` of the decomposition by STL, between 0 and 1.

    Args:
        y: `[n]` of two seasons at least.
        m: steps in a season.

    Source: Wang, Smith and Hyndman, Data Mining and Knowledge Discovery 13, 2006; the window of 11 is R's.
    """
    found = STL(y, period=m, seasonal=11, seasonal_deg=0).fit()
    both = float(np.var(found.seasonal + found.resid))
    return max(0.0, 1.0 - float(np.var(found.resid)) / both) if both > 0.0 else 0.0


def count_seasonal(y: Floats, m: int) -> int:
    """1 where the season of m steps is so strong that it should be differenced, else 0."""
    return int(m > 1 and len(y) >= 2 * m and not still(y) and seasonal_strength(y, m) > _STRONG)


def beginnings(base: Order, limits: Limits, n: int) -> list[Order]:
    """The models from which the search sets out, all that the limits allow.

    (2,d,2)(1,D,1), (0,d,0)(0,D,0), (1,d,0)(1,D,0) and (0,d,1)(0,D,1), and where the base has a constant
    the second also without it. Of fewer than ten observations the first has lags of 1.

    Source: Hyndman and Khandakar, Journal of Statistical Software 27(3), 2008, section 3.2.
    """
    most = 1 if n < 10 else 2
    P, Q, p, q = min(1, limits.P), min(1, limits.Q), min(most, limits.p), min(most, limits.q)
    orders = [
        replace(base, p=p, q=q, P=P, Q=Q), base, replace(base, p=min(1, limits.p), P=P),
        replace(base, q=min(1, limits.q), Q=Q), replace(base, constant=False),
    ]  # fmt: skip
    return list(dict.fromkeys(orders))


def neighbours(order: Order, limits: Limits, *, constant: bool) -> Iterator[Order]:
    """The models one step from this one, as the limits allow, in the order in which they are tried.

    P or Q one less or more, both so; p and q likewise; and the constant in or out.

    Args:
        order: where the search stands.
        limits: of the orders.
        constant: whether one may be in the model at all.
    """
    moves = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    steps = [replace(order, P=order.P + a, Q=order.Q + b) for a, b in moves]
    steps += [replace(order, p=order.p + a, q=order.q + b) for a, b in moves]
    yield from filter(limits.allow, steps)
    if constant:
        yield replace(order, constant=not order.constant)


def stepwise(score: Callable[[Order], float], base: Order, limits: Limits, n: int) -> None:
    """Scores models until no neighbour of the best one is better, or enough were scored.

    Args:
        score: of a model, the less the better.
        base: differences, season, and whether a constant may be in the model.
        limits: of the orders.
        n: observations.
    """
    seen: dict[Order, float] = {}
    for order in beginnings(base, limits, n):
        seen[order] = score(order)
    best = min(seen, key=seen.__getitem__)
    moved = True
    while moved:
        moved = False
        for order in neighbours(best, limits, constant=base.constant):
            if order in seen:
                continue
            if len(seen) >= _MODELS:
                return
            seen[order] = score(order)
            if seen[order] < seen[best]:
                best, moved = order, True
                break


@dataclass(frozen=True)
class Found:
    """The model that was chosen, and what it was estimated from; whether the time ran out before the search ended."""

    fit: Fit
    task: Task
    cut: bool = False


def choose_differences(values: Floats, limits: Limits, m: int) -> Order:
    """The differences that the series `[T]`, less what its covariates `[T, K]` explain, calls for, and a constant.

    Args:
        values: `[T, 1 + K]` the target and the covariates.
        limits: with the differences where they are given.
        m: steps in a season.
    """
    y = values[:, 0]
    if values.shape[1] > 1:
        x = values - values.mean(axis=0)
        x = x / np.maximum(np.sqrt((x * x).mean(axis=0)), 1e-300)
        y = x[:, 0] - x[:, 1:] @ np.linalg.lstsq(x[:, 1:], x[:, 0])[0]
    D = count_seasonal(y, m) if limits.D is None else limits.D if m > 1 else 0
    for _ in range(D):
        y = y[m:] - y[:-m]
    d = count_differences(y) if limits.d is None else limits.d
    return Order(0, d, 0, D=D, m=m, constant=d + D <= 1)


def search(values: Floats, limits: Limits, m: int, budget_s: float | None = None) -> Found | str:
    """The model of least AICc, or why there is none.

    Models of a long series, or a long season, are compared by conditional least squares, others by the exact
    likelihood; the best few are then estimated exactly, and compared again.

    Args:
        values: `[T, 1 + K]` the target and the covariates.
        limits: of the orders.
        m: steps in a season.
        budget_s: seconds, after which the best so far is taken.
    """
    T, deadline = len(values), Deadline(budget_s)
    limits = limits.within(T, m)
    base = choose_differences(values, limits, m)
    if T - base.lost < 4:
        return f"{T} observations are too few to choose a model"
    tasks = {constant: pose(values, replace(base, constant=constant)) for constant in {base.constant, False}}
    if not all(np.isfinite(task.w).all() for task in tasks.values()):
        return "the differences are not finite"
    if tasks[base.constant].still:
        return Found(unmoved(base, tasks[base.constant]), tasks[base.constant])
    approximate = fit_conditional if T > _LONG or m > _WIDE else fit_exact
    first: dict[Order, tuple[float, Fit]] = {}
    final: dict[Order, tuple[float, Fit]] = {}

    def score(order: Order) -> float:
        deadline.check()
        task = tasks[order.constant]
        return admit(approximate(task.w, task.x, order, deadline.check, enough=_ROUGHLY), task, first)

    cut = False
    try:
        stepwise(score, base, limits, T)
        for order, (_, fit) in sorted(first.items(), key=lambda item: item[1][0]):
            if len(final) < _FINAL:
                task = tasks[order.constant]
                admit(fit_exact(task.w, task.x, order, deadline.check, start=fit.params), task, final)
    except OutOfTime:
        cut = True
    best = min((final or first).values(), key=lambda pair: pair[0], default=None)
    if best is None or not np.isfinite(best[0]):
        return f"no model was estimated within {budget_s:g} s" if cut else f"{T} observations are too few for a model"
    return Found(best[1], tasks[best[1].order.constant], cut)


def admit(fit: Fit | None, task: Task, fits: dict[Order, tuple[float, Fit]]) -> float:
    """Its AICc, with which a fit is put to the others; infinite, and it is not, where a root is too near the circle.

    The AICc is of the series itself, not of the scaled one: scales with and without a constant differ.
    """
    if fit is None or nearest_root(fit.params, fit.order) < _ROOT:
        return np.inf
    value = fit.aicc + 2.0 * len(task.w) * np.log(task.scale)
    fits[fit.order] = value, fit
    return value


def unmoved(order: Order, task: Task) -> Fit:
    """The model without errors of a series that does not move once it is differenced."""
    return Fit(order, np.empty(0), np.zeros(task.x.shape[1]), np.zeros(len(task.w)), 0.0, np.inf)
