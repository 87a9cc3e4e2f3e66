"""The equations of ARIMA models as recursions on the series itself, for many series at once.

Differences are multiplied into the polynomial: with `n_t = y_t - x_t' b`,
`n_t = c + ar_1 n_(t-1) + ... + ar_L n_(t-L) + a_t + ma_1 a_(t-1) + ... + ma_M a_(t-M)`.

Source: Box, Jenkins and Reinsel, Time Series Analysis, 5.1 and 5.2.
"""

from __future__ import annotations

import numpy as np

from forecast_kit.models.local import States
from forecast_kit.typing import Floats

# States: ar `[N, L]` and ma `[N, M]`, 0 beyond a series' own lags; constant `[N]`, c; weights `[N, K]`, b; last
# `[N, L]` the last n and errors `[N, M]` the last a, newest first; deviation `[N]` of a.


def arima_step(states: States, y: Floats, future: Floats) -> States:
    """The states after one more step; NaN brings no news: n is what was expected, and its error nought.

    Args:
        states: of N series.
        y: `[N]`.
        future: `[N, K]` the covariates of that step.
    """
    expected = _expected(states)
    n = y - (states["weights"] * future).sum(axis=1)
    n = np.where(np.isnan(n), expected, n)
    return {**states, "last": _push(states["last"], n), "errors": _push(states["errors"], n - expected)}


def arima_mean(states: States, horizon: int, future: Floats) -> Floats:
    """`[N, H]` the expected values: the recursion runs on with errors of nought.

    Args:
        states: of N series.
        horizon: H.
        future: `[N, H, K]` the covariates of the steps ahead.
    """
    return _run_on(states, horizon) + (future @ states["weights"][:, :, None])[:, :, 0]


def arima_deviation(states: States, horizon: int) -> Floats:
    """`[N, H]` standard deviations: `s^2 (1 + psi_1^2 + ... + psi_(h-1)^2)`.

    `psi_j = ma_j + ar_1 psi_(j-1) + ... + ar_j psi_0`: what one error of 1 does j steps later.
    """
    first = {key: np.eye(1, states[key].shape[1])[np.zeros(len(states[key]), int)] for key in ("last", "errors")}
    psi = _run_on({**states, **first, "constant": np.zeros(len(states["ar"]))}, horizon - 1)
    growth = np.cumsum(np.concatenate([np.ones((len(psi), 1)), psi * psi], axis=1), axis=1)
    return states["deviation"][:, None] * np.sqrt(growth)


def _run_on(states: States, horizon: int) -> Floats:
    out, nothing = np.empty((len(states["ar"]), horizon)), np.zeros(len(states["ar"]))
    for h in range(horizon):
        out[:, h] = _expected(states)
        last, errors = _push(states["last"], out[:, h]), _push(states["errors"], nothing)
        states = {**states, "last": last, "errors": errors}
    return out


def _expected(states: States) -> Floats:
    by_last, by_errors = states["ar"] * states["last"], states["ma"] * states["errors"]
    return states["constant"] + by_last.sum(axis=1) + by_errors.sum(axis=1)


def _push(values: Floats, newest: Floats) -> Floats:
    return np.concatenate([newest[:, None], values], axis=1)[:, : values.shape[1]]
