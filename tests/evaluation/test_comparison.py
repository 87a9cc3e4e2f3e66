"""Comparisons against published numbers, other libraries, and loops that anyone can check."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import arch.bootstrap
import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.sandwich_covariance import cov_hac_simple, weights_bartlett, weights_uniform

from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation import resampling
from forecast_kit.evaluation.comparison import compare, diebold_mariano, diebold_mariano_panel, friedman, nemenyi
from forecast_kit.evaluation.resampling import bootstrap_difference, model_confidence_set
from forecast_kit.typing import Floats

SEEDS = st.integers(0, 2**32 - 1)

# ---- Diebold and Mariano


def diebold_mariano_by_hand(d: list[float], h: int) -> tuple[float, float, bool]:
    """Statistic, p-value and whether Bartlett's kernel was needed, in loops; a NaN keeps its place in time."""
    seen = [x for x in d if not np.isnan(x)]
    n, mean = len(seen), sum(seen) / len(seen)

    def autocovariance(k: int) -> float:
        pairs = [(d[t], d[t + k]) for t in range(len(d) - k)]
        return sum((x - mean) * (y - mean) for x, y in pairs if not np.isnan(x + y)) / n

    variance = autocovariance(0) + 2 * sum(autocovariance(k) for k in range(1, h))
    bartlett = variance <= 0
    if bartlett:
        variance = autocovariance(0) + 2 * sum((1 - k / h) * autocovariance(k) for k in range(1, h))
    statistic = mean / (variance / n) ** 0.5 * ((n + 1 - 2 * h + h * (h - 1) / n) / n) ** 0.5
    return statistic, 2 * float(stats.t.cdf(-abs(statistic), n - 1)), bartlett


def permutation(generator: random.Random) -> Floats:
    """`[100]` what `random.sample(range(100), 100)` drew under Python 2."""
    pool, drawn = list(range(100)), []
    for left in range(100, 0, -1):
        at = int(generator.random() * left)
        drawn.append(pool[at])
        pool[at] = pool[left - 1]
    return np.array(drawn, dtype=float)


@pytest.mark.parametrize(
    ("power", "statistic", "p_value"),
    [
        (1, 1.3275742446369585, 0.18737195617455585),
        (2, 1.2112523589452902, 0.22868210381769466),
        (4, 0.9124498079287283, 0.36374861695187799),
    ],
)
def test_published_numbers_for_one_step(power: int, statistic: float, p_value: float) -> None:
    """The example of J. Tsang's Diebold-Mariano-Test (its README), a port of `dm.test` in R's forecast."""
    generator = random.Random(123)
    actual, first, second = permutation(generator), permutation(generator), permutation(generator)
    result = diebold_mariano(np.abs(actual - first) ** power, np.abs(actual - second) ** power)
    assert float(result.statistic) == pytest.approx(statistic, rel=1e-12)
    assert float(result.p_value) == pytest.approx(p_value, rel=1e-9)
    assert int(result.count) == 100


def test_published_numbers_for_six_values() -> None:
    """From the tests of E. Nunziata's dieboldmariano: squared errors 0..5 against 0, 2, 3, 3, 5, 6."""
    result = diebold_mariano(np.arange(6.0) ** 2, np.array([0, 2, 3, 3, 5, 6.0]) ** 2)
    assert float(result.statistic) == pytest.approx(-2.4905, abs=5e-5)
    assert float(result.p_value) == pytest.approx(0.05513, abs=5e-6)


