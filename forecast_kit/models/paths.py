"""Sample paths: whole futures, from forecasts that say something of each step alone.

A direct network gives a distribution of every step, and not how the steps hang together: whether a first day
above its median makes the second one likely to be. The spread of a sum over the horizon, a week's demand,
depends on just that. It is learned here from forecasts of the past, as the correlation of their normal scores:
`pit` says where actuals fell in their forecasts, `learn_dependence` how the steps of a window went together,
and `sample_paths` draws futures whose steps go together so, and each of which is distributed as forecast. This
is a Gaussian copula.

Between quantiles a distribution is linear: `Q(u)` runs straight from one level to the next. Beyond the
outermost levels it goes on as a normal one, `Q(u) = Q_K + s (z(u) - z_K)`, where `z` are normal scores and `s` is
the slope over the last two levels, `(Q_K - Q_(K-1)) / (z_K - z_(K-1))`; the lower tail likewise. Straight pieces
are a little wide where the density falls: a normal distribution known at 0.025, 0.1, 0.25, 0.5, 0.75, 0.9 and
0.975 comes back with 5 % more variance, and at 0.01, 0.02, ..., 0.99 with 0.2 %. So give many levels where a
forecaster has them.

Sources: Nelsen, An Introduction to Copulas, 2006; of forecasts and their horizon, Pinson, Madsen, Nielsen,
Papaefthymiou and Klöckl, From Probabilistic Forecasts to Statistical Scenarios of Short-term Wind Power
Production, Wind Energy 12, 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from forecast_kit.data.frequency import show_zone
from forecast_kit.errors import ArgumentError, check_whole
from forecast_kit.typing import Floats

__all__ = ["SamplePaths", "pit", "learn_dependence", "sample_paths"]

_EDGE = 1e-4  # how near to 0 and 1 a `pit` comes: normal scores stay within 3.7, so that no outlier is all there is
_LEAST = 1e-6  # the least eigenvalue of a correlation matrix
_CHUNK = 2**20  # numbers that are worked on at once
_SHARED = np.linspace(0.0, 0.95, 39)  # where the target's two numbers are looked for
_DECAY = np.linspace(-0.95, 0.99, 98)


@dataclass(frozen=True, eq=False)
class SamplePaths:
    """S whole futures of each of N series, H steps long.

    What depends on several steps together is read off path by path: of a week's demand, the quantile is
    `np.quantile(paths.values.sum(axis=2), 0.9, axis=1)`, which no sum of daily quantiles is.

    Attributes:
        model: the forecaster's name.
        ids: `[N]` series.
        cutoff: `[N]` the last observed stamp of each.
        ds: `[N, H]` the stamps of the steps ahead.
        values: `[N, S, H]` in the target's unit. Series are drawn independently of one another.
        zone: the time zone that frames show stamps in; None for stamps as they are.

    >>> days = np.array([["2024-07-01", "2024-07-02"]], "datetime64[us]")
    >>> drawn = np.array([[[3.0, 5.0], [1.0, 2.0], [4.0, 4.0]]])
    >>> paths = SamplePaths("gru", np.array(["berlin"]), np.array(["2024-06-30"], "datetime64[us]"), days, drawn)
    >>> paths
    SamplePaths('gru', 1 series, 3 paths, horizon=2)
    >>> np.quantile(paths.values.sum(axis=2), 0.5, axis=1)  # the median of both days together
    array([8.])
    >>> paths.to_frame()[["path", "y"]].values.tolist()[-1]  # beside unique_id, ds, cutoff, model
    [2.0, 4.0]
    """

    model: str
    ids: np.ndarray
    cutoff: np.ndarray
    ds: np.ndarray
    values: Floats
    zone: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        count, paths, horizon = self.values.shape
        return f"SamplePaths({self.model!r}, {count} series, {paths} paths, horizon={horizon})"

    def to_frame(self) -> pd.DataFrame:
        """The long frame `unique_id, ds, cutoff, model, path, y`, one row for each series, path (from 0) and step."""
        count, paths, horizon = self.values.shape
        return pd.DataFrame({
            "unique_id": np.repeat(self.ids, paths * horizon),
            "ds": show_zone(np.repeat(self.ds[:, None], paths, axis=1).ravel(), self.zone),
            "cutoff": show_zone(np.repeat(self.cutoff, paths * horizon), self.zone),
            "model": self.model,
            "path": np.tile(np.repeat(np.arange(paths), horizon), count),
            "y": self.values.ravel(),
        })  # fmt: skip


def pit(y: Floats, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """`[W, H]` the probability integral transform of actuals: the share of each forecast that lies below its actual.

    Uniform where the forecasts are right. Where quantiles coincide, as those of counts do, the distribution
    jumps, and an actual in the jump takes the middle of it. All stay 0.0001 away from 0 and from 1.

    Args:
        y: `[W, H]` actuals, NaN where not observed; the result is NaN there too.
        quantiles: `[W, H, Q]`, in the same unit, ascending along the last axis.
        levels: `[Q]` two at least.

    Raises:
        ArgumentError: shapes do not agree, or levels or quantiles do not ascend.

    >>> pit(np.array([[15.0, 30.0]]), np.array([[[10.0, 20.0, 30.0], [0.0, 30.0, 30.0]]]), (0.1, 0.5, 0.9))
    array([[0.3 , 0.75]])
    """
    known, at = _check(quantiles, levels)
    actual = np.asarray(y, np.float64)
    if actual.shape != known.shape[:2]:
        raise ArgumentError(f"y must have the shape {known.shape[:2]} of the quantiles, got {actual.shape}")
    # The limits from the left and from the right differ only in a jump.
    left, right = (_share_below(actual, known, at, side) for side in ("left", "right"))
    return np.where(np.isnan(actual), np.nan, np.clip(0.5 * (left + right), _EDGE, 1.0 - _EDGE))


def learn_dependence(u: Floats) -> Floats:
    """`[H, H]` the correlation of normal scores between the steps of the horizon, positive definite.

    Of scores `z = ndtri(u)` the correlation `C` over windows is shrunk to a target that two numbers make,
    `R = w T + (1 - w) C`, `T_ij = c + (1 - c) r^|i - j|`: an error that all steps of a window share (a level
    missed), and one that fades. Few windows tell too little of `H (H - 1) / 2` correlations, but all their lags
    together tell two numbers; from a single window they are those of that window. `c` and `r` fit the mean
    products at each lag, weighted by how many pairs of steps are that far apart. As in Schäfer and Strimmer

        `w = sum_ij v_ij / sum_ij (C_ij - T_ij)^2`,   `v_ij = (1 - T_ij^2)^2 / (n_ij - 1)`,

    at most 1, with the sampling variance `v` of normal scores in `n_ij` windows that saw both steps. It takes the
    windows as independent, and the target as given: where they overlap, `w` is too small. Scores are taken about
    their mean at each step, n / (n + 1) of it: a bias of all forecasts is no dependence, but what a single
    window missed may be. Steps that no two windows saw together take the target. Where gaps leave `R` without
    positive eigenvalues, these are raised to 1e-6 and the diagonal made 1 again.

    Args:
        u: `[W, H]` from `pit`, of windows that were not trained on; NaN where not observed.

    Raises:
        ArgumentError: no window has an observation, or a value does not lie between 0 and 1.

    Source: Schäfer and Strimmer, A Shrinkage Approach to Large-Scale Covariance Matrix Estimation and
    Implications for Functional Genomics, 2005, section 2.

    >>> from scipy.special import ndtr
    >>> z = np.random.default_rng(0).normal(size=(1000, 1)) + np.random.default_rng(1).normal(size=(1000, 3))
    >>> learn_dependence(ndtr(z / 2**0.5)).round(1)
    array([[1. , 0.5, 0.5],
           [0.5, 1. , 0.5],
           [0.5, 0.5, 1. ]])
    """
    shares = np.asarray(u, np.float64)
    seen = ~np.isnan(shares)
    if shares.ndim != 2 or not seen.any():
        raise ArgumentError(f"u must be windows by steps, [W, H], with an observation at least; got {shares.shape}")
    if not ((shares[seen] > 0.0) & (shares[seen] < 1.0)).all():
        raise ArgumentError("u must lie strictly between 0 and 1, as values of pit do; scores of 0 and 1 are infinite")
    scores = np.where(seen, ndtri(np.where(seen, shares, 0.5)), 0.0)  # [W, H]
    weight = seen.astype(np.float64)
    scores -= weight * scores.sum(axis=0) / (weight.sum(axis=0) + 1.0)
    count = weight.T @ weight  # [H, H] windows that saw both
    products = scores.T @ scores
    power = np.square(scores).T @ weight  # [H, H] of step i, in windows that saw j too
    scale = np.sqrt(power * power.T)
    target = _target(products, count)
    told = (count > 1) & (scale > 0)
    told &= ~np.eye(len(told), dtype=bool)
    correlation = np.where(told, products / np.where(scale > 0, scale, 1.0), target)
    variance = np.square(1.0 - target**2)[told] / (count[told] - 1.0)
    apart = np.square(correlation - target).sum()
    share = 1.0 if apart <= variance.sum() else variance.sum() / apart
    return _positive_definite(share * target + (1.0 - share) * correlation)


def sample_paths(quantiles: Floats, levels: Sequence[float], R: Floats, paths: int, rng: np.random.Generator) -> Floats:
    """`[N, S, H]` futures: each step as its quantiles say, the steps of a path together as the correlation says.

    `y_h = Q_h(Phi(z_h))` with `z ~ N(0, R)`, where `Q_h` runs through the quantiles as the module's text says. Series
    are drawn independently of one another.

    Args:
        quantiles: `[N, H, Q]` in the target's unit, ascending along the last axis.
        levels: `[Q]` two at least.
        R: `[H', H']` from `learn_dependence`, `H' >= H`; the first H steps are used. The identity for independent
            steps.
        paths: S.
        rng: from which they are drawn.

    Raises:
        ArgumentError: shapes do not agree, levels or quantiles do not ascend, R is no correlation matrix, or paths is
            below 1.

    >>> quantiles = np.array([[[8.0, 10.0, 12.0], [7.0, 10.0, 13.0]]])
    >>> drawn = sample_paths(quantiles, (0.1, 0.5, 0.9), np.ones((2, 2)), 1000, np.random.default_rng(0))
    >>> drawn.shape, bool((np.diff(np.sign(drawn - 10.0), axis=2) == 0).all())
    ((1, 1000, 2), True)
    """
    known, at = _check(quantiles, levels)
    count, horizon, _ = known.shape
    root = _root(R, horizon)
    check_whole("paths", paths)
    drawn = np.empty((count, paths, horizon))
    chunk = max(1, _CHUNK // (paths * horizon))
    for k in range(0, count, chunk):
        some = known[k : k + chunk]
        z = root @ rng.standard_normal((len(some), horizon, paths))  # [n, H, S]
        drawn[k : k + chunk] = np.moveaxis(_value(z, some, at), 2, 1)
    return drawn


def upper_triangle(R: Floats) -> Floats:
    """`[H (H - 1) / 2]` all that there is to a correlation matrix, to be stored.

    >>> upper_triangle(np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.4], [0.2, 0.4, 1.0]]))
    array([0.5, 0.2, 0.4])
    """
    return R[np.triu_indices(len(R), 1)]


def from_upper_triangle(upper: Floats, horizon: int) -> Floats:
    """`[H, H]` the correlation matrix of that upper triangle.

    >>> from_upper_triangle(np.array([0.5, 0.2, 0.4]), 3)[2]
    array([0.2, 0.4, 1. ])
    """
    R = np.zeros((horizon, horizon))
    R[np.triu_indices(horizon, 1)] = upper
    return R + R.T + np.eye(horizon)


def _check(quantiles: Floats, levels: Sequence[float]) -> tuple[Floats, Floats]:
    """`[N, H, Q]` and `[Q]`: the quantiles and their levels, if they go together."""
    known = np.asarray(quantiles, np.float64)
    at = np.asarray(levels, np.float64)
    if at.ndim != 1 or len(at) < 2 or not ((at > 0.0) & (at < 1.0)).all() or not (np.diff(at) > 0.0).all():
        raise ArgumentError(f"levels must be two at least, ascend, and lie strictly between 0 and 1; got {levels}")
    if known.ndim != 3 or known.shape[2] != len(at):
        raise ArgumentError(f"quantiles must be of shape [series, steps, {len(at)} levels], got {known.shape}")
    if not (np.isfinite(known).all() and (np.diff(known, axis=2) >= 0.0).all()):
        raise ArgumentError("quantiles must be finite and ascend with the levels; some cross, or are no numbers")
    return known, at


def _share_below(y: Floats, quantiles: Floats, levels: Floats, side: str) -> Floats:
    """`[W, H]` the distribution function at y, its limit from that side."""
    score = ndtri(levels)
    reached = quantiles <= y[:, :, None] if side == "right" else quantiles < y[:, :, None]
    k = np.clip(reached.sum(axis=2) - 1, 0, len(levels) - 2)  # the piece that begins at level k
    low, high = _pick(quantiles, k), _pick(quantiles, k + 1)
    width = high - low
    with np.errstate(over="ignore"):  # a piece that is next to upright: so far along it, all lies below or above
        part = (y - low) / np.where(width > 0, width, 1.0)
    inside = levels[k] + part * (levels[k + 1] - levels[k])
    beyond = ndtr(score[k] + part * (score[k + 1] - score[k]))
    none, all_of_it = ~reached[:, :, 0], reached[:, :, -1]
    # Without width there is no slope to go on with: all that is left lies at the outermost quantile.
    below = np.where(width > 0, beyond, 0.0)
    above = np.where(width > 0, beyond, 1.0)
    return np.where(none, below, np.where(all_of_it, above, inside))


def _value(z: Floats, quantiles: Floats, levels: Floats) -> Floats:
    """`[n, H, S]` the quantile function at normal scores, from quantiles `[n, H, Q]`."""
    score = ndtri(levels)
    k = np.clip(np.searchsorted(score, z) - 1, 0, len(levels) - 2)
    part = (ndtr(z) - levels[k]) / np.diff(levels)[k]
    outside = (z < score[0]) | (z > score[-1])
    part = np.where(outside, (z - score[k]) / np.diff(score)[k], part)
    low = np.take_along_axis(quantiles, k, axis=2)
    return low + part * (np.take_along_axis(quantiles, k + 1, axis=2) - low)


def _pick(quantiles: Floats, k: np.ndarray) -> Floats:
    return np.take_along_axis(quantiles, k[:, :, None], axis=2)[:, :, 0]


def _target(products: Floats, count: Floats) -> Floats:
    """`[H, H]` `c + (1 - c) r^lag` that fits the mean products of scores at each lag best."""
    steps = np.arange(len(products))
    lag = np.abs(steps[:, None] - steps)
    pairs = np.bincount(lag.ravel(), count.ravel())
    mean = np.bincount(lag.ravel(), products.ravel()) / np.maximum(pairs, 1.0)
    if mean[0] <= 0:
        return np.eye(len(products))  # all scores are alike, and tell nothing
    far = steps[1:]
    shared = _SHARED[:, None, None]
    fit = shared + (1.0 - shared) * _DECAY[:, None] ** far  # [C, R, H - 1]
    loss = (pairs[1:] * np.square(fit - mean[1:] / mean[0])).sum(axis=2)
    best = np.unravel_index(loss.argmin(), loss.shape)
    c, r = _SHARED[best[0]], _DECAY[best[1]]
    return c + (1.0 - c) * r**lag


def _positive_definite(matrix: Floats) -> Floats:
    """The correlation matrix, its eigenvalues 1e-6 at least before its diagonal is made 1 again."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    if values[0] < _LEAST:
        matrix = (vectors * np.maximum(values, _LEAST)) @ vectors.T
    size = np.sqrt(np.diag(matrix))
    matrix = matrix / np.outer(size, size)
    matrix = 0.5 * (matrix + matrix.T)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _root(R: Floats, horizon: int) -> Floats:
    """`[H, H]` a matrix whose product with its transpose is the first steps of R."""
    given = np.asarray(R, np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or len(given) < horizon:
        raise ArgumentError(f"R must be square, with a row for each of {horizon} steps; got {given.shape}")
    given = given[:horizon, :horizon]
    if not (np.allclose(given, given.T, atol=1e-8) and np.allclose(np.diag(given), 1.0, atol=1e-8)):
        raise ArgumentError("R must be a correlation matrix: symmetric, with ones on its diagonal")
    values, vectors = np.linalg.eigh(given)
    if values[0] < -1e-8 * horizon:
        raise ArgumentError(f"R must be a correlation matrix; one of its eigenvalues is {values[0]:.3g}, below 0")
    return vectors * np.sqrt(np.maximum(values, 0.0))
