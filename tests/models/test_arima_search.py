"""The order search: its tests for differences against statsmodels and simulations, its moves by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from statsmodels.datasets import nile
from statsmodels.tsa.arima.model import ARIMA as Reference
from statsmodels.tsa.stattools import kpss as their_kpss

from forecast_kit import load
from forecast_kit.models.statistical import arima_fit, arima_search
from forecast_kit.models.statistical.arima_fit import fit_conditional, fit_exact, pose
from forecast_kit.models.statistical.arima_orders import Order, nearest_root
from forecast_kit.models.statistical.arima_search import (
    Found,
    Limits,
    beginnings,
    choose_differences,
    count_differences,
    count_seasonal,
    kpss,
    neighbours,
    search,
    seasonal_strength,
    stepwise,
)
from forecast_kit.models.statistical.workers import Deadline, OutOfTime


def passengers() -> np.ndarray:
    return load("air_passengers")[0]["y"].to_numpy(float)


def found(y: np.ndarray, m: int = 1, limits: Limits | None = None) -> Found:
    result = search(y[:, None] if y.ndim == 1 else y, limits or Limits(), m)
    assert isinstance(result, Found)
    return result


def walk(seed: int, n: int, d: int, phi: float = 0.5, D: int = 0, m: int = 12) -> np.ndarray:
    """An AR(1), summed d times, and D times over seasons of m steps."""
    y = np.convolve(np.random.default_rng(seed).normal(size=n), phi ** np.arange(40))[:n]
    for _ in range(d):
        y = np.cumsum(y)
    for _ in range(D):
        for t in range(m, n):
            y[t] += y[t - m]
    return y


# ---- differences


@pytest.mark.parametrize("n", [20, 80, 300])
@pytest.mark.parametrize("d", [0, 1])
def test_the_statistic_is_that_of_statsmodels(n: int, d: int) -> None:
    y = walk(n, n, d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of p-values beyond their table
        expected = their_kpss(y, "c", int(3 * np.sqrt(n) / 13))
    assert kpss(y) == pytest.approx(expected[0], rel=1e-10)
    assert (kpss(y) > 0.463) == (expected[1] < 0.05)


@pytest.mark.parametrize(("d", "least"), [(0, 0.9), (1, 0.9), (2, 0.8)])
def test_simulated_series_get_back_their_differences(d: int, least: float) -> None:
    """A test at 5 % asks for one too many now and then, and has less power than 1."""
    counts = [count_differences(walk(seed, 300, d, 0.3)) for seed in range(60)]
    assert np.mean(np.array(counts) == d) >= least


def test_simulated_seasonal_walks_are_differenced_and_noise_is_not() -> None:
    assert np.mean([count_seasonal(walk(seed, 120, 0, 0.2, D=1), 12) for seed in range(40)]) >= 0.95
    assert np.mean([count_seasonal(walk(seed, 120, 0), 12) for seed in range(40)]) <= 0.05
    assert np.mean([count_seasonal(walk(seed, 120, 1), 12) for seed in range(40)]) <= 0.1


def test_the_strength_of_a_season_is_the_share_that_it_explains() -> None:
    """And a part of the noise, since each place's season is smoothed over 11 seasons only."""
    rng, n = np.random.default_rng(0), 2400
    for deviation in (0.2, 1.0, 3.0):
        wave = np.sqrt(2.0) * np.sin(2 * np.pi * np.arange(n) / 12)  # of variance 1
        expected = 1.0 / (1.0 + deviation**2)
        assert -0.02 < seasonal_strength(wave + deviation * rng.normal(size=n), 12) - expected < 0.25
    assert seasonal_strength(np.tile(np.arange(12.0), 10), 12) == pytest.approx(1.0)


@pytest.mark.parametrize("y", [np.full(30, 2.0), np.zeros(30), np.array([1.0])], ids=["constant", "zeros", "one"])
def test_a_series_that_does_not_move_needs_no_difference(y: np.ndarray) -> None:
    assert count_differences(y) == 0
    assert count_seasonal(y, 4) == 0


def test_differences_are_counted_on_what_the_covariates_leave() -> None:
    trend = np.cumsum(np.random.default_rng(1).normal(size=150))
    values = np.column_stack([3.0 * trend + walk(2, 150, 0), trend])
    assert choose_differences(values[:, :1], Limits(), 1).d == 1
    assert choose_differences(values, Limits(), 1).d == 0


def test_given_differences_are_taken() -> None:
    assert choose_differences(passengers()[:, None], Limits(), 12) == Order(0, 1, 0, 0, 1, 0, 12)
    assert choose_differences(passengers()[:, None], Limits(d=0, D=0), 12) == Order(0, 0, 0, m=12, constant=True)
    assert choose_differences(passengers()[:, None], Limits(d=1, D=0), 12) == Order(0, 1, 0, m=12, constant=True)


# ---- the moves