@pytest.mark.parametrize("horizon", [1, 2, 3, 6])
def test_every_series_is_tested_as_the_loop_tests_it(horizon: int) -> None:
    """The loop is our own reading of Harvey, Leybourne and Newbold (1997), eq. 8 and 9; gaps included."""
    rng = np.random.default_rng(1)
    a, b = rng.gamma(2.0, size=(2, 5, 4, 20))
    a[rng.random(a.shape) < 0.1] = np.nan
    b[rng.random(b.shape) < 0.1] = np.nan
    result = diebold_mariano(a, b, horizon=horizon)
    assert result.statistic.shape == (5, 4)
    for place in np.ndindex(5, 4):
        d = (a - b)[place]
        statistic, p_value, bartlett = diebold_mariano_by_hand(d.tolist(), horizon)
        assert result.statistic[place] == pytest.approx(statistic)
        assert result.p_value[place] == pytest.approx(p_value)
        assert result.difference[place] == pytest.approx(np.nanmean(d))
        assert result.effect[place] == pytest.approx(np.nanmean(d) / np.nanstd(d, ddof=1))
        assert result.count[place] == (~np.isnan(d)).sum()
        assert result.bartlett[place] == bartlett


@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_the_variance_is_that_of_statsmodels(horizon: int) -> None:
    rng = np.random.default_rng(2)
    t = 60
    factor = np.sqrt((t + 1 - 2 * horizon + horizon * (horizon - 1) / t) / t)
    noise = np.cumsum(rng.normal(size=(10, t + 3)), axis=1)
    losses = noise[:, 3:] - noise[:, :-3]  # autocorrelated
    result = diebold_mariano(losses, np.zeros_like(losses), horizon=horizon)
    for d, statistic, fell_back in zip(losses, result.statistic, result.bartlett, strict=True):
        fit = sm.OLS(d, np.ones(t)).fit()
        kernel: Callable[[int], Any] = weights_bartlett if fell_back else weights_uniform
        variance = cov_hac_simple(fit, nlags=horizon - 1, weights_func=kernel, use_correction=False).item()
        assert statistic == pytest.approx(factor * d.mean() / np.sqrt(variance))


def test_one_step_ahead_is_the_paired_t_test() -> None:
    """With V of divisor T, `sqrt((T - 1) / T) mean / sqrt(V / T)` is the t-statistic of divisor T - 1."""
    a, b = np.random.default_rng(3).gamma(2.0, size=(2, 30))
    expected = stats.ttest_rel(a, b)
    result = diebold_mariano(a, b)
    assert float(result.statistic) == pytest.approx(expected.statistic)
    assert float(result.p_value) == pytest.approx(expected.pvalue)
    uncorrected = (a - b).mean() / np.sqrt((a - b).var() / 30)
    assert float(result.statistic) == pytest.approx(uncorrected * np.sqrt(29 / 30))


def test_bartlett_steps_in_where_the_variance_is_not_positive() -> None:
    a = np.array([[2.0, 0, 2, 0, 2, 0, 2, 0, 2], np.arange(9.0)])  # alternating, and trending
    result = diebold_mariano(a, np.full(a.shape, 0.5), horizon=2)
    assert result.bartlett.tolist() == [True, False]
    assert float(result.statistic[0]) == pytest.approx(diebold_mariano_by_hand((a[0] - 0.5).tolist(), 2)[0])


def test_no_difference_a_constant_one_and_too_few_values() -> None:
    a = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 2, np.nan, np.nan], [np.nan] * 4, [0.1, 0.1, 0.1, np.nan]])
    b = np.array([[1.0, 2, 3, 4], [2, 3, 4, 5], [0, 0, 0, 0], [0, 0, 0, 0], [0.0] * 4])
    result = diebold_mariano(a, b)
    np.testing.assert_array_equal(result.statistic, [0, -np.inf, np.nan, np.nan, np.inf])
    np.testing.assert_array_equal(result.p_value, [1, 0, np.nan, np.nan, 0])
    np.testing.assert_array_equal(result.effect, [0, -np.inf, np.nan, np.nan, np.inf])
    np.testing.assert_allclose(result.difference, [0, -1, 1.5, np.nan, 0.1])
    assert result.count.tolist() == [4, 4, 2, 0, 3]
    assert result.undefined == 2
    assert not result.bartlett.any()


