"""The equations of exponential smoothing in state-space form, for many series at once.

Source: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing, 2008, tables 2.1, 2.2 and 6.1.
"""

from __future__ import annotations

import numpy as np

from forecast_kit.models.local import States
from forecast_kit.models.naive import normal_quantiles
from forecast_kit.typing import Floats

# States: alpha, beta, gamma, phi `[N]`: smoothing of level, trend and season, and damping; level, trend `[N]`;
# season `[N, m]`, the component of the next m steps, 0 (or where it multiplies, 1) without one; times `[N]`, True
# where the season multiplies; relative `[N]`, True where the error does; deviation `[N]` of one-step errors, or of
# relative ones.

_PATHS = 1000  # sample paths, where no formula gives the quantiles
_CELLS = 4_000_000


def ets_step(states: States, y: Floats) -> States:
    """The states after one more step; NaN brings no news: its error is nought.

    `e = y - (q + s)` with `q = l + phi b`, then `l' = q + alpha e`, `b' = phi b + beta e`, `s' = s + gamma e`.
    Where the season multiplies, `e = y - q s`, and `e / s`, `e / s` and `e / l'` stand in the three for `e`: with
    the new level, as Winters had it and as statsmodels estimates it; the book divides by q. With an
    error that multiplies, too, where `y = mu (1 + eps)`: there `e = mu eps`.
    """
    carried = states["level"] + states["phi"] * states["trend"]
    s, times = states["season"][:, 0], states["times"]
    error = y - np.where(times, carried * s, carried + s)
    error = np.where(np.isnan(y), 0.0, error)
    plain = np.where(times, error / np.where(times, s, 1.0), error)
    level = carried + states["alpha"] * plain
    newest = s + states["gamma"] * np.where(times, error / np.where(times, level, 1.0), error)
    return {
        **states,
        "level": level,
        "trend": states["phi"] * states["trend"] + states["beta"] * plain,
        "season": np.concatenate([states["season"][:, 1:], newest[:, None]], axis=1),
    }


def ets_mean(states: States, horizon: int) -> Floats:
    """`[N, H]` the forecast `l + (phi + ... + phi^h) b`, and to it or times it `s_(t+h-m(k+1))`."""
    damping = np.cumsum(states["phi"][:, None] ** np.arange(1, horizon + 1), axis=1)  # [N, H]
    season = states["season"][:, np.arange(horizon) % states["season"].shape[1]]
    line = states["level"][:, None] + damping * states["trend"][:, None]
    return np.where(states["times"][:, None], line * season, line + season)


def ets_deviation(states: States, horizon: int) -> Floats:
    """`[N, H]` where all is additive: `s^2 (1 + sum_(j<h) c_j^2)`, `c_j = alpha + beta phi_j + gamma [m | j]`.

    `phi_j = phi + ... + phi^j`. Source: table 6.1.
    """
    j = np.arange(1, horizon)  # [H - 1]
    damping = np.cumsum(states["phi"][:, None] ** j, axis=1)
    c = states["alpha"][:, None] + states["beta"][:, None] * damping
    c = c + states["gamma"][:, None] * (j % states["season"].shape[1] == 0)
    growth = np.concatenate([np.ones((len(c), 1)), 1.0 + np.cumsum(c * c, axis=1)], axis=1)
    return states["deviation"][:, None] * np.sqrt(growth)


def ets_quantiles(states: States, horizon: int, levels: tuple[float, ...]) -> Floats:
    """`[N, H, Q]` normal quantiles where all is additive, those of sample paths for the other forms."""
    mean = ets_mean(states, horizon)
    quantiles = normal_quantiles(mean, ets_deviation(states, horizon), levels)
    sampled = np.flatnonzero(states["times"] | states["relative"])
    if not levels or not len(sampled):
        return quantiles
    width = max(1, _CELLS // (_PATHS * (horizon + states["season"].shape[1])))
    for first in range(0, len(sampled), width):
        at = sampled[first : first + width]
        paths = sample_paths({key: values[at] for key, values in states.items()}, horizon)
        quantiles[at] = np.moveaxis(np.quantile(paths, levels, axis=1), 0, -1)
    return quantiles


def sample_paths(states: States, horizon: int) -> Floats:
    """`[N, S, H]` what may come: the equations run on with normal errors, the same draws for every series.

    The errors of each step are spread evenly over the normal distribution and shuffled, so that few paths
    give smooth quantiles. A relative error is at least -1, which keeps positive series from turning over.
    """
    rng = np.random.default_rng(0)
    many = {key: np.repeat(values, _PATHS, axis=0) for key, values in states.items()}
    scores = normal_quantiles(np.zeros((1, 1)), np.ones((1, 1)), tuple((np.arange(_PATHS) + 0.5) / _PATHS)).ravel()
    paths = np.empty((len(states["level"]), _PATHS, horizon))
    for h in range(horizon):
        draws = np.tile(rng.permutation(scores), len(paths)) * many["deviation"]
        mean = ets_mean(many, 1)[:, 0]
        y = np.where(many["relative"], mean * (1.0 + np.maximum(draws, -1.0)), mean + draws)
        paths[:, :, h] = y.reshape(len(paths), _PATHS)
        many = ets_step(many, y)
    return paths