def test_the_search_sets_out_from_the_models_of_the_paper() -> None:
    base = Order(0, 1, 0, 0, 0, 0, 12, True)
    orders = [str(order) for order in beginnings(base, Limits(), 100)]
    assert orders == ["(2,1,2)(1,0,1)[12] drift", "(0,1,0) drift", "(1,1,0)(1,0,0)[12] drift",
                      "(0,1,1)(0,0,1)[12] drift", "(0,1,0)"]  # fmt: skip
    plain = replace(base, m=1, constant=False)
    assert [str(order) for order in beginnings(plain, Limits(p=1, P=0, Q=0), 8)] == [
        "(1,1,1)", "(0,1,0)", "(1,1,0)", "(0,1,1)"]  # fmt: skip


def test_neighbours_by_hand() -> None:
    order = Order(1, 1, 0, 0, 1, 2, 4)
    near = [(o.p, o.q, o.P, o.Q) for o in neighbours(order, Limits(), constant=False)]
    assert near == [(1, 0, 0, 1), (1, 0, 1, 2), (1, 0, 1, 1), (0, 0, 0, 2), (2, 0, 0, 2), (1, 1, 0, 2),
                    (0, 1, 0, 2), (2, 1, 0, 2)]  # fmt: skip
    assert list(neighbours(order, Limits(), constant=True))[-1] == replace(order, constant=True)
    tight = [(o.p, o.q, o.P, o.Q) for o in neighbours(order, Limits(p=1, q=0, P=0, total=3), constant=False)]
    assert tight == [(1, 0, 0, 1), (0, 0, 0, 2)]


def test_limits_shrink_with_the_series() -> None:
    assert Limits().within(100, 12) == Limits()
    assert Limits().within(30, 12) == Limits(P=0, Q=0)
    assert Limits().within(9, 1) == Limits(p=3, q=3, P=0, Q=0)
    assert Limits().within(60, 4) == Limits(p=3, q=3)


def test_the_search_walks_down_to_where_no_neighbour_is_better() -> None:
    goal, asked = (3, 1, 0, 1), []

    def score(order: Order) -> float:
        asked.append(order)
        return float(sum((a - b) ** 2 for a, b in zip((order.p, order.q, order.P, order.Q), goal, strict=True)))

    stepwise(score, Order(0, 0, 0, m=4, constant=True), Limits(), 100)
    best = min(asked, key=lambda order: (order.p, order.q, order.P, order.Q) != goal)
    assert (best.p, best.q, best.P, best.Q) == goal
    assert len(asked) == len(set(asked)) < 60


def test_the_search_ends_after_so_many_models() -> None:
    asked: list[Order] = []

    def ever_better(order: Order) -> float:
        asked.append(order)
        return -float(len(asked))

    stepwise(ever_better, Order(0, 0, 0, m=12, constant=True), Limits(p=30, q=30, total=99), 1000)
    assert len(asked) == 94


# ---- the whole


def test_airline_passengers_get_the_model_of_r() -> None:
    """R's `auto.arima(AirPassengers)`: ARIMA(2,1,1)(0,1,0)[12], 0.5960, 0.2143, -0.9819, AICc 1018.17."""
    result = found(passengers(), 12)
    assert str(result.fit.order) == "(2,1,1)(0,1,0)[12]"
    np.testing.assert_allclose(result.fit.params, [0.5960, 0.2143, -0.9819], atol=3e-4)
    aicc = result.fit.aicc + 2 * 131 * np.log(result.task.scale)
    assert aicc == pytest.approx(1018.17, abs=0.005)


def test_the_nile_gets_the_model_of_r() -> None:
    """R's `auto.arima(Nile)`: ARIMA(1,1,1), 0.2544, -0.8741, log likelihood -630.63, AICc 1267.51."""
    result = found(nile.load_pandas().data["volume"].to_numpy(float))
    shift = len(result.task.w) * np.log(result.task.scale)
    assert str(result.fit.order) == "(1,1,1)"
    np.testing.assert_allclose(result.fit.params, [0.2544, -0.8741], atol=1e-4)
    assert result.fit.loglike - shift == pytest.approx(-630.63, abs=0.005)
    assert result.fit.aicc + 2 * shift == pytest.approx(1267.51, abs=0.005)


