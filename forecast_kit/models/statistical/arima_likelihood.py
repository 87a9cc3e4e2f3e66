"""The errors and the likelihood of an ARMA model with regressors, in arrays: no step is a loop in Python."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import lfilter

from forecast_kit.models.statistical.arima_orders import Order, factors, polynomial, products
from forecast_kit.typing import Floats, Ints


def conditional(point: Floats, w: Floats, x: Floats, order: Order) -> tuple[Floats, Floats]:
    """Errors `[n - p - P m]` given the first steps, and their derivatives `[n - p - P m, p + P + q + Q + C]`.

    `a = phi Phi z / (theta Theta)` with `z = w - x b`, hence `da/dphi_i = -B^i Phi z / (theta Theta)`,
    `da/dtheta_j = -B^j a / theta`, and so on; to divide by a polynomial is a recursive filter. Errors
    before the first step that has all its lags are nought.

    Args:
        point: the coefficients of the polynomials, and then of the regressors.
        w: `[n]` the differenced series.
        x: `[n, C]` regressors, differenced alike.
        order: of the model.

    Source: Box, Jenkins and Reinsel, Time Series Analysis, 7.1.2 and 7.2.
    """
    n, first, lags = len(w), order.p + order.P * order.m, order.p + order.P
    phi, seasonal_phi, theta, seasonal_theta = factors(point[: order.size], order)
    ar, ma = products(point[: order.size], order)
    z = w - x @ point[order.size :]
    columns = np.empty((n - first, 1 + lags + x.shape[1]))
    columns[:, 0] = _times(ar, z)[first:]
    if order.p:
        less = -_times(polynomial(-seasonal_phi, order.m), z)
        for i in range(1, order.p + 1):
            columns[:, i] = less[first - i : n - i]
    if order.P:
        less = -_times(polynomial(-phi, 1), z)
        for i in range(1, order.P + 1):
            columns[:, order.p + i] = less[first - i * order.m : n - i * order.m]
    for c in range(x.shape[1]):
        columns[:, 1 + lags + c] = -_times(ar, x[:, c])[first:]
    columns = _over(ma, columns)
    errors = columns[:, 0]
    slopes = np.zeros((n - first, len(point)))
    slopes[:, :lags], slopes[:, order.size :] = columns[:, 1 : 1 + lags], columns[:, 1 + lags :]
    for at, count, coefficients, lag in ((lags, order.q, theta, 1), (lags + order.q, order.Q, seasonal_theta, order.m)):
        if count:
            less = -_over(polynomial(coefficients, lag), errors)
            for j in range(1, count + 1):
                slopes[j * lag :, at + j - 1] = less[: max(n - first - j * lag, 0)]
    return errors, slopes


def _times(coefficients: Floats, values: Floats) -> Floats:
    return np.convolve(coefficients, values)[: len(values)]


def _over(coefficients: Floats, values: Floats) -> Floats:
    return values if len(coefficients) == 1 else lfilter([1.0], coefficients, values, axis=0)


class Exact:
    """The exact Gaussian likelihood at many points at once, regressors and variance at their best for each.

    With all that was before the first step set to nought, the filter `phi Phi / (theta Theta)` turns the
    series into `e = a + Pi g`. Here `g` `[r]` is what the steps before had still to say, independent of `a`
    and of variance `s^2 G`, and `Pi` `[n, r]` holds the weights of `1 / (theta Theta)`, shifted. So
    `var(e) = s^2 (I + Pi G Pi')`, and with `K = Pi' Pi`, `h = Pi' e` and `M = I + G K`

        S = e'e - h' M^-1 G h,     -2 log L = n log(2 pi s^2) + log |M| + S / s^2,

    and the expected errors given the whole series are `a = e - Pi M^-1 G h`. `G` follows from
    `L_ar Gamma L_ar' = L_ma L_ma' + G` with the autocovariances `Gamma` and the triangular Toeplitz
    matrices `L` of both polynomials.

    Args:
        w: `[n]` the differenced series.
        x: `[n, C]` regressors, differenced alike.
        order: of the model.

    Source: Ljung and Box, The likelihood function of stationary autoregressive-moving average models,
    Biometrika 66(2), 1979; Brockwell and Davis, Time Series: Theory and Methods (2nd ed.), 3.3 and 8.7.
    """

    def __init__(self, w: Floats, x: Floats, order: Order) -> None:
        self.columns = np.column_stack([w, x])  # [n, 1 + C]
        self.order = order

    def at(self, points: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """`S` `[B]`, `log |M|` `[B]`, errors `a` `[B, n]` and the regressors' coefficients `[B, C]`.

        Args:
            points: `[B, p + P + q + Q]` coefficients, inside the stationary and invertible region.
        """
        many, r = len(points), self.order.width
        if not r:
            e = np.broadcast_to(self.columns, (many, *self.columns.shape))
            return self._regress(e, e.transpose(0, 2, 1) @ e, np.zeros(many))
        ar, ma = np.zeros((many, r + 2)), np.zeros((many, r + 2))  # the last place stays 0: what lies outside
        for b, point in enumerate(points):
            left, right = products(point, self.order)
            ar[b, : len(left)], ma[b, : len(right)] = left, right
        impulse = np.eye(1, len(self.columns))[0]
        e = np.stack([lfilter(ar[b, :-1], ma[b, :-1], self.columns, axis=0) for b in range(many)])  # [B, n, 1 + C]
        weights = np.stack([lfilter([1.0], ma[b, :-1], impulse) for b in range(many)])  # [B, n]
        padded = np.concatenate([np.zeros((many, r - 1)), weights], axis=1)
        shifted = np.ascontiguousarray(sliding_window_view(padded, r, axis=1)[:, :, ::-1])  # [B, n, r]
        transposed = shifted.transpose(0, 2, 1)
        before, h = presample(ar, ma), transposed @ e
        matrix = np.eye(r) + before @ (transposed @ shifted)
        g = np.linalg.solve(matrix, before @ h)  # [B, r, 1 + C]
        squares = e.transpose(0, 2, 1) @ e - h.transpose(0, 2, 1) @ g
        return self._regress(e - shifted @ g, squares, np.linalg.slogdet(matrix)[1])

    def _regress(self, errors: Floats, squares: Floats, log_det: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Regressors at their best: `b = Q_xx^-1 Q_xy` and `S = Q_yy - Q_yx b`, `Q` the weighted products."""
        beta = np.linalg.solve(squares[:, 1:, 1:], squares[:, 1:, :1])[:, :, 0]  # [B, C]
        total = squares[:, 0, 0] - (squares[:, 0, 1:] * beta).sum(axis=1)
        return total, log_det, errors[:, :, 0] - (errors[:, :, 1:] @ beta[:, :, None])[:, :, 0], beta