@pytest.mark.parametrize(("count", "horizon", "undefined"), [(3, 1, 0), (2, 1, 1), (5, 4, 0), (4, 4, 1), (0, 1, 1)])
def test_the_shortest_series_that_is_tested(count: int, horizon: int, undefined: int) -> None:
    a = np.random.default_rng(4).normal(size=count)
    result = diebold_mariano(a, np.zeros(count), horizon=horizon)
    assert result.undefined == undefined
    assert np.isnan(result.p_value) == bool(undefined)


@given(SEEDS, st.integers(3, 30), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_swapping_the_models_turns_the_sign(seed: int, length: int, horizon: int) -> None:
    a, b = np.random.default_rng(seed).gamma(1.0, size=(2, 3, length))
    forth, back = diebold_mariano(a, b, horizon=horizon), diebold_mariano(b, a, horizon=horizon)
    for name in ("statistic", "difference", "effect"):
        np.testing.assert_allclose(getattr(forth, name), -getattr(back, name))
    np.testing.assert_allclose(forth.p_value, back.p_value)


@given(SEEDS, st.floats(1e-3, 1e3), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_the_unit_changes_nothing_but_the_difference(seed: int, unit: float, horizon: int) -> None:
    a, b = np.random.default_rng(seed).gamma(1.0, size=(2, 3, 25))
    before, after = diebold_mariano(a, b, horizon=horizon), diebold_mariano(unit * a, unit * b, horizon=horizon)
    np.testing.assert_allclose(after.difference, unit * before.difference)
    for name in ("statistic", "effect", "p_value"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-6)


@pytest.mark.parametrize("horizon", [1, 3])
def test_equal_models_are_told_apart_as_seldom_as_the_level_says(horizon: int) -> None:
    """5 % of 4,000 tests, whose own standard error is 0.3 %; the correction leaves some over-rejection."""
    shocks = np.random.default_rng(5).normal(size=(4000, 120 + horizon - 1))
    d = sum(shocks[:, k : 120 + k] for k in range(horizon))  # as errors of h steps ahead: MA(h - 1)
    rejected = (diebold_mariano(d, np.zeros_like(d), horizon=horizon).p_value < 0.05).mean()
    assert 0.04 < rejected < 0.075


def test_a_panel_is_tested_by_its_cross_section_means() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.gamma(1.0, size=(2, 8, 40))
    a[rng.random(a.shape) < 0.2] = np.nan
    a[:, 7] = np.nan  # nobody was observed
    result = diebold_mariano_panel(a, b, horizon=2)
    means = [np.mean([x for x in (a - b)[:, t] if not np.isnan(x)]) if t != 7 else np.nan for t in range(40)]
    statistic, p_value, _ = diebold_mariano_by_hand(means, 2)
    assert (float(result.statistic), float(result.p_value)) == pytest.approx((statistic, p_value))
    assert result.statistic.shape == ()
    assert int(result.count) == 39


def test_a_panel_of_dependent_series_is_not_overrated() -> None:
    """A shock that all series share: pooling them as if independent rejects far too often."""
    rng = np.random.default_rng(7)
    rejected = pooled = 0
    for _ in range(300):
        d = rng.normal(size=(1, 50)) + rng.normal(size=(20, 50))
        rejected += float(diebold_mariano_panel(d, np.zeros_like(d)).p_value) < 0.05
        pooled += float(diebold_mariano(d.ravel(), np.zeros(d.size)).p_value) < 0.05
    assert 0.01 < rejected / 300 < 0.09
    assert pooled / 300 > 0.4


# ---- ranks

# Demsar (2006), Table 6: the ranks of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets.
DEMSAR = np.array([
    [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
    [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
])  # fmt: skip


def test_the_worked_example_of_demsar() -> None:
    """Printed: ranks 3.143, 2.000, 2.893, 1.964; chi2 9.28, F 3.69 without correction for ties; CD 1.25, 1.12."""
    result = friedman(DEMSAR)
    np.testing.assert_allclose(result.mean_ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    ties = 1 - (3 * 6 + 60) / (14 * 4 * 15)  # sum of t^3 - t: three pairs, one tie of four
    chi2 = result.statistic * ties
    assert chi2 == pytest.approx(9.28, abs=5e-3)
    assert 13 * chi2 / (14 * 3 - chi2) == pytest.approx(3.69, abs=5e-3)
    assert nemenyi(DEMSAR).critical_difference == pytest.approx(1.25, abs=5e-3)
    assert nemenyi(DEMSAR).groups == ((3, 1, 2, 0),)
    at_ten = nemenyi(DEMSAR, alpha=0.10)
    assert at_ten.critical_difference == pytest.approx(1.12, abs=5e-3)
    assert at_ten.groups == ((3, 1, 2), (2, 0))  # C4.5 is worse than C4.5+m and C4.5+m+cf


@pytest.mark.parametrize(
    ("alpha", "printed"),
    [
        (0.05, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.10, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_the_critical_values_of_demsar(alpha: float, printed: list[float]) -> None:
    """Demsar (2006), Table 5 (a), 2 to 10 classifiers."""
    for models, q in enumerate(printed, start=2):
        losses = np.arange(6.0 * models).reshape(6, models)
        unit = np.sqrt(models * (models + 1) / 36)
        assert nemenyi(losses, alpha=alpha).critical_difference / unit == pytest.approx(q, abs=1.1e-3)


@pytest.mark.parametrize("rounded", [False, True], ids=["no ties", "ties"])
@pytest.mark.parametrize("models", [3, 4, 7])
def test_ranks_are_tested_as_scipy_and_scikit_posthocs_do(models: int, rounded: bool) -> None:
    losses = np.random.default_rng(models).gamma(3.0, size=(15, models)) + 0.5 * np.arange(models)
    losses = losses.round() if rounded else losses
    expected = stats.friedmanchisquare(*losses.T)
    result = friedman(losses)
    assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert result.kendall_w == pytest.approx(expected.statistic / (15 * (models - 1)))
    assert result.f_statistic == pytest.approx(14 * expected.statistic / (15 * (models - 1) - expected.statistic))
    found = nemenyi(losses)
    np.testing.assert_allclose(found.p_values, scikit_posthocs.posthoc_nemenyi_friedman(losses).to_numpy(), atol=1e-9)
    np.testing.assert_allclose(found.mean_ranks, result.mean_ranks)


def test_imans_f_is_the_analysis_of_variance_of_the_ranks() -> None:
    losses = np.random.default_rng(8).normal(size=(9, 4)) + [0, 0.2, 0.4, 1.0]
    ranks = losses.argsort(axis=1).argsort(axis=1) + 1.0
    blocks, models = np.divmod(np.arange(36), 4)
    design = np.column_stack([np.eye(9)[blocks], np.eye(4)[models][:, 1:]])
    full, reduced = sm.OLS(ranks.ravel(), design).fit(), sm.OLS(ranks.ravel(), design[:, :9]).fit()
    f, p_value, _ = full.compare_f_test(reduced)
    result = friedman(losses)
    assert (result.f_statistic, result.f_p_value) == pytest.approx((f, p_value))


def test_kendalls_w_is_the_mean_rank_correlation_between_rows() -> None:
    losses = np.random.default_rng(9).normal(size=(6, 5)) + np.arange(5)
    pairs = [stats.spearmanr(x, y).statistic for x, y in itertools.combinations(losses, 2)]
    assert (6 * friedman(losses).kendall_w - 1) / 5 == pytest.approx(np.mean(pairs))


def test_rows_that_are_all_tied_all_agreed_or_not_complete() -> None:
    tied = friedman(np.ones((5, 3)))
    assert (tied.statistic, tied.p_value, tied.f_statistic, tied.f_p_value, tied.kendall_w) == (0, 1, 0, 1, 0)
    agreed = friedman(np.tile([1.0, 2, 3], (5, 1)))
    assert (agreed.kendall_w, agreed.f_statistic, agreed.f_p_value) == (1, np.inf, 0)
    with_gaps = np.vstack([DEMSAR, [np.nan, 1, 2, 3]])
    assert friedman(with_gaps).statistic == friedman(DEMSAR).statistic
    assert (friedman(with_gaps).count, friedman(with_gaps).left_out) == (14, 1)
    assert (nemenyi(with_gaps).count, nemenyi(with_gaps).left_out) == (14, 1)


@given(SEEDS, st.integers(2, 6), st.integers(2, 30))
@settings(max_examples=30, deadline=None)
def test_groups_are_the_largest_sets_of_which_no_two_differ(seed: int, models: int, rows: int) -> None:
    losses = np.random.default_rng(seed).normal(size=(rows, models)) + np.linspace(0, 2, models)
    result = nemenyi(losses)
    ranks, critical = result.mean_ranks, result.critical_difference
    alike = [
        set(some)
        for size in range(2, models + 1)
        for some in itertools.combinations(range(models), size)
        if all(abs(ranks[i] - ranks[j]) < critical for i, j in itertools.combinations(some, 2))
    ]
    largest = [some for some in alike if not any(some < other for other in alike)]
    assert sorted(map(sorted, result.groups)) == sorted(map(sorted, largest))
    assert all(ranks[list(group)].tolist() == sorted(ranks[list(group)]) for group in result.groups)


# ---- model confidence set


def autocorrelated(seed: int, rows: int, models: int, spread: float) -> Floats:
    """`[rows, models]` losses with a shock in common, each correlated with the one before."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(size=(rows + 1, models)) + rng.normal(size=(rows + 1, 1))
    return (shocks[1:] + 0.5 * shocks[:-1]) ** 2 + np.linspace(0, spread, models)


def of_arch(losses: Floats, statistic: str, block: int, draws: int) -> tuple[list[int], list[float]]:
    mcs = arch.bootstrap.MCS(
        losses, 0.1, reps=draws, block_size=block, method="max" if statistic == "max" else "R", seed=1
    )
    mcs.compute()
    return mcs.pvalues.index.tolist(), mcs.pvalues["Pvalue"].tolist()


@pytest.mark.parametrize("statistic", ["max", "range"])
@pytest.mark.parametrize("seed", range(4))
def test_the_confidence_set_is_archs_on_the_same_resamples(
    seed: int, statistic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = autocorrelated(seed, 80, 6, 1.5)

    def same(rows: Floats, draws: int, block: int, seed: int) -> Floats:
        bootstrap = arch.bootstrap.StationaryBootstrap(block, rows, seed=1)
        return np.stack([data[0][0].mean(axis=0) for data in bootstrap.bootstrap(draws)]) - rows.mean(axis=0)

    monkeypatch.setattr(resampling, "resampled", same)
    order, p_values = of_arch(losses, statistic, 4, 200)
    result = model_confidence_set(losses, block=4, draws=200, statistic=statistic)
    assert list(result.order) == order
    np.testing.assert_allclose(result.p_values[order], p_values, atol=1e-12)


@pytest.mark.parametrize("statistic", ["max", "range"])
def test_the_confidence_set_is_archs_but_for_the_draw(statistic: Any) -> None:
    losses = autocorrelated(5, 150, 5, 1.0)
    order, p_values = of_arch(losses, statistic, 6, 2000)
    result = model_confidence_set(losses, block=6, draws=5000, statistic=statistic)
    np.testing.assert_allclose(result.p_values[order], p_values, atol=0.05)
    assert ((result.p_values > 0.05) & (result.p_values < 0.95)).sum() > 1  # there is something to agree on


@given(SEEDS, st.sampled_from(["max", "range"]), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_a_confidence_set_holds_together(seed: int, statistic: Any, unit: float) -> None:
    losses = autocorrelated(seed, 40, 5, 2.0)
    losses[3, 1] = np.nan
    result = model_confidence_set(losses, alpha=0.2, draws=100, statistic=statistic)
    assert sorted(result.order) == list(range(5))
    assert (np.diff(result.p_values[list(result.order)]) >= 0).all()
    assert result.p_values[result.order[-1]] == 1
    np.testing.assert_array_equal(result.members, result.p_values >= 0.2)
    assert (result.count, result.left_out) == (39, 1)
    again = model_confidence_set(unit * losses + 3, alpha=0.2, draws=100, statistic=statistic)
    assert again.order == result.order
    np.testing.assert_allclose(again.p_values, result.p_values, atol=0.011)  # one draw may tie otherwise


@pytest.mark.parametrize("statistic", ["max", "range"])
def test_twins_stay_and_a_constant_handicap_goes(statistic: Any) -> None:
    loss = np.random.default_rng(10).gamma(2.0, size=50)
    twins = model_confidence_set(np.stack([loss] * 3, axis=1), draws=100, statistic=statistic)
    assert twins.p_values.tolist() == [1, 1, 1]
    worse = model_confidence_set(np.stack([loss + 0.1, loss, loss], axis=1), draws=100, statistic=statistic)
    assert worse.p_values.tolist() == [0, 1, 1]
    assert worse.order[0] == 0


def test_the_best_model_is_in_the_set_as_often_as_promised() -> None:
    rng = np.random.default_rng(11)
    held = wide = 0
    for _ in range(150):
        result = model_confidence_set(rng.normal(size=(80, 3)) + [0.0, 0.0, 0.8], draws=150, block=1)
        held += bool(result.members[:2].all())
        wide += bool(result.members[2])
    assert held / 150 > 0.85
    assert wide / 150 < 0.05


# ---- bootstrap


@pytest.mark.parametrize("block", [1, 5])
def test_the_interval_is_as_wide_as_the_stationary_bootstraps_variance(block: int) -> None:
    """Politis and Romano (1994), Lemma 1: n Var = R(0) + 2 sum (1 - k/n)(1 - 1/block)^k R(k), R circular."""
    d = autocorrelated(12, 400, 2, 0.0)[:, 0]
    n, centred = len(d), d - d.mean()
    circular = [float(centred @ np.roll(centred, k)) / n for k in range(n)]
    weights = [(1 - k / n) * (1 - 1 / block) ** k for k in range(n)]
    variance = (circular[0] + 2 * sum(w * r for w, r in zip(weights[1:], circular[1:], strict=True))) / n
    result = bootstrap_difference(d, np.zeros(n), draws=20_000, block=block)
    assert (result.high - result.low) / (2 * 1.959964) == pytest.approx(np.sqrt(variance), rel=0.03)
    assert result.low < result.difference < result.high


def test_the_interval_is_that_of_a_loop_over_whole_series() -> None:
    rng = np.random.default_rng(13)
    b = rng.gamma(2.0, size=(30, 1)) * rng.gamma(4.0, size=(30, 12))
    a = b * rng.uniform(0.6, 1.2, size=(30, 1))
    a[4, 3:] = np.nan
    b[7] = np.nan
    result = bootstrap_difference(a, b, level=0.9, draws=4000)
    used = [i for i in range(30) if i != 7]
    means = {i: (a[i, :3].mean(), b[i, :3].mean()) if i == 4 else (a[i].mean(), b[i].mean()) for i in used}
    differences, relatives = [], []
    for _ in range(4000):
        drawn = [means[used[k]] for k in rng.integers(0, 29, size=29)]
        mean_a, mean_b = (sum(side) / 29 for side in zip(*drawn, strict=True))
        differences.append(mean_a - mean_b)
        relatives.append(mean_a / mean_b - 1)
    step = np.std(differences) * 0.1
    np.testing.assert_allclose([result.low, result.high], np.quantile(differences, [0.05, 0.95]), atol=step)
    step = np.std(relatives) * 0.1
    assert [result.relative_low, result.relative_high] == pytest.approx(np.quantile(relatives, [0.05, 0.95]), abs=step)
    mean_a, mean_b = np.mean(list(means.values()), axis=0)
    assert (result.difference, result.relative) == pytest.approx((mean_a - mean_b, mean_a / mean_b - 1))
    assert result.win_share == pytest.approx(np.mean([x < y for x, y in means.values()]))
    assert (result.count, result.left_out) == (29, 1)


def test_a_tie_is_half_a_win_and_swapping_shares_what_is_left() -> None:
    a, b = np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 2, 2])
    forth, back = bootstrap_difference(a, b), bootstrap_difference(b, a)
    assert (forth.win_share, back.win_share) == (0.375, 0.625)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    same = bootstrap_difference(a, a)
    assert (same.difference, same.low, same.high, same.relative, same.win_share) == (0, 0, 0, 0, 0.5)


@pytest.mark.parametrize("b", [[0.0, 0, 0], [0.0, 0, 1], [-1.0, -2, -3]], ids=["zero", "zero in a draw", "negative"])
def test_a_relative_difference_needs_a_positive_reference(b: list[float]) -> None:
    result = bootstrap_difference(np.array([1.0, 2, 3]), np.array(b))
    assert np.isnan([result.relative, result.relative_low, result.relative_high]).all()
    assert result.low <= result.difference <= result.high


def test_the_interval_covers_the_truth_as_often_as_promised() -> None:
    rng = np.random.default_rng(14)
    covered = 0
    for _ in range(300):
        result = bootstrap_difference(rng.normal(1.0, 1.0, size=40), np.ones(40), draws=300)
        covered += result.low < 0 < result.high
    assert 0.89 < covered / 300 < 0.98


def test_seeds_repeat_and_memory_stays_bounded() -> None:
    a, b = np.random.default_rng(15).gamma(2.0, size=(2, 30_000))
    tracemalloc.start()
    first = bootstrap_difference(a, b, draws=150, block=10, seed=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 150 resamples at once would take over 200 MB
    assert first == bootstrap_difference(a, b, draws=150, block=10, seed=3)
    assert first != bootstrap_difference(a, b, draws=150, block=10, seed=4)


# ---- table


@pytest.fixture
def losses() -> pd.DataFrame:
    rng = np.random.default_rng(16)
    naive = rng.gamma(3.0, size=40)
    table = pd.DataFrame(
        {
            "naive": naive,
            "good": naive * rng.uniform(0.5, 1.0, size=40),
            "alike": naive * rng.uniform(0.8, 1.2, size=40),
            "bad": naive + rng.uniform(-0.2, 0.5, size=40),
        },
        index=[f"H{i}" for i in range(40)],
    )
    table.iloc[[3, 9], 2] = np.nan
    return table


def test_the_table_is_what_each_column_gives(losses: pd.DataFrame) -> None:
    table = compare(losses, "naive", draws=500, seed=1).set_index("model")
    complete = losses.dropna()
    assert table.index.tolist() == ["naive", "good", "alike", "bad"]
    assert (table[["count", "left_out"]] == [38, 2]).all(axis=None)
    for name in ("good", "alike", "bad"):
        a, b = complete[name].to_numpy(), complete["naive"].to_numpy()
        row = table.loc[name]
        alone = bootstrap_difference(a, b, draws=500, seed=1)
        for field in ("difference", "low", "high", "relative", "relative_low", "relative_high", "win_share"):
            assert row[field] == pytest.approx(getattr(alone, field)), field
        assert row["mean"] == pytest.approx(a.mean())
        assert row["effect"] == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
        assert row["p_value"] == pytest.approx(stats.wilcoxon(a, b).pvalue)
    rest = table.loc[["good", "alike", "bad"]]
    np.testing.assert_allclose(rest["p_holm"], multipletests(rest["p_value"], method="holm")[1])
    assert table.loc["naive", ["difference", "relative", "low", "effect", "win_share"]].tolist() == [0, 0, 0, 0, 0.5]
    assert table.loc["naive", ["p_value", "p_holm"]].isna().all()


@given(SEEDS, st.integers(2, 8))
@settings(max_examples=15, deadline=None)
def test_p_values_are_corrected_as_statsmodels_does(seed: int, models: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(12, models)) + rng.uniform(0, 1, size=models)
    table = compare(pd.DataFrame(values, columns=list("abcdefgh")[:models]), "a", draws=10)[1:]
    np.testing.assert_allclose(table["p_holm"], multipletests(table["p_value"], method="holm")[1])


def test_a_model_that_is_the_baseline_by_another_name_is_no_better(losses: pd.DataFrame) -> None:
    row = compare(losses.assign(copy=losses["naive"]), "naive", draws=50).set_index("model").loc["copy"]
    assert row[["difference", "effect", "win_share", "p_value", "p_holm"]].tolist() == [0, 0, 0.5, 1, 1]


# ---- errors

ONES = np.ones((4, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diebold_mariano(np.ones(3), np.ones(4)), r"same shape, of 1 or more axes, got \[3\] and \[4\]"),
        (lambda: diebold_mariano(np.float64(1), np.float64(1)), r"got \[\] and \[\]"),
        (lambda: diebold_mariano(np.array([1.0, np.inf, 2]), np.ones(3)), "got 1 infinite ones"),
        (lambda: diebold_mariano(ONES, ONES, horizon=0), "horizon must be a whole number of at least 1, got 0"),
        (lambda: diebold_mariano(ONES, ONES, horizon=1.5), "horizon must be a whole number"),
        (lambda: diebold_mariano_panel(np.ones(3), np.ones(3)), r"of 2 axes, got \[3\]"),
        (lambda: friedman(np.ones(3)), r"at least 2 models, got shape \[3\]"),
        (lambda: friedman(np.ones((3, 1))), r"at least 2 models, got shape \[3, 1\]"),
        (lambda: friedman(np.array([[1.0, 2], [np.nan, 1]])), "at least 2 rows must have a loss .* got 1 of 2"),
        (lambda: nemenyi(np.array([[1.0, np.inf], [2, 1]])), "infinite"),
        (lambda: nemenyi(ONES, alpha=1.0), "alpha must lie between 0 and 1"),
        (lambda: model_confidence_set(ONES, alpha=0), "alpha must lie between 0 and 1"),
        (lambda: model_confidence_set(ONES, block=0), "block must be a whole number"),
        (lambda: model_confidence_set(ONES, block=5), "block must not exceed the number of rows, 4, got 5"),
        (lambda: model_confidence_set(ONES, draws=0), "draws must be a whole number"),
        (lambda: model_confidence_set(ONES, statistic="R"), "'max' or 'range', got 'R'"),
        (lambda: bootstrap_difference(np.ones((2, 2, 2)), np.ones((2, 2, 2))), "of 1 or 2 axes"),
        (lambda: bootstrap_difference(np.ones(4), np.ones(4), level=95), "level must lie between 0 and 1"),
        (lambda: bootstrap_difference(np.ones(1), np.ones(1)), "got 1 of 1"),
        (lambda: compare(pd.DataFrame(ONES, columns=["naive", "ets", "gru"]), "naiv"), "Did you mean 'naive'"),
        (lambda: compare(pd.DataFrame({"id": ["a"] * 3, "x": 1.0, "y": 2.0}), "x"), "got 'id' twice or"),
        (lambda: compare(pd.DataFrame(ONES, columns=["x", "y", "y"]), "x"), "got 'y', 'y' twice or"),
        (lambda: compare(pd.DataFrame({"x": [1.0, 2]}), "x"), r"at least 2 models, got shape \[2, 1\]"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
