"""Estimation of one ARIMA model for one series: conditional least squares, and exact maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from forecast_kit.models.statistical.arima_likelihood import Exact, conditional
from forecast_kit.models.statistical.arima_orders import LIMIT, Order, difference, from_partial, inside, to_partial
from forecast_kit.typing import Floats

_STEP = 1e-6  # of finite differences
_ROUNDS = 50
_START = 0.97  # of partial autocorrelations: from the very edge no step leads back in
_CELLS = 2_000_000  # of a matrix of all steps by all lags, of which there are as many as coefficients, and one
_EDGE = 1e-6  # as good as at the limit
_ROUGHLY = 0.1  # of -2 log L, for an estimate that is only where to begin


def nothing() -> None:
    """Checks nothing."""


@dataclass(frozen=True)
class Fit:
    """An estimated model.

    Attributes:
        order: of the model.
        params: `[p + P + q + Q]` coefficients phi, Phi, theta, Theta.
        beta: `[C]` of the regressors, the constant first where there is one.
        errors: `[n]` estimates of a.
        variance: of a, of maximum likelihood.
        loglike: the logarithm of the likelihood.
    """

    order: Order
    params: Floats
    beta: Floats
    errors: Floats
    variance: float
    loglike: float

    @property
    def count(self) -> int:
        """How many numbers were estimated, the variance among them."""
        return len(self.params) + len(self.beta) + 1

    @property
    def aicc(self) -> float:
        """Akaike's criterion for small samples, infinite where there are too few steps for it."""
        n, k = len(self.errors), self.count
        return -2.0 * self.loglike + 2.0 * k * n / (n - k - 1) if n > k + 1 else np.inf


@dataclass(frozen=True)
class Point:
    """A function at a place: its value, slope `[k]` and an estimate of its curvature `[k, k]`."""

    at: Floats
    value: float
    slope: Floats
    curvature: Floats


def minimise(
    evaluate: Callable[[Floats], Point | None],
    start: Floats,
    *,
    check: Callable[[], None],
    enough: float,
    limit: float = np.inf,
) -> Point | None:
    """The least point that was found, None where the start is none.

    `(H + lambda diag H) step = -slope`, with lambda less after a step that went as far down as expected, and more
    after one that did not. `H` is the curvature, corrected by the last change of the slope (BFGS).

    Args:
        evaluate: the function; None where it does not exist.
        start: `[k]` where to begin.
        check: called in every round; may raise.
        enough: a gain that is not worth another round.
        limit: of every coordinate's size. A step goes at most nine tenths of the way there.

    Source: Marquardt, SIAM Journal on Applied Mathematics 11(2), 1963; Nocedal and Wright, Numerical
    Optimization (2nd ed.), 6.1 and 10.3.
    """
    best, damping = evaluate(start), 1e-3
    if best is None or not len(start):
        return best
    curvature = best.curvature
    for _ in range(_ROUNDS):
        check()
        free = (limit - np.abs(best.at) > _EDGE) | (best.slope * best.at > 0.0)  # or the slope leads away from the edge
        slope = np.where(free, best.slope, 0.0)
        scale = np.diag(curvature)
        scale = np.maximum(scale, 1e-9 * max(float(scale.max()), 1e-12))
        step = np.linalg.solve(np.where(free & free[:, None], curvature, 0.0) + np.diag((damping + ~free) * scale),
                               -slope)  # fmt: skip
        room = 0.9 * (limit - np.sign(step) * best.at)
        step = np.clip(step, -room, room)
        tried = evaluate(best.at + step)
        if tried is None or not tried.value < best.value:
            if damping > 1e6 or abs(slope @ step) < enough:
                break
            damping = max(6.0 * damping, 1e-2)
            if tried is not None:
                curvature = secant(curvature, step, tried.slope - best.slope)
            continue
        gain, expected = best.value - tried.value, -float(best.slope @ step + 0.5 * step @ curvature @ step)
        curvature = secant(tried.curvature, step, tried.slope - best.slope)
        best = tried
        if gain < enough and damping < 1.0:
            break
        if gain > 0.25 * expected:
            damping = max(damping / 8.0, 1e-9)
    return best


