"""What the bootstrap says of losses: intervals of differences, and the models that may be the best.

Losses, and what is raised, as in `forecast_kit.evaluation.comparison`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation.losses import check, complete, paired, ratio_of
from forecast_kit.evaluation.metrics import mean_over
from forecast_kit.typing import Bools, Floats

__all__ = ["bootstrap_difference", "DifferenceInterval", "model_confidence_set", "ConfidenceSet"]

Seed: TypeAlias = int | np.random.Generator

_CELLS = 1_000_000  # the bootstrap holds no more resampled rows than this at a time


@dataclass(frozen=True, eq=False)
class ConfidenceSet:
    """The ones of M models that may be the best, the others having been eliminated one by one.

    Attributes:
        members: `[M]` which: `p_values >= alpha`.
        p_values: `[M]` the largest alpha at which the model is still in the set.
        order: columns, the first eliminated first, the best last.
        count, left_out: complete rows, and rows that were not.

    >>> import pandas as pd
    >>> losses = pd.DataFrame({"naive": [2.0, 4, 6, 8, 9, 3], "ets": [1, 3, 6, 5, 4, 2], "gru": [1.1, 3, 6, 4, 5, 2]})
    >>> found = model_confidence_set(losses, block=1)
    >>> losses.columns[found.members].tolist(), found.count
    (['ets', 'gru'], 6)
    """

    members: Bools
    p_values: Floats
    order: tuple[int, ...]
    count: int
    left_out: int


@dataclass(frozen=True)
class DifferenceInterval:
    """How much lower the losses of a are than those of b, with percentile intervals.

    Attributes:
        difference: `mean a - mean b`, in the loss's unit.
        low, high: its interval.
        relative: `mean a / mean b - 1`, a fraction; NaN, like its interval, unless the mean of b is positive in all
            draws.
        relative_low, relative_high: its interval.
        win_share: the share of rows where a is lower; a tie is half a win.
        count, left_out: complete rows, and rows that were not.

    >>> found = bootstrap_difference(np.array([1.1, 3, 5, 4, 4, 2]), np.array([2.0, 4, 6, 8, 9, 3]))
    >>> found.low < found.difference < found.high < 0  # a is better, beyond luck
    True
    """

    difference: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    win_share: float
    count: int
    left_out: int


def model_confidence_set(
    losses: Floats, *, alpha: float = 0.1, block: int | None = None, draws: int = 1000, seed: Seed = 0,
    statistic: Literal["max", "range"] = "max",
) -> ConfidenceSet:  # fmt: skip
    """The models that hold the best one with probability `1 - alpha`, by successive elimination.

        max:    T = max_i t_i,     t_i = (L_i - L.) / sd,       out goes argmax_i t_i
        range:  T = max_ij t_ij,   t_ij = (L_i - L_j) / sd,     out goes argmax_i max_j t_ij

    with L the mean losses and `L.` their mean over the models still in. Standard deviations and the distribution
    of T come from one stationary bootstrap; the p-value of a step is the share of draws whose T is not below the
    observed one, and a model's is the largest up to its elimination. A difference without spread counts as
    infinite, none at all as zero.

    Args:
        losses: `[T, M]` rows in time order.
        alpha: a model with a p-value below it is not in the set.
        block: mean length of a block, in rows: 1 for independent rows; by default `T^(1/3)`, rounded up.
        draws, seed: of the bootstrap.
        statistic: "max" (each against their mean) or "range" (all pairs).

    Raises:
        ArgumentError: there are not 2 models and 2 complete rows, a loss is infinite, the block is longer than the
            rows, or another argument is out of range.

    Source: Hansen, Lunde and Nason, The model confidence set, 2011, 3.1.2 and 3.2.

    >>> noise = np.random.default_rng(0).normal(size=(200, 3))
    >>> result = model_confidence_set(noise + [0.0, 0.0, 1.0], block=1)
    >>> result.members.tolist(), result.order[0]
    ([True, True, False], 2)
    """
    if statistic not in ("max", "range"):
        raise ArgumentError(f"statistic must be 'max' or 'range', got {statistic!r}; choose one of them")
    rows, left_out = complete(losses)
    check(alpha=alpha)
    block = int(np.ceil(np.cbrt(len(rows)))) if block is None else block
    mean, zeta, noise = rows.mean(axis=0), resampled(rows, draws, block, seed), 1e-13 * float(np.abs(rows).max())
    left, order, p_values, largest = list(range(len(mean))), [], np.ones(len(mean)), 0.0
    while len(left) > 1:
        worst, p_value = _worst(mean[left], zeta[:, left], statistic, noise)
        largest = max(largest, p_value)
        p_values[left[worst]] = largest
        order.append(left.pop(worst))
    return ConfidenceSet(p_values >= alpha, p_values, (*order, *left), len(rows), left_out)


def _worst(mean: Floats, zeta: Floats, statistic: str, noise: float) -> tuple[int, float]:
    """The model to eliminate, and the p-value of equal accuracy; `mean [M]`, drawn deviations `zeta [draws, M]`."""
    references = [*zip(mean, zeta.T, strict=True)] if statistic == "range" else [(mean.mean(), zeta.mean(axis=1))]
    t, drawn = np.full(mean.shape, -np.inf), np.zeros(len(zeta))
    for reference, drawn_reference in references:
        centred = zeta - drawn_reference[:, None]
        spread = np.sqrt((centred**2).mean(axis=0))
        t = np.maximum(t, ratio_of(mean - reference, spread, noise))
        drawn = np.maximum(drawn, (centred / np.where(spread > noise, spread, np.inf)).max(axis=1))
    return int(t.argmax()), float((drawn >= t.max()).mean())


def bootstrap_difference(
    a: Floats, b: Floats, *, level: float = 0.95, draws: int = 2000, seed: Seed = 0, block: int = 1
) -> DifferenceInterval:
    """How much lower the losses `a` are than `b`, with percentile bootstrap intervals.

    Rows are resampled, the same ones for both, so that whatever ties the values of a row together stays. A row
    counts by its mean over the values observed in both, and every row counts the same.

    Args:
        a, b: `[N]` or `[N, T]` losses; a row is a series (or a time step).
        level: the coverage of the intervals.
        draws, seed: of the bootstrap.
        block: mean length of a block of rows, for rows in time order; 1 for independent rows.

    Raises:
        ArgumentError: the shapes differ, a loss is infinite, there are not 2 complete rows, the block is longer than
            the rows, or another argument is out of range.

    Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, 13.3.

    >>> result = bootstrap_difference(np.array([1.0, 2, 3, 2]), np.array([2.0, 2, 5, 4]))
    >>> result.difference, round(result.relative, 3), result.win_share
    (-1.25, -0.385, 0.875)
    """
    means = [x if x.ndim == 1 else mean_over(x, ~np.isnan(x)) for x in paired(a, b, axes=(1, 2))]
    rows, left_out = complete(np.stack(means, axis=-1))
    drawn = rows.mean(axis=0) + resampled(rows, draws, block, seed)
    return interval_of(rows, drawn, level, left_out)


def interval_of(rows: Floats, drawn: Floats, level: float, left_out: int) -> DifferenceInterval:
    """The result for `rows [N, 2]`, the losses of two models, and their means `drawn [draws, 2]`."""
    check(level=level)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    mean_a, mean_b = rows.mean(axis=0).tolist()
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], tails).tolist()
    relative, bounds = np.nan, [np.nan, np.nan]
    if min(mean_b, drawn[:, 1].min()) > 0:
        relative, bounds = mean_a / mean_b - 1.0, (np.quantile(drawn[:, 0] / drawn[:, 1], tails) - 1.0).tolist()
    wins = float((0.5 + 0.5 * np.sign(rows[:, 1] - rows[:, 0])).mean())
    return DifferenceInterval(mean_a - mean_b, low, high, relative, bounds[0], bounds[1], wins, len(rows), left_out)


def resampled(rows: Floats, draws: int, block: int, seed: Seed) -> Floats:
    """`[draws, M]` the column means of resampled `rows [N, M]`, less those of the rows: the stationary bootstrap."""
    check(block=block, draws=draws)
    n, rng = len(rows), np.random.default_rng(seed)
    if block > n:
        raise ArgumentError(f"block must not exceed the number of rows, {n}, got {block}; take a shorter block")
    centred, at = rows - rows.mean(axis=0), np.arange(n)
    means = np.empty((draws, rows.shape[1]))
    for start in range(0, draws, max(1, _CELLS // n)):
        size = min(max(1, _CELLS // n), draws - start)
        picked = rng.integers(0, n, size=(size, n))
        if block > 1:
            fresh = rng.random((size, n)) < 1.0 / block  # where a block begins: geometric lengths
            began = np.maximum.accumulate(np.where(fresh, at, 0), axis=1)  # the first one at 0 anyway
            picked = (np.take_along_axis(picked, began, axis=1) + at - began) % n  # wrapped around the end
        picked += n * np.arange(size)[:, None]
        times = np.bincount(picked.ravel(), minlength=size * n).reshape(size, n)  # how often each row came
        means[start : start + size] = times.astype(float) @ centred / n
    return means