def presample(ar: Floats, ma: Floats) -> Floats:
    """`[B, r, r]` the matrix G of `Exact`.

    Autocovariances solve `sum_k ar_k gamma_|i-k| = sum_(j>=i) ma_j psi_(j-i)` for `i = 0 ... r`.

    Args:
        ar, ma: `[B, r + 2]` polynomials, the last place 0.
    """
    r = ar.shape[1] - 2
    impulse = np.eye(1, r + 1)[0]
    psi = np.stack([lfilter(right, left, impulse) for left, right in zip(ar[:, :-1], ma[:, :-1], strict=True)])
    lower, upper, ahead = _triangles(r)
    gamma = np.linalg.solve(ar[:, lower] + ar[:, upper], ma[:, ahead] @ psi[:, :, None])[:, :, 0]  # [B, r + 1]
    left, right = ar[:, lower[:r, :r]], ma[:, lower[:r, :r]]
    steps = np.arange(r)
    toeplitz = gamma[:, np.abs(steps[:, None] - steps)]
    return left @ toeplitz @ left.transpose(0, 2, 1) - right @ right.transpose(0, 2, 1)


@lru_cache(maxsize=16)
def _triangles(r: int) -> tuple[Ints, Ints, Ints]:
    """Places `[r + 1, r + 1]` of `c_(i-j)`, of `c_(i+j)` for `j >= 1`, and of `c_(i+j)`; `r + 1` where outside."""
    steps = np.arange(r + 1)
    minus, plus = steps[:, None] - steps, steps[:, None] + steps
    ahead = np.where(plus <= r, plus, r + 1)
    return np.where(minus >= 0, minus, r + 1), np.where(steps >= 1, ahead, r + 1), ahead