def secant(curvature: Floats, step: Floats, change: Floats) -> Floats:
    """`H + y y' / y's - H s s' H / s'H s`, so that `H s = y`; the curvature as it was where that is not positive."""
    turned = curvature @ step
    along, before = float(step @ change), float(step @ turned)
    if along <= 1e-10 * np.sqrt((step @ step) * (change @ change)) or before <= 0.0:
        return curvature
    return curvature + np.outer(change, change) / along - np.outer(turned, turned) / before


def fit_conditional(
    w: Floats, x: Floats, order: Order, check: Callable[[], None] = nothing, enough: float = 1e-4
) -> Fit | None:
    """The model of the least sum of squared errors, counted from the first step on that has all its lags.

    None where there are too few steps for as many parameters and lags. Its likelihood is that of so large a variance in
    all n steps, so that models of fewer and more lags compare.

    Args:
        w: `[n]` the differenced series, of a scale of about 1.
        x: `[n, C]` regressors, differenced alike, of a scale of about 1, not collinear.
        order: of the model.
        check: called in every round; may raise.
        enough: a gain of -2 log L that is not worth another round.
    """
    n, used = len(w), len(w) - order.p - order.P * order.m
    if used < order.size + x.shape[1] + 2 or n <= order.width:
        return None

    def evaluate(point: Floats) -> Point | None:
        if not inside(point[: order.size], order):
            return None
        errors, jacobian = conditional(point, w, x, order)
        total = float(errors @ errors)
        if not 0.0 < total < np.inf:
            return None
        double = 2.0 * used / total
        return Point(point, used * np.log(total), double * (jacobian.T @ errors), double * (jacobian.T @ jacobian))

    beta = np.linalg.lstsq(x, w)[0]
    best = minimise(evaluate, np.append(np.zeros(order.size), beta), check=check, enough=enough)
    if best is None:
        return None
    errors, _ = conditional(best.at, w, x, order)
    variance = float(errors @ errors) / used
    loglike = -0.5 * n * (np.log(2.0 * np.pi * variance) + 1.0)
    errors = np.append(np.zeros(n - used), errors)
    return Fit(order, best.at[: order.size], best.at[order.size :], errors, variance, loglike)


def fit_exact(
    w: Floats,
    x: Floats,
    order: Order,
    check: Callable[[], None] = nothing,
    *,
    start: Floats | None = None,
    enough: float = 1e-4,
) -> Fit | None:
    """The model of maximum likelihood; None where there are too few steps for as many parameters.

    Slopes are finite differences, all at once; the curvature is that of the sum of squared errors. Of a series so
    long, with lags so many, that the exact likelihood does not fit into memory, it is the conditional estimate.

    Args:
        w: `[n]` the differenced series, of a scale of about 1.
        x: `[n, C]` regressors, differenced alike, of a scale of about 1, not collinear.
        order: of the model.
        check: called in every round; may raise.
        start: `[p + P + q + Q]` where to begin; by default at the conditional estimate.
        enough: a gain of -2 log L that is not worth another round.
    """
    size, n = order.size, len(w)
    if n < size + x.shape[1] + 2 or n <= order.width:
        return None
    exact = Exact(w, x, order)
    if n * order.width > _CELLS:
        return fit_conditional(w, x, order, check, enough)
    around = np.vstack([np.zeros(size), _STEP * np.eye(size)])

    def evaluate(point: Floats) -> Point | None:
        points = point + around
        try:
            total, log_det, errors, _ = exact.at(np.array([from_partial(each, order) for each in points]))
        except np.linalg.LinAlgError:  # singular, as it is at the edge
            return None
        if not ((total > 0.0) & np.isfinite(total + log_det)).all():
            return None
        values = n * np.log(total) + log_det
        jacobian = (errors[1:] - errors[0]) / _STEP  # [k, n]
        return Point(point, values[0], (values[1:] - values[0]) / _STEP, 2.0 * n / total[0] * (jacobian @ jacobian.T))

    if start is None:
        begun = fit_conditional(w, x, order, check, _ROUGHLY) if size else None
        start = np.zeros(size) if begun is None else begun.params
    begin = np.clip(to_partial(start, order), -_START, _START)
    descend = partial(minimise, evaluate, check=check, enough=enough, limit=LIMIT)
    best = descend(begin) or descend(np.zeros(size))
    if best is None:
        return None
    params = from_partial(best.at, order)
    total, log_det, errors, beta = exact.at(params[None])
    variance = float(total[0]) / n
    loglike = -0.5 * (n * (np.log(2.0 * np.pi * variance) + 1.0) + float(log_det[0]))
    return Fit(order, params, beta[0], errors[0], variance, loglike)


