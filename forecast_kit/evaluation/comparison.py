"""Is one model better than another, or did it have luck? Tests and intervals over loss arrays.

Losses are as the caller has them (absolute, squared, scaled errors, pinball): the lower, the better, and a
difference is always `a - b`, negative where a is better. A NaN loss was not observed and is left out together
with its partner. Of every result, `count` says how many values (or complete rows) it rests on and `left_out`
how many rows were not complete. `draws` and `seed` are of the bootstrap: how many resamples, and from where.

Raises:
    ArgumentError: every function, where shapes do not fit, a loss is infinite, fewer than 2 models or 2 complete
        rows are there to compare, or an argument is out of range.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.evaluation.losses import check, complete, paired, ratio_of
from forecast_kit.evaluation.metrics import mean_over
from forecast_kit.evaluation.resampling import Seed, interval_of, resampled
from forecast_kit.typing import Bools, Floats, Ints

__all__ = [
    "compare", "signed_rank", "friedman", "Friedman", "nemenyi", "Nemenyi", "diebold_mariano", "diebold_mariano_panel",
    "DieboldMariano",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class DieboldMariano:
    """Tests of equal accuracy of two models a and b, one for each series.

    Every array is `[...]`, of the shape of the losses without their last axis.

    Attributes:
        statistic: negative where a is better; NaN where there are too few values for a test.
        p_value: two-sided; NaN likewise.
        difference: the mean of `a - b`, in the loss's unit; NaN where nothing was observed.
        effect: the mean of `a - b` over its standard deviation, without unit; NaN as for the statistic.
        count: values observed in both.
        bartlett: where the rectangular kernel gave no positive variance and Bartlett's was taken.

    >>> a, b = np.array([[0.0, 1, 4, 9, 16], [2, 3, 1, 2, 5]]), np.array([[1.0, 3, 4, 12, 20], [1, 2] + 3 * [np.nan]])
    >>> found = diebold_mariano(a, b)
    >>> found.difference.tolist(), found.p_value.round(3).tolist(), found.count.tolist(), found.undefined
    ([-2.0, 1.0], [0.047, nan], [5, 2], 1)
    """

    statistic: Floats
    p_value: Floats
    difference: Floats
    effect: Floats
    count: Ints
    bartlett: Bools

    @property
    def undefined(self) -> int:
        """How many series have too few values for a test."""
        return int(np.isnan(self.statistic).sum())


@dataclass(frozen=True, eq=False)
class Friedman:
    """Whether any of M models differ.

    Attributes:
        mean_ranks: `[M]` 1 is best.
        statistic, p_value: Friedman's chi-square test.
        f_statistic, f_p_value: Iman and Davenport's F test.
        kendall_w: Kendall's W, from 0 (no order) to 1 (the same order in every row).
        count, left_out: complete rows, and rows that were not.

    >>> losses = pd.DataFrame({"naive": [2.0, 4, 6, 8, 9, 3], "ets": [1, 3, 7, 5, 4, 2], "gru": [1.1, 2, 5, 4, 3, 2.1]})
    >>> found = friedman(losses)
    >>> round(found.p_value, 3), dict(zip(losses, found.mean_ranks.round(2).tolist()))
    (0.03, {'naive': 2.83, 'ets': 1.83, 'gru': 1.33})
    """

    mean_ranks: Floats
    statistic: float
    p_value: float
    f_statistic: float
    f_p_value: float
    kendall_w: float
    count: int
    left_out: int


@dataclass(frozen=True, eq=False)
class Nemenyi:
    """Which of M models differ, as a critical-difference diagram draws it.

    Attributes:
        mean_ranks: `[M]` 1 is best.
        critical_difference: in ranks.
        p_values: `[M, M]` of each pair.
        groups: columns that do not differ, best first: the diagram's bars.
        count, left_out: complete rows, and rows that were not.

    >>> losses = pd.DataFrame({"naive": [2.0, 4, 6, 8, 9, 3], "ets": [1, 3, 7, 5, 4, 2], "gru": [1.1, 2, 5, 4, 3, 2.1]})
    >>> found = nemenyi(losses)
    >>> [[losses.columns[k] for k in group] for group in found.groups]
    [['gru', 'ets'], ['ets', 'naive']]
    >>> found.p_values.round(2)
    array([[1.  , 0.19, 0.03],
           [0.19, 1.  , 0.66],
           [0.03, 0.66, 1.  ]])
    """

    mean_ranks: Floats
    critical_difference: float
    p_values: Floats
    groups: tuple[tuple[int, ...], ...]
    count: int
    left_out: int


def diebold_mariano(a: Floats, b: Floats, *, horizon: int = 1) -> DieboldMariano:
    """Tests of equal accuracy of two models, one for each series, corrected for small samples.

        S = sqrt((T + 1 - 2h + h (h - 1) / T) / T) * mean(d) / sqrt(V / T),     d = a - b
        V = g_0 + 2 (g_1 + ... + g_{h-1}),     g_k = sum_t (d_t - mean(d)) (d_{t+k} - mean(d)) / T

    against Student's t with T - 1 degrees of freedom. T counts what was observed; a gap keeps its place, so that a
    lag is a distance in time. V that is not positive (beyond rounding) is taken anew with Bartlett's weights
    `1 - k/h`. Identical losses have `S = 0, p = 1`; any other constant difference has an infinite S with its sign
    and `p = 0`. Below `max(3, h + 1)` values the test is undefined.

    Args:
        a, b: `[..., T]` the losses of two forecasts of the same h steps ahead, in time order.
        horizon: h, in steps.

    Raises:
        ArgumentError: the shapes differ, a loss is infinite, or the horizon is not a whole number of at least 1.

    Source: Harvey, Leybourne and Newbold, Testing the equality of prediction mean squared errors, 1997.

    >>> result = diebold_mariano(np.array([0.0, 1, 4, 9, 16, 25]), np.array([0.0, 4, 9, 9, 25, 36]))
    >>> round(float(result.statistic), 4), round(float(result.p_value), 4)
    (-2.4905, 0.0551)
    """
    a, b = paired(a, b)
    return _test_mean(a - b, horizon)


def diebold_mariano_panel(a: Floats, b: Floats, *, horizon: int = 1) -> DieboldMariano:
    """One test of equal accuracy of two models over a panel, whatever the dependence between series.

    It is `diebold_mariano` of `mean_n d[n, t]` over the series observed at t; `count` is of time steps.

    Args:
        a, b: `[N, T]` losses, the columns in time order and the same stamps in every row.
        horizon: in steps.

    Raises:
        ArgumentError: as for `diebold_mariano`, or the losses have not two axes.

    Source: Qu, Timmermann and Zhu, Comparing forecasting performance in cross-sections, 2023.

    >>> result = diebold_mariano_panel(np.array([[1.0, 2, 3], [1, 2, 4]]), np.array([[1.0, 1, 1], [1, 3, 3]]))
    >>> float(result.difference), int(result.count)
    (0.5, 3)
    """
    a, b = paired(a, b, axes=(2,))
    d = (a - b).T
    return _test_mean(mean_over(d, ~np.isnan(d)), horizon)


def _test_mean(d: Floats, horizon: int) -> DieboldMariano:
    check(horizon=horizon)
    observed = ~np.isnan(d)
    count = observed.sum(axis=-1)
    usable = count > max(horizon, 2)
    n = np.where(usable, count, horizon + 2)  # [...] any valid number where the result is NaN
    difference = mean_over(d, observed)
    centred = np.where(observed, d - difference[..., None], 0.0)
    steps = d.shape[-1]
    lags = range(max(1, min(horizon, steps)))
    gamma = [(centred[..., k:] * centred[..., : steps - k]).sum(axis=-1) / n for k in lags]
    noise = 1e-14 * np.max(np.abs(np.where(observed, d, 0.0)), axis=-1, initial=0.0)
    gamma[0] = np.where(gamma[0] > noise**2, gamma[0], 0.0)  # a constant difference, but for rounding
    variance = gamma[0] + 2.0 * sum(gamma[1:])
    bartlett = usable & (variance <= 1e-12 * gamma[0]) & (gamma[0] > 0)
    weighted = gamma[0] + 2.0 * sum((1.0 - k / horizon) * gamma[k] for k in lags[1:])
    variance = np.maximum(np.where(bartlett, weighted, variance), 0.0) * (usable & (gamma[0] > 0))
    correction = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    shown = np.where(usable, difference, np.nan)
    statistic = ratio_of(shown, np.sqrt(variance / n)) * correction
    p_value = 2.0 * stats.t.sf(np.abs(statistic), n - 1)
    effect = ratio_of(shown, np.sqrt(gamma[0] * n / (n - 1)))
    return DieboldMariano(*map(np.asarray, (statistic, p_value, difference, effect, count, bartlett)))


def friedman(losses: Floats) -> Friedman:
    """Whether any of M models differ, by their ranks within each series.

        chi2 = (M - 1) sum_j (R_j - N (M + 1) / 2)^2 / (sum_ij r_ij^2 - N M (M + 1)^2 / 4)
        F = (N - 1) chi2 / (N (M - 1) - chi2),     W = chi2 / (N (M - 1))

    with r the ranks in a row, ties averaged, and R their column sums; without ties the first is the textbook's
    `12 N / (M (M + 1)) (...)`. chi2 has M - 1 degrees of freedom, F has M - 1 and (M - 1)(N - 1). If every row is
    one tie, nothing differs: `chi2 = F = W = 0, p = 1`.

    Args:
        losses: `[N, M]` a row for each series (or other block), a column for each model.

    Raises:
        ArgumentError: there are not 2 models and 2 complete rows, or a loss is infinite.

    Source: Demsar, Statistical comparisons of classifiers over multiple data sets, 2006, 3.2.2; ties as in
    Conover, Practical nonparametric statistics, 1999, 5.8.

    >>> result = friedman(np.array([[1.0, 2, 3], [1, 3, 2], [1, 2, 3], [2, 1, 3]]))
    >>> result.mean_ranks.tolist(), round(result.statistic, 6), round(result.kendall_w, 6)
    ([1.25, 2.0, 2.75], 4.5, 0.5625)
    """
    rows, left_out = complete(losses)
    n, m = rows.shape
    ranks = stats.rankdata(rows, axis=1)
    spread = (ranks**2).sum() - n * m * (m + 1) ** 2 / 4
    between = ((ranks.sum(axis=0) - n * (m + 1) / 2) ** 2).sum()
    most = n * (m - 1)
    chi2 = min((m - 1) * between / spread, most) if spread > 0 else 0.0
    f = (n - 1) * chi2 / (most - chi2) if most - chi2 > 1e-12 * most else np.inf
    p_value, f_p_value = float(stats.chi2.sf(chi2, m - 1)), float(stats.f.sf(f, m - 1, (m - 1) * (n - 1)))
    return Friedman(ranks.mean(axis=0), float(chi2), p_value, float(f), f_p_value, float(chi2 / most), n, left_out)


def nemenyi(losses: Floats, *, alpha: float = 0.05) -> Nemenyi:
    """Which of M models differ: two whose mean ranks are a critical difference or more apart.

        CD = q_alpha / sqrt(2) * sqrt(M (M + 1) / (6 N))

    with q of the studentised range of M means and infinite degrees of freedom. Groups are the maximal runs of two
    or more models, in the order of their mean ranks, of which no two differ.

    Args:
        losses: `[N, M]` as in `friedman`, which is asked first.
        alpha: the chance of any false difference.

    Raises:
        ArgumentError: as for `friedman`, or alpha is not between 0 and 1.

    Source: Demsar, Statistical comparisons of classifiers over multiple data sets, 2006, 3.2.2.

    >>> result = nemenyi(np.array([[1.0, 2, 3]] * 8))
    >>> round(result.critical_difference, 3), result.groups
    (1.172, ((0, 1), (1, 2)))
    """
    rows, left_out = complete(losses)
    check(alpha=alpha)
    n, m = rows.shape
    mean_ranks = stats.rankdata(rows, axis=1).mean(axis=0)
    unit = np.sqrt(m * (m + 1) / (12.0 * n))  # of the studentised range
    critical = float(stats.studentized_range.ppf(1.0 - alpha, m, np.inf) * unit)
    apart = np.abs(mean_ranks[:, None] - mean_ranks)
    p_values = np.clip(stats.studentized_range.sf(apart / unit, m, np.inf), 0.0, 1.0)
    order = np.argsort(mean_ranks, kind="stable")
    ends = [int((mean_ranks[order] - mean_ranks[i] < critical).sum()) for i in order]  # where i's run stops
    runs = [(i, end) for i, end in enumerate(ends) if end - i > 1 and (i == 0 or end > ends[i - 1])]
    groups = tuple(tuple(order[i:end].tolist()) for i, end in runs)
    return Nemenyi(mean_ranks, critical, p_values, groups, n, left_out)


def compare(
    losses: pd.DataFrame, against: str, *, level: float = 0.95, draws: int = 2000, seed: Seed = 0
) -> pd.DataFrame:
    """A table: how every model compares with one of them over the same series.

    Columns: `model, mean`, those of `DifferenceInterval` (rows resampled independently), `effect` as in
    `diebold_mariano`, `p_value` of the Wilcoxon signed-rank test over rows (1 where all losses are equal), and
    `p_holm`, corrected for the number of models compared. The row of `against` has no p-values.

    Args:
        losses: a column for each model, a row for each series, such as `Backtest.losses` gives.
        against: the column to compare with, usually the baseline or the champion.
        level: the coverage of the intervals.
        draws, seed: of the bootstrap.

    Raises:
        ArgumentError: there is no such column, a column holds no numbers, there are not 2 models and 2 complete rows,
            a loss is infinite, or a number is out of range.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    >>> table = pd.DataFrame({"naive": [2.0, 4, 6, 8, 9], "gru": [1.0, 3, 6.5, 5, 4]})
    >>> compare(table, "naive")[["model", "mean", "difference", "win_share", "p_holm"]]
       model  mean  difference  win_share  p_holm
    0  naive   5.8         0.0        0.5     NaN
    1    gru   3.9        -1.9        0.8   0.125
    """
    names, rows, left_out = _columns(losses, against)
    reference = names.index(against)
    drawn = rows.mean(axis=0) + resampled(rows, draws, 1, seed)
    records: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        pair = [i, reference]
        found = interval_of(rows[:, pair], drawn[:, pair], level, left_out)
        records.append({"model": name, "mean": float(rows[:, i].mean()), **asdict(found)})
    return pd.DataFrame(records).merge(signed_rank(losses, against), on="model")


def signed_rank(losses: pd.DataFrame, against: str) -> pd.DataFrame:
    """The tests of `compare` alone: `model, effect, p_value, p_holm`.

    Args:
        losses: a column for each model, a row for each series.
        against: the column to compare with.

    Raises:
        ArgumentError: as for `compare`.

    Source: Wilcoxon, Individual comparisons by ranking methods, 1945; Holm as in `compare`.

    >>> signed_rank(pd.DataFrame({"a": [1.0, 2, 3, 4, 5], "b": [2.0, 3, 4, 5, 6]}), "b")["p_value"].tolist()
    [0.0625, nan]
    """
    names, rows, _ = _columns(losses, against)
    reference = names.index(against)
    records = []
    for i, name in enumerate(names):
        d = rows[:, i] - rows[:, reference]
        effect = float(ratio_of(d.mean(), d.std(ddof=1)))
        p_value = np.nan if i == reference else float(stats.wilcoxon(d).pvalue) if d.any() else 1.0
        records.append({"model": name, "effect": effect, "p_value": p_value})
    table = pd.DataFrame(records)
    ordered = table["p_value"].dropna().sort_values()
    return table.assign(p_holm=(ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1.0))


def _columns(losses: pd.DataFrame, against: str) -> tuple[list[Any], Floats, int]:
    """The models, their complete rows, and how many rows were left out."""
    names = losses.columns.tolist()
    if against not in names:
        raise ArgumentError(f"no model {against!r} to compare with; the table has {name_some(names)}."
                            f"{nearest(str(against), map(str, names))}")  # fmt: skip
    numbers = losses.select_dtypes(["number", "bool"]).columns
    wrong = [name for name in names if name not in numbers or names.count(name) > 1]
    if wrong:
        raise ArgumentError(f"losses must have one column of numbers for each model, got {name_some(wrong)} twice or "
                            f"with something else; put ids into the index")  # fmt: skip
    return names, *complete(losses.to_numpy(dtype=float, na_value=np.nan))
