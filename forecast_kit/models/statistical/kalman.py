"""Linear state-space models with constant matrices, for many series at once.

`y_t = z a_t + e_t` with `e_t ~ N(0, h)`, `a_(t+1) = T a_t + n_t` with `n_t ~ N(0, Q)`. Source: Durbin and Koopman, Time
Series Analysis by State Space Methods, 2nd ed., 2012, 4.3.
"""

from __future__ import annotations

import numpy as np

from forecast_kit.models.local import States
from forecast_kit.typing import Floats

# States: design z `[N, K]`, transition T `[N, K, K]`, disturbance Q `[N, K, K]`, noise h `[N]`; and of the next
# step the expected state a `[N, K]` with its covariance P `[N, K, K]`.


def kalman_step(states: States, y: Floats) -> States:
    """The states after one more step; NaN brings no news, only uncertainty.

    `v = y - z a`, `F = z P z' + h`, `a' = T (a + P z' v / F)`, `P' = T (P - P z' z P / F) T' + Q`.
    """
    z, a, p = states["design"], states["state"], states["covariance"]
    cross = np.einsum("nij,nj->ni", p, z)  # P z'
    f = np.einsum("ni,ni->n", z, cross) + states["noise"]
    seen = ~np.isnan(y) & (f > 0)
    v = np.where(seen, y - np.einsum("ni,ni->n", z, a), 0.0)
    gain = cross / np.where(seen, f, np.inf)[:, None]
    a = a + gain * v[:, None]
    p = p - gain[:, :, None] * cross[:, None, :]
    t = states["transition"]
    return {
        **states,
        "state": np.einsum("nij,nj->ni", t, a),
        "covariance": np.einsum("nij,njk,nlk->nil", t, p, t, optimize=True) + states["disturbance"],
    }


def kalman_ahead(states: States, horizon: int) -> tuple[Floats, Floats]:
    """`[N, H]` twice: `z T^(h-1) a`, and the deviation `sqrt(z P_h z' + h)` of the observation."""
    mean, deviation = np.empty((2, len(states["noise"]), horizon))
    nothing = np.full(len(states["noise"]), np.nan)
    for h in range(horizon):
        z = states["design"]
        mean[:, h] = np.einsum("ni,ni->n", z, states["state"])
        variance = np.einsum("ni,nij,nj->n", z, states["covariance"], z, optimize=True) + states["noise"]
        deviation[:, h] = np.sqrt(np.maximum(variance, 0.0))
        states = kalman_step(states, nothing)
    return mean, deviation