@pytest.mark.parametrize("seed", range(6))
def test_no_beginning_and_no_neighbour_is_better(seed: int) -> None:
    """Neither by the likelihood that the search goes by, nor, of the best two, by the exact one."""
    y, m, asked = walk(seed, 90, seed % 2, 0.6, D=seed // 4, m=4), 4, {}
    step = arima_search.stepwise

    def watched(score: object, base: Order, limits: Limits, n: int) -> None:
        def note(order: Order) -> float:
            asked[order] = score(order)
            return asked[order]

        step(note, base, limits, n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arima_search, "stepwise", watched)
        result = found(y, m)
    ranked = sorted(asked, key=asked.__getitem__)
    base = replace(result.fit.order, p=0, q=0, P=0, Q=0, constant=result.fit.order.d + result.fit.order.D <= 1)
    limits = Limits().within(90, m)
    assert set(beginnings(base, limits, 90)) <= set(asked)
    assert set(neighbours(ranked[0], limits, constant=base.constant)) <= set(asked)
    assert nearest_root(result.fit.params, result.fit.order) >= 1.01
    assert result.fit.order in asked
    assert exact_aicc(y, result.fit.order) <= min(exact_aicc(y, order) for order in ranked[:2]) + 1e-3


def exact_aicc(y: np.ndarray, order: Order) -> float:
    """Infinite where a root is too near the unit circle."""
    task = pose(y[:, None], order)
    fit = fit_exact(task.w, task.x, order)
    if fit is None or nearest_root(fit.params, order) < 1.01:
        return np.inf
    return fit.aicc + 2 * len(task.w) * np.log(task.scale)


def test_the_criterion_is_that_of_statsmodels() -> None:
    y, order = passengers(), Order(1, 1, 0, 0, 1, 1, 12)
    w = np.diff(y[12:] - y[:-12])
    theirs = Reference(w, order=(1, 0, 0), seasonal_order=(0, 0, 1, 12), trend="n").fit()
    assert exact_aicc(y, order) == pytest.approx(theirs.aicc, abs=1e-3)


def test_scales_do_not_change_the_choice() -> None:
    y = passengers()
    assert {str(found(y * scale, 12).fit.order) for scale in (1e-12, 1.0, 1e12)} == {"(2,1,1)(0,1,0)[12]"}


def test_the_true_order_is_never_clearly_better_than_the_chosen_one() -> None:
    """The search sets out from it, so its AICc is beaten, or it is taken; and it is taken more often than not."""
    taken = 0
    for seed in range(16):
        y = walk(seed, 120, 0, 0.6)
        order = found(y, limits=Limits(d=0)).fit.order
        true = Order(1, 0, 0, constant=order.constant)
        assert exact_aicc(y, order) <= exact_aicc(y, true) + 0.01
        taken += (order.p, order.q) == (1, 0)
    assert taken > 8


def test_a_conditional_estimate_is_none_where_its_lags_take_all_steps() -> None:
    w = np.random.default_rng(0).normal(size=20)
    assert fit_conditional(w, np.empty((20, 0)), Order(2, 0, 0, 1, 0, 0, 17)) is None
    assert fit_exact(w[:3], np.empty((3, 0)), Order(2, 0, 0)) is None


def test_too_few_observations_are_said() -> None:
    assert search(np.array([[1.0], [4.0], [2.0]]), Limits(), 1) == "3 observations are too few to choose a model"


def test_long_series_are_compared_by_conditional_least_squares_and_end_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(kind: str, function: Any) -> Any:
        def call(*args: Any, **fields: Any) -> Any:
            calls.append(kind)
            return function(*args, **fields)

        return call

    monkeypatch.setattr(arima_search, "fit_conditional", counted("conditional", fit_conditional))
    monkeypatch.setattr(arima_search, "fit_exact", counted("exact", fit_exact))
    long, short = walk(3, 151, 1), walk(3, 150, 1)
    assert exact_aicc(long, found(long).fit.order) <= exact_aicc(long, Order(1, 1, 0)) + 2.0
    assert calls.count("exact") <= 3 < calls.count("conditional")
    calls.clear()
    found(short)
    assert set(calls) == {"exact"}


@pytest.mark.parametrize("checks", [1, 40, 200])
def test_when_the_time_is_up_the_best_so_far_is_taken(monkeypatch: pytest.MonkeyPatch, checks: int) -> None:
    left = iter(range(checks))

    def check(self: Deadline, *_: object) -> None:
        if next(left, None) is None:
            raise OutOfTime

    monkeypatch.setattr(Deadline, "check", check)
    result = search(passengers()[:, None], Limits(), 12, 30.0)
    if checks == 1:
        assert result == "no model was estimated within 30 s"
    else:
        assert isinstance(result, Found)
        assert result.cut == (next(left, None) is None)
        assert np.isfinite(result.fit.aicc)


def test_too_large_for_the_exact_likelihood_is_estimated_conditionally(monkeypatch: pytest.MonkeyPatch) -> None:
    task = pose(passengers()[:, None], Order(0, 1, 1, 0, 1, 1, 12))
    expected = fit_conditional(task.w, task.x, Order(0, 1, 1, 0, 1, 1, 12))
    monkeypatch.setattr(arima_fit, "_CELLS", 100)
    got = fit_exact(task.w, task.x, Order(0, 1, 1, 0, 1, 1, 12))
    assert got is not None
    assert expected is not None
    np.testing.assert_array_equal(got.params, expected.params)


def test_differences_beyond_all_numbers_are_said() -> None:
    y = 1.7e308 * (-1.0) ** np.arange(40)
    y[7] = 0.0
    with np.errstate(all="ignore"):
        assert search(y[:, None], Limits(d=1, D=0), 1) == "the differences are not finite"
