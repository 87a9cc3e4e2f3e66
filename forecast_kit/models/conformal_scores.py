"""Conformal calibration as arithmetic: ranks of scores, scales of series, curves over levels.

A score tells where an actual fell in a forecast, in units that make series comparable; the offset of a level is
what would have had to be added for that share of the actuals to lie below. Levels are probabilities, 0 and 1 stand for
the outermost scores.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from forecast_kit.typing import Bools, Floats

# Dense where intervals are asked for, and few: offsets are kept for each of them and every step.
USUAL_LEVELS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)


def conformal_quantiles(scores: Floats, levels: Floats) -> Floats:
    """`[..., J]` of n scores those of rank `ceil((n + 1) q)` for levels above 0.5, `floor((n + 1) q)` below.

    So the next exchangeable score lies at or below the first with probability q at least, and at or above the second
    with `1 - q` at least. At 0.5 it is the mean of both. NaN where there is no such rank: a level q takes
    `1 / min(q, 1 - q) - 1` scores.

    Args:
        scores: `[n, ...]`, NaN where there is none.
        levels: `[J]`.

    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Lei, G'Sell, Rinaldo,
    Tibshirani and Wasserman, Distribution-Free Predictive Inference for Regression, JASA 113, 2018, 2.2.

    >>> scores = np.arange(1.0, 10.0)
    >>> conformal_quantiles(scores, np.array([0.1, 0.5, 0.85, 0.95]))
    array([ 1.,  5.,  9., nan])
    """
    if not len(scores):
        return np.full((*scores.shape[1:], len(levels)), np.nan)
    ordered = np.sort(scores, axis=0)  # NaN last
    count = np.isfinite(scores).sum(axis=0)[..., None]  # [..., 1]
    place = np.round((count + 1) * levels, 9)  # 7.000000000000001 is 7
    low = np.where(levels > 0.5, np.ceil(place), np.floor(place))
    high = np.where(levels == 0.5, np.ceil(place), low)
    inside = (low >= 1) & (high <= count)
    rows = np.moveaxis(ordered, 0, -1)  # [..., n]

    def ranked(rank: Floats) -> Floats:
        at = np.clip(rank, 1, len(ordered)).astype(np.int64) - 1
        return np.take_along_axis(rows, at, axis=-1)

    return np.where(inside, 0.5 * (ranked(low) + ranked(high)), np.nan)


def step_profile(scores: Floats) -> Floats:
    """`[H]` the mean absolute score of each step, 1 where that is 0 or there is none: by what scores grow.

    Args:
        scores: `[..., H]`.
    """
    flat = np.abs(scores.reshape(-1, scores.shape[-1]))
    count = np.isfinite(flat).sum(axis=0)
    mean = np.nansum(flat, axis=0) / np.maximum(count, 1)
    return np.where(mean > 0, mean, 1.0)


def offsets_by_step(scores: Floats, levels: Floats, profile: Floats) -> Floats:
    """`[H, J]` the offset of every level at each step.

    From the scores of that step; of a level that takes more of them, from those of all steps together, each divided
    by the step's profile; and of one that takes still more, the outermost of these. 0 without any score.

    Args:
        scores: `[n, H]`, NaN where there is none.
        levels: `[J]`, ascending.
        profile: `[H]`.

    Source: of calibrating each step of a horizon, Stankeviciute, Alaa and van der Schaar, Conformal Time-Series
    Forecasting, NeurIPS 2021, with the panel's folds instead of its Bonferroni correction.
    """
    together = profile[:, None] * offsets_together(scores / profile, levels)
    offsets = conformal_quantiles(scores, levels)
    return outwards(np.where(np.isnan(offsets), together, offsets), levels)


def offsets_together(scores: Floats, levels: Floats) -> Floats:
    """`[J]` the offsets of all scores as one sample, the outermost score for levels that take more; 0 without any."""
    flat = scores[np.isfinite(scores)]
    if not len(flat):
        return np.zeros(len(levels))
    outermost = np.where(levels > 0.5, flat.max(), np.where(levels < 0.5, flat.min(), np.median(flat)))
    offsets = conformal_quantiles(flat, levels)
    return np.where(np.isnan(offsets), outermost, offsets)


def group_offsets(scores: Floats, owner: np.ndarray, groups: int, levels: Floats) -> Floats:
    """`[G, J]` the offsets of each group's scores, all steps together; NaN for levels that take more forecasts.

    The steps of a forecast err together, so that many steps of few forecasts are few scores: with three forecasts of
    each of the M4 hourly series, 80 % intervals of its own held 71 %. So a level q is a group's own where the group has
    `1 / min(q, 1 - q) - 1` forecasts.

    Args:
        scores: `[F, N, H]`, each divided by its step's profile, NaN where there is none.
        owner: `[N]` the group of each series, from 0.
        groups: G.
        levels: `[J]`.
    """
    offsets = np.full((groups, len(levels)), np.nan)
    for k in range(groups):
        mine = scores[:, owner == k]
        enough = has_rank(int(np.isfinite(mine).any(axis=2).sum()), levels)
        offsets[k] = np.where(enough, conformal_quantiles(mine.ravel(), levels), np.nan)
    return offsets


def outwards(values: Floats, levels: Floats) -> Floats:
    """`[..., J]` the values made to rise with the levels: from the middle one outwards, none comes nearer again.

    Levels that were calibrated on different scores may cross. Sorting them would give the narrower value to the outer
    level, and take from the inner one the width that its own scores call for; so each keeps its width at least.
    """
    middle = int(np.abs(levels - 0.5).argmin())
    above = np.maximum.accumulate(values[..., middle:], axis=-1)
    below = np.minimum.accumulate(values[..., middle::-1], axis=-1)[..., ::-1]
    return np.concatenate([below[..., :-1], above], axis=-1)


def has_rank(count: int, levels: Floats) -> Bools:
    """`[J]` whether so many scores tell of each level: there is a rank for it among them, see `conformal_quantiles`."""
    return np.round((count + 1) * np.minimum(levels, 1.0 - levels), 9) >= 1.0


def own_scale(errors: Floats, apart: Bools) -> tuple[Floats, Floats]:
    """`[F, N]` and `[N]`: by what each series' errors exceed the panel's, for the scores of a fold, and from now on.

    `g_i = (k + sum_f m_fi) / (k + F)`, where `m_fi` is the mean absolute error of a series in a fold, each step divided
    by the panel's mean. That of a fold is made of the folds that share no actual with it, so that its errors do not
    scale themselves: small for being divided by themselves, they would give intervals that are too narrow.

    The prior k counts as so many folds in which the series was like the panel. It is the variance of `m` within series
    over that between them, `(V - C) / C` with C the covariance of folds that share no actual, and 2 at least. Where
    errors of a series tell nothing of its next ones, and where no two folds are apart, all factors are 1: noise in
    what scores are divided by costs coverage.

    Args:
        errors: `[F, N, H]` in units of each series' scale, NaN where there is none.
        apart: `[F, F]` which folds share no actual.

    Source: Lei et al. 2018, 5.2, normalise by an estimate of each error's size in the same way; of the shrinkage, Efron
    and Morris, Data Analysis Using Stein's Estimator and Its Generalizations, JASA 70, 1975.
    """
    relative = np.abs(errors) / step_profile(errors)
    count = np.isfinite(relative).sum(axis=2)
    seen = (count > 0).astype(np.float64)  # [F, N]
    size = np.nansum(relative, axis=2) / np.maximum(count, 1)
    usual = size.sum(axis=1) / np.maximum(seen.sum(axis=1), 1.0)  # [F]: times that were hard for all are no one's own
    off = np.where(seen > 0, size - usual[:, None], 0.0)
    pairs = apart.astype(np.float64)
    variance = np.square(off).sum() / max(seen.sum(), 1.0)
    shared = (off * (pairs @ off)).sum() / max((seen * (pairs @ seen)).sum(), 1.0)
    if shared <= 0.0:
        return np.ones_like(size), np.ones(size.shape[1])
    prior = max((variance - shared) / shared, 2.0)
    by_fold = (prior + pairs @ size) / (prior + pairs @ seen)
    return by_fold, (prior + size.sum(axis=0)) / (prior + seen.sum(axis=0))


def interpolate(values: Floats, known: Floats, wanted: Floats) -> Floats:
    """`[N, H, Q]` values at the wanted levels, on lines between the known ones over the quantiles of a normal.

    So between two levels a normal distribution is met exactly. Outside the known levels: the outermost values.

    Args:
        values: `[N, H, J]` at the known levels, or `[1, H, J]`; ascending.
        known: `[J]` ascending.
        wanted: `[N, Q]`, or `[1, Q]`.
    """
    wanted = np.clip(wanted, known[0], known[-1])
    if len(known) == 1:
        return np.repeat(values, wanted.shape[1], axis=2)
    z, target = _normal(known), _normal(wanted)
    above = np.clip(np.searchsorted(z, target), 1, len(known) - 1)  # [N, Q]
    share = (target - z[above - 1]) / (z[above] - z[above - 1])
    rows, steps = max(len(values), len(wanted)), values.shape[1]
    shape = (rows, steps, wanted.shape[1])
    full = np.broadcast_to(values, (rows, *values.shape[1:]))
    low = np.take_along_axis(full, np.broadcast_to(above[:, None] - 1, shape), axis=2)
    high = np.take_along_axis(full, np.broadcast_to(above[:, None], shape), axis=2)
    weight = share[:, None]
    # Rounded or not, what is between does not leave the ends, and a known level has its value to the last digit.
    return np.where(weight == 1.0, high, np.minimum(low + weight * (high - low), high))


def _normal(levels: Floats) -> Floats:
    """Standard normal quantiles; those of 0 and 1 stand at what lies beyond every level in use."""
    return ndtri(np.clip(levels, 1e-5, 1.0 - 1e-5))


def levels_in_use(levels: Floats, drift: Floats) -> Floats:
    """`[N, J]` the levels `[J]` after a drift `[N, J]`, ascending, within the outermost of those between 0 and 1.

    Adaptive conformal inference would take infinite intervals beyond; the outermost score of many, which stands at 0
    and 1, is no better.
    """
    inner = (levels > 0.0) & (levels < 1.0)
    moved = np.clip(levels + drift, levels[inner][0], levels[inner][-1])
    return outwards(np.where(inner, moved, levels), levels)


def adaptive_moves(y: Floats, thresholds: Floats, judged: Bools, levels: Floats) -> Floats:
    """`[N, J]` by how much the level in use moves, in units of gamma: `sum over judged steps of (q - [y <= Q_q]) / H`.

    Where more than a share q of the actuals fell below, a smaller level will do, where fewer did, a larger one is
    taken: `q_(t+1) = q_t + gamma (q - [y_t <= Q_t])`, which is `alpha_(t+1) = alpha_t + gamma (alpha - err_t)` for each
    tail. The H steps of a forecast err together, and count as one.

    Args:
        y: `[N, H]`.
        thresholds: `[N, H, J]`.
        judged: `[N, H]`.
        levels: `[J]` the nominal ones.

    Source: Gibbs and Candès, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021, equation 2.

    >>> adaptive_moves(np.array([[3.0]]), np.array([[[1.0, 5.0]]]), np.array([[True]]), np.array([0.1, 0.9])).round(6)
    array([[ 0.1, -0.1]])
    """
    below = y[:, :, None] <= thresholds
    return np.where(judged[:, :, None], levels - below, 0.0).sum(axis=1) / y.shape[1]