def fit_twice(w: Floats, x: Floats, order: Order, check: Callable[[], None] = nothing) -> Fit | None:
    """The likelier of two `fit_exact`: begun at the conditional estimate, and without any lag."""
    fits = [fit_exact(w, x, order, check, start=start, enough=1e-7) for start in (None, np.zeros(order.size))]
    return max((fit for fit in fits if fit is not None), key=lambda fit: fit.loglike, default=None)


@dataclass(frozen=True)
class Task:
    """A series ready to be estimated: differenced, of mean 0 where a constant is in the model, and of scale 1.

    Attributes:
        w: `[n]` the target, less `centre`, by `scale`.
        x: `[n, C]` a column of ones where there is a constant, then the covariates that tell something,
            less `centres`, by `scales`.
        scale: what 1 stands for.
        centre: what 0 stands for.
        scales: `[C]`, likewise.
        centres: `[C]`, likewise.
        kept: `[C]` which covariate each column is, -1 for the constant.
    """

    w: Floats
    x: Floats
    scale: float
    centre: float
    scales: Floats
    centres: Floats
    kept: list[int]

    @property
    def still(self) -> bool:
        """Whether there is nothing to estimate, because the differenced series does not move."""
        return not self.w.any()

    def level(self, fit: Fit) -> float:
        """The mean of the differenced series less the covariates' part, in the target's unit; 0 without a constant."""
        if -1 not in self.kept:
            return 0.0
        weights = self.scale * fit.beta / self.scales
        return float(self.centre + weights[0] - weights[1:] @ self.centres[1:])

    def weights(self, fit: Fit, count: int) -> Floats:
        """`[K]` the covariates' coefficients in the target's unit by theirs; 0 for those left out."""
        out = np.zeros(count)
        for at, value in zip(self.kept, self.scale * fit.beta / self.scales, strict=True):
            if at >= 0:
                out[at] = value
        return out


def pose(values: Floats, order: Order) -> Task:
    """What is to be estimated. A series that does not move once it is differenced is nought, of scale 1.

    A covariate that does not move, or follows from the ones before it, is left out.

    Args:
        values: `[T, 1 + K]` the target and the covariates.
        order: differences and constant count.
    """
    moved = difference(values, order)
    n = len(moved)
    centres = moved.mean(axis=0) if order.constant else np.zeros(values.shape[1])
    moved = moved - centres
    scales = np.sqrt((moved * moved).mean(axis=0))
    still = scales <= 1e-12 * np.abs(values).max(axis=0)
    if still[0]:
        moved[:, 0], scales[0] = 0.0, 1.0
    columns, kept = ([np.ones(n)], [-1]) if order.constant else ([], [])
    for k in np.flatnonzero(~still[1:]).tolist():
        column = moved[:, 1 + k] / scales[1 + k]
        before = np.column_stack([np.empty((n, 0)), *columns])
        rest = column - before @ np.linalg.lstsq(before, column)[0]
        if rest @ rest > 1e-10 * n:
            columns.append(column)
            kept.append(k)
    at = [1 + k for k in kept if k >= 0]
    ones, noughts = [1.0] * (len(kept) - len(at)), [0.0] * (len(kept) - len(at))
    return Task(
        moved[:, 0] / scales[0], np.column_stack([np.empty((n, 0)), *columns]), float(scales[0]), float(centres[0]),
        np.array([*ones, *scales[at]]), np.array([*noughts, *centres[at]]), kept,
    )  # fmt: skip
