"""ARIMA against statsmodels' exact likelihood and forecasts, published estimates, and plain loops."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.tsa.arima.model import ARIMA as Reference
from statsmodels.tsa.innovations.arma_innovations import arma_loglike

from forecast_kit import Forecaster, Panel, load
from forecast_kit.errors import ArgumentError
from forecast_kit.models.statistical.arima import ARIMA, AutoARIMA
from forecast_kit.models.statistical.arima_fit import Task, fit_conditional, fit_twice, pose
from forecast_kit.models.statistical.arima_likelihood import Exact, conditional
from forecast_kit.models.statistical.arima_orders import (
    Order,
    difference,
    differencing,
    from_partial,
    nearest_root,
    products,
    to_partial,
)
from forecast_kit.models.statistical.arima_states import arima_deviation, arima_mean, arima_step

H = 18
AIRLINE = Order(0, 1, 1, 0, 1, 1, 12)
ORDERS = [
    AIRLINE, Order(1, 1, 1, 0, 1, 1, 12), Order(2, 1, 1, 0, 1, 0, 12), Order(1, 0, 0, 0, 1, 1, 12, constant=True),
    Order(2, 1, 2, constant=True), Order(2, 0, 0, constant=True), Order(1, 1, 0, 1, 0, 0, 12, constant=True),
]  # fmt: skip
LONG_MEMORY = [Order(2, 1, 1, 0, 1, 0, 12), Order(2, 1, 2, constant=True)]
orders = pytest.mark.parametrize("order", ORDERS, ids=str)


def passengers() -> np.ndarray:
    return np.log(load("air_passengers")[0]["y"].to_numpy(float))


def panel_of(*series: Any, m: int = 12, **fields: Any) -> Panel:
    frames = [pd.DataFrame({"unique_id": f"s{k}", "ds": np.arange(len(y)), "y": y}) for k, y in enumerate(series)]
    return Panel.from_frame(pd.concat(frames), freq=1, season_length=m, **fields)


def forecaster(order: Order, **fields: Any) -> ARIMA:
    return ARIMA((order.p, order.d, order.q), (order.P, order.D, order.Q), constant=order.constant, jobs=1, **fields)


def fitted(y: np.ndarray, order: Order) -> tuple[Task, Any]:
    task = pose(y[:, None], order)
    fit = fit_twice(task.w, task.x, order)
    assert fit is not None
    return task, fit


def reference(y: np.ndarray, order: Order) -> Reference:
    """Statsmodels' model; of the constant its slope or mean is a regressor, as here."""
    trend = "n" if not order.constant else "ct"[order.d + order.D]
    return Reference(y, order=(order.p, order.d, order.q), seasonal_order=(order.P, order.D, order.Q, order.m if
                     order.P + order.D + order.Q else 0), trend=trend)  # fmt: skip


def their_params(y: np.ndarray, order: Order) -> np.ndarray:
    """Our estimate in their order: constant, phi, theta, Phi, Theta, variance."""
    task, fit = fitted(y, order)
    phi, seasonal_phi, theta, seasonal_theta = np.split(fit.params, np.cumsum(order.sizes)[:-1])
    slope = [task.level(fit) / (order.m if order.D else 1)] if order.constant else []
    return np.concatenate([slope, phi, theta, seasonal_phi, seasonal_theta, [fit.variance * task.scale**2]])


def drawn(order: Order, seed: int) -> np.ndarray:
    """Coefficients of a stationary, invertible model."""
    return from_partial(np.random.default_rng(seed).uniform(-0.8, 0.8, order.size), order)


# ---- the likelihood


@pytest.mark.parametrize("n", [14, 60, 143])
@pytest.mark.parametrize("order", [
    Order(0, 0, 0), Order(1, 0, 0), Order(0, 0, 1), Order(3, 0, 2), Order(1, 0, 3), Order(0, 0, 1, 0, 0, 1, 12),
    Order(2, 0, 1, 1, 0, 1, 4), Order(1, 0, 1, 1, 0, 0, 12), Order(0, 0, 2, 1, 0, 2, 4)], ids=str)  # fmt: skip
def test_the_likelihood_is_that_of_the_innovations_algorithm(order: Order, n: int) -> None:
    w = np.random.default_rng(n).normal(size=n)
    points = np.array([drawn(order, seed) for seed in range(3)])
    total, log_det, _, _ = Exact(w, np.empty((n, 0)), order).at(points)
    for k, point in enumerate(points):
        ar, ma = products(point, order)
        ours = -0.5 * (n * np.log(2 * np.pi) + log_det[k] + total[k])
        assert ours == pytest.approx(arma_loglike(w, -ar[1:], ma[1:]), rel=1e-11)


def test_regressors_have_the_coefficients_of_generalised_least_squares() -> None:
    order, n, rng = Order(1, 0, 1), 40, np.random.default_rng(0)
    point, x, w = drawn(order, 3), rng.normal(size=(n, 2)), rng.normal(size=n)
    impulse = np.zeros((n, n))
    for row in range(n):  # the covariance as the definition has it: by the weights of a long past
        psi = [1.0, point[0] + point[1]]
        while len(psi) < 2000:
            psi.append(point[0] * psi[-1])
        impulse[row, 0] = np.dot(psi[: 2000 - row], psi[row:])
    variance = impulse[np.abs(np.arange(n)[:, None] - np.arange(n)), 0]
    weight = np.linalg.inv(variance)
    expected = np.linalg.solve(x.T @ weight @ x, x.T @ weight @ w)
    total, _, _, beta = Exact(w, x, order).at(point[None])
    np.testing.assert_allclose(beta[0], expected, rtol=1e-9)
    rest = w - x @ expected
    assert total[0] == pytest.approx(rest @ weight @ rest, rel=1e-9)


@orders
def test_the_estimate_is_at_least_as_likely_as_that_of_statsmodels(order: Order) -> None:
    """Theirs of the series differenced before, so that both likelihoods are of the same numbers."""
    y = passengers()
    w = difference(y, order)
    task, fit = fitted(y, order)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the values that it starts from
        theirs = reference(w, replace(order, d=0, D=0)).fit()
    assert fit.loglike - len(w) * np.log(task.scale) >= theirs.llf - 1e-4


def test_the_airline_model_has_the_published_estimate() -> None:
    """R's `arima(log(AirPassengers), c(0, 1, 1), c(0, 1, 1))`: -0.4018, -0.5569, variance 0.001348, 244.7."""
    task, fit = fitted(passengers(), AIRLINE)
    np.testing.assert_allclose(fit.params, [-0.4018, -0.5569], atol=6e-5)
    assert fit.variance * task.scale**2 == pytest.approx(0.001348, abs=6e-7)
    assert fit.loglike - 131 * np.log(task.scale) == pytest.approx(244.7, abs=0.05)


@given(seed=st.integers(0, 10_000), p=st.integers(0, 3), q=st.integers(0, 2), P=st.integers(0, 1), Q=st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_the_slopes_of_conditional_errors_are_finite_differences(seed: int, p: int, q: int, P: int, Q: int) -> None:
    order, rng = Order(p, 0, q, P, 0, Q, 4), np.random.default_rng(seed)
    w, x = rng.normal(size=30), rng.normal(size=(30, 2))
    point = np.append(0.6 * drawn(order, seed), rng.normal(size=2))
    errors, slopes = conditional(point, w, x, order)
    assert errors.shape == (30 - p - 4 * P,)
    for k in range(len(point)):
        step = 1e-6 * np.eye(1, len(point), k)[0]
        up, down = conditional(point + step, w, x, order)[0], conditional(point - step, w, x, order)[0]
        np.testing.assert_allclose(slopes[:, k], (up - down) / 2e-6, rtol=1e-4, atol=1e-5)


def test_conditional_errors_are_the_plain_loop() -> None:
    order, w = Order(1, 0, 1, 1, 0, 1, 4), np.random.default_rng(0).normal(size=25)
    point = drawn(order, 1)
    (phi, big_phi, theta, big_theta), z = point, w - 0.3
    e = [0.0] * 25
    for t in range(5, 25):
        before = phi * z[t - 1] + big_phi * z[t - 4] - phi * big_phi * z[t - 5]
        e[t] = z[t] - before - theta * e[t - 1] - big_theta * e[t - 4] - theta * big_theta * e[t - 5]
    ours, _ = conditional(np.append(point, 0.3), w, np.ones((25, 1)), order)
    np.testing.assert_allclose(ours, e[5:], rtol=1e-10, atol=1e-12)


def test_conditional_least_squares_is_the_regression_where_there_are_no_errors_lagged() -> None:
    rng = np.random.default_rng(5)
    w = np.convolve(rng.normal(size=200), 0.6 ** np.arange(20))[:200]
    fit = fit_conditional(w, np.ones((200, 1)), Order(2, 0, 0, constant=True), enough=1e-10)
    lags = np.column_stack([w[1:-1], w[:-2], np.ones(198)])
    slope = np.linalg.lstsq(lags, w[2:])[0]
    assert fit is not None
    np.testing.assert_allclose([*fit.params, fit.beta[0] * (1 - fit.params.sum())], slope, rtol=1e-5)


@given(seed=st.integers(0, 10_000), p=st.integers(0, 5), q=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_partial_autocorrelations_and_coefficients_are_two_ways_to_say_the_same(seed: int, p: int, q: int) -> None:
    order = Order(p, 0, q)
    partial = np.random.default_rng(seed).uniform(-0.95, 0.95, p + q)
    params = from_partial(partial, order)
    np.testing.assert_allclose(to_partial(params, order), partial, atol=1e-7)
    if p:
        assert np.abs(np.roots(np.append(1.0, -params[:p]))).max() < 1.0
    if q:
        assert np.abs(np.roots(np.append(1.0, params[p:]))).max() < 1.0


def test_roots_are_those_of_the_polynomials_multiplied_out() -> None:
    order = Order(2, 0, 1, 1, 0, 1, 4)
    params = drawn(order, 2)
    roots = np.concatenate([1.0 / np.abs(np.roots(c)) for c in products(params, order)])
    assert nearest_root(params, order) == pytest.approx(min(2.0, roots.min()), rel=1e-6)


# ---- forecasts


@orders
def test_forecasts_and_deviations_are_those_of_statsmodels_at_the_same_estimate(order: Order) -> None:
    """The mean is exact. Their deviation counts what a series so short leaves unknown of the errors of the past.

    That is next to nothing, unless a root of theta is close to 1 (0.98 and more in two of the orders). Variances
    are by degrees of freedom here, by n there.
    """
    y = passengers()
    params = their_params(y, order)
    theirs = reference(y, order).smooth(params).get_forecast(H)
    ours = forecaster(order).fit(panel_of(y)).predict(H, levels=(0.1, 0.5, 0.9))
    np.testing.assert_allclose(ours.mean[0], theirs.predicted_mean, rtol=1e-6)
    n = len(y) - order.lost
    half = (ours.quantiles[0, :, 2] - ours.quantiles[0, :, 0]) / 2.0 / 1.2815515655446004
    np.testing.assert_allclose(
        half * np.sqrt((n - len(params) + 1) / n), theirs.se_mean, rtol=5e-2 if order in LONG_MEMORY else 5e-3
    )
    np.testing.assert_allclose(ours.quantiles[0, :, 1], ours.mean[0], rtol=1e-12)


@orders
def test_new_observations_move_the_states_as_statsmodels_filters_them(order: Order) -> None:
    """They go on estimating the errors of long ago, too; that is less than a twentieth of a deviation.

    Not where a root of theta is so close to 1 that those errors still count, see above.
    """
    y, known = passengers(), 121
    later = y.copy()
    later[136:] = np.nan  # no news at the end: the forecast goes on
    model = forecaster(order).fit(panel_of(y[:known]))
    before = reference(y[:known], order).smooth(their_params(y[:known], order))
    for news in (y, later):
        expected = before.append(news[known:]).get_forecast(H)
        for start in (0, known):
            got = model.predict(H, history=shifted(news, start))
            close = (0.4 if order in LONG_MEMORY else 0.05) * float(expected.se_mean[0])
            np.testing.assert_allclose(got.mean[0], expected.predicted_mean, atol=close)


def shifted(y: np.ndarray, start: int) -> Panel:
    frame = pd.DataFrame({"unique_id": "s0", "ds": np.arange(start, len(y)), "y": y[start:]})
    return Panel.from_frame(frame, freq=1, season_length=12, gaps="mask")


def test_the_recursion_is_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    N, L, M, K, T, steps = 4, 14, 3, 2, 6, 7
    states = {
        "ar": rng.normal(0.0, 0.2, (N, L)), "ma": rng.normal(0.0, 0.3, (N, M)), "constant": rng.normal(size=N),
        "weights": rng.normal(size=(N, K)), "last": rng.normal(size=(N, L)), "errors": rng.normal(size=(N, M)),
        "deviation": rng.uniform(1.0, 2.0, N),
    }  # fmt: skip
    y, x, ahead = rng.normal(size=(N, T)), rng.normal(size=(N, T, K)), rng.normal(size=(N, steps, K))
    y[1, 2] = y[3, 5] = np.nan
    after = states
    for t in range(T):
        after = arima_step(after, y[:, t], x[:, t])
    mean, deviation = arima_mean(after, steps, ahead), arima_deviation(after, steps)
    for k in range(N):
        ar, ma, c, b = (states[key][k].tolist() for key in ("ar", "ma", "constant", "weights"))
        n, a = states["last"][k][::-1].tolist(), states["errors"][k][::-1].tolist()
        for t in range(T):
            hat = c + sum(ar[i] * n[-1 - i] for i in range(L)) + sum(ma[j] * a[-1 - j] for j in range(M))
            value = hat if np.isnan(y[k, t]) else y[k, t] - sum(b[i] * x[k, t, i] for i in range(K))
            n.append(value)
            a.append(value - hat)
        for h in range(steps):
            n.append(c + sum(ar[i] * n[-1 - i] for i in range(L)) + sum(ma[j] * a[-1 - j] for j in range(M)))
            a.append(0.0)
            assert mean[k, h] == pytest.approx(n[-1] + sum(b[i] * ahead[k, h, i] for i in range(K)))
        psi = [1.0]
        for j in range(1, steps):
            psi.append((ma[j - 1] if j <= M else 0.0) + sum(ar[i] * psi[j - 1 - i] for i in range(min(j, L))))
        for h in range(steps):
            total = sum(value**2 for value in psi[: h + 1])
            assert deviation[k, h] == pytest.approx(states["deviation"][k] * total**0.5)


def test_differencing_multiplied_out_is_differencing() -> None:
    order, y = Order(0, 2, 0, 0, 1, 0, 4), np.random.default_rng(0).normal(size=20)
    np.testing.assert_allclose(np.convolve(differencing(order), y)[6:20], difference(y, order), atol=1e-12)


@given(seed=st.integers(0, 1000), lengths=st.lists(st.integers(1, 60), min_size=2, max_size=4))
@settings(max_examples=8, deadline=None)
def test_series_together_are_each_alone(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    series = [50.0 + np.cumsum(rng.normal(size=n)) for n in lengths]
    together = AutoARIMA(season_length=4, jobs=1).fit(panel_of(*series))
    forecast = together.predict(5, levels=(0.1, 0.9))
    for k, y in enumerate(series):
        alone = AutoARIMA(season_length=4, jobs=1).fit(panel_of(y)).predict(5, levels=(0.1, 0.9))
        np.testing.assert_allclose(forecast.mean[k], alone.mean[0], rtol=1e-10)
        np.testing.assert_allclose(forecast.quantiles[k], alone.quantiles[0], rtol=1e-10)
        assert forecast.fallback[k] == alone.fallback[0]


def test_processes_give_the_forecasts_of_one() -> None:
    rng = np.random.default_rng(4)
    panel = panel_of(*[np.cumsum(rng.normal(size=40 + k)) for k in range(10)], m=1)
    serial, parallel = (AutoARIMA(max_p=2, max_q=2, jobs=jobs).fit(panel).predict(3, levels=(0.9,)) for jobs in (1, 2))
    np.testing.assert_array_equal(serial.mean, parallel.mean)
    np.testing.assert_array_equal(serial.quantiles, parallel.quantiles)


@pytest.mark.parametrize("model", [ARIMA((2, 1, 1), (0, 1, 1), jobs=1), AutoARIMA(max_p=1, max_P=1, jobs=1)])
def test_a_loaded_forecaster_goes_on_like_the_saved_one(model: Forecaster, tmp_path: Path) -> None:
    y = passengers()
    model = model.clone().fit(panel_of(y[:121], y[:100]))
    model.save(tmp_path / "m", history=True)
    loaded = Forecaster.load(tmp_path / "m")
    history = panel_of(y, y[:110])
    expected = model.predict(H, levels=(0.1, 0.9), history=history)
    for got in (loaded.predict(H, levels=(0.1, 0.9), history=history),
                loaded.update(history).predict(H, levels=(0.1, 0.9))):  # fmt: skip
        np.testing.assert_allclose(got.mean, expected.mean, atol=1e-8)
        np.testing.assert_allclose(got.quantiles, expected.quantiles, atol=1e-8)
    assert isinstance(loaded, type(model))
    assert loaded.orders_.tolist() == model.orders_.tolist()


# ---- covariates


def driven(n: int = 120, ahead: int = 12) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A walk that follows 3.5 times a covariate; the other covariates are constant, and twice the first."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=n + ahead) * 1e4
    y = 100.0 + np.cumsum(rng.normal(size=n + ahead)) + 3.5e-4 * x
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(n + ahead), "y": y, "x": x, "same": 7.0, "twice": 2 * x})
    return frame[:n], frame[n:]


@pytest.mark.parametrize("kind", [ARIMA, AutoARIMA])
def test_a_covariate_that_drives_the_series_is_found_and_makes_the_forecast_better(kind: Any) -> None:
    past, ahead = driven()
    future = ("x", "same", "twice")
    model = kind(jobs=1).fit(Panel.from_frame(past, freq=1, season_length=1, future=future))
    rows = ahead[["unique_id", "ds", *future]]
    assert model.states_["weights"][0] == pytest.approx([3.5e-4, 0.0, 0.0], abs=2e-5)
    blind = kind(jobs=1).fit(Panel.from_frame(past[["unique_id", "ds", "y"]], freq=1, season_length=1))
    actual = ahead["y"].to_numpy()
    with_it = np.abs(model.predict(12, future=rows).mean[0] - actual).mean()
    assert with_it < 0.8 * np.abs(blind.predict(12).mean[0] - actual).mean()


def test_regression_with_errors_is_that_of_statsmodels() -> None:
    past, _ = driven()
    y, x = past["y"].to_numpy(), past["x"].to_numpy()
    model = ARIMA((1, 1, 0), constant=False, jobs=1).fit(Panel.from_frame(
        past.drop(columns=["same", "twice"]), freq=1, season_length=1, future=("x",)))  # fmt: skip
    theirs = Reference(np.diff(y), np.diff(x) / 1e4, order=(1, 0, 0), trend="n").fit()
    assert model.states_["weights"][0, 0] == pytest.approx(theirs.params[0] / 1e4, rel=1e-4)
    assert -model.states_["ar"][0, 1] == pytest.approx(theirs.params[1], abs=1e-4)  # -phi_1 B^2 of (1 - phi B)(1 - B)


# ---- series that are hostile


def hostile() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    wave = 10.0 + np.sin(np.arange(60) * 2 * np.pi / 12) + 0.1 * rng.normal(size=60)
    spike, gaps = np.zeros(60), wave.copy()
    spike[40] = 1e6
    gaps[rng.random(60) < 0.3] = np.nan
    gaps[0] = 10.0
    return {
        "constant": np.full(40, 5.0), "zeros": np.zeros(30), "one": np.array([3.0]), "two": np.array([1.0, 4.0]),
        "three": np.array([1.0, 4.0, 2.0]), "four": np.array([1.0, 4.0, 2.0, 8.0]), "short": wave[:9],
        "less than two seasons": wave[:20], "huge": wave * 1e12, "tiny": wave * 1e-12, "spike": spike,
        "steps": np.repeat([0.0, 5.0, 5.0, 9.0], 15), "line": 3.0 + 0.5 * np.arange(40),
        "parabola": np.arange(40.0) ** 2, "season": np.tile(np.arange(12.0), 5),
        "growing season": np.tile(np.arange(12.0), 5) + np.arange(60) // 12, "gaps": gaps,
        "late": np.r_[np.zeros(59), 1.0], "growth": 2.0 ** np.arange(50), "alternating": np.tile([1.0, -1], 30),
        "level far away": 1e9 + rng.normal(size=60),
        "far beyond": 1e150 * (-1.0) ** np.arange(40) * rng.uniform(0.5, 1.0, 40),
    }  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", [
    AutoARIMA(jobs=1), ARIMA((1, 1, 1), (0, 1, 1), jobs=1), ARIMA((2, 0, 2), jobs=1),
    ARIMA((0, 2, 1), (1, 0, 0), jobs=1)], ids=["auto", "airline", "stationary", "two differences"])  # fmt: skip
def test_hostile_series_get_finite_ordered_quantiles(model: Forecaster) -> None:
    names, panel = list(hostile()), panel_of(*hostile().values(), gaps="mask")
    forecast = model.clone().fit(panel).predict(24, levels=(0.05, 0.5, 0.95))
    assert np.isfinite(forecast.quantiles).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0.0).all()
    by = {f"s{k}": name for k, name in enumerate(names)}
    mean = {by[i]: row for i, row in zip(forecast.ids.tolist(), forecast.mean, strict=True)}
    np.testing.assert_array_equal(mean["constant"], 5.0)
    np.testing.assert_array_equal(mean["zeros"], 0.0)
    np.testing.assert_array_equal(mean["one"], 3.0)
    np.testing.assert_allclose(mean["huge"], mean["tiny"] * 1e24, rtol=1e-5)
    fallen = {by[i]: text for i, text in zip(forecast.ids.tolist(), forecast.reason.tolist(), strict=True) if text}
    assert {"two", "three"} <= set(fallen)
    assert all("too few" in text or "not finite" in text for text in fallen.values())


def test_series_that_follow_a_rule_exactly_are_continued_by_it() -> None:
    chosen = {name: hostile()[name] for name in ("line", "season", "growing season")}
    forecast = AutoARIMA(jobs=1).fit(panel_of(*chosen.values())).predict(12, levels=(0.1, 0.9))
    np.testing.assert_allclose(forecast.mean[0], 3.0 + 0.5 * np.arange(40, 52))
    np.testing.assert_allclose(forecast.mean[1], np.arange(12.0), atol=1e-9)
    np.testing.assert_allclose(forecast.mean[2], np.arange(12.0) + 5.0, rtol=1e-9)
    np.testing.assert_allclose(forecast.quantiles[:, :, 0], forecast.quantiles[:, :, 1], atol=1e-6)


def test_too_few_observations_are_said_in_plain_words(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = ARIMA((1, 1, 1), (0, 1, 1), jobs=1).fit(panel_of(passengers()[:16]))
    forecast = model.predict(3)
    assert forecast.reason.tolist() == ["16 observations are too few for (1,1,1)(0,1,1)[12]"]
    assert forecast.fallback.tolist() == ["SeasonalNaive"]
    assert model.orders_.tolist() == [""]


@pytest.mark.parametrize("kind", [ARIMA, AutoARIMA])
def test_no_time_falls_back_and_says_so(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    forecast = kind(budget_s=1e-9, jobs=1).fit(panel_of(passengers())).predict(3)
    assert forecast.fallback.tolist() == ["SeasonalNaive"]
    assert "1e-09 s" in forecast.reason[0]


def test_max_history_estimates_from_the_last_steps() -> None:
    y = passengers()
    limited, cut = (forecaster(AIRLINE, max_history=n).fit(panel_of(rows)) for n, rows in ((60, y), (None, y[-60:])))
    np.testing.assert_array_equal(limited.predict(5).mean, cut.predict(5).mean)


def test_a_season_of_one_step_leaves_the_seasonal_orders_out() -> None:
    model = ARIMA((0, 1, 1), (0, 1, 1), season_length=1, jobs=1).fit(panel_of(passengers()))
    assert model.orders_.tolist() == ["(0,1,1) drift"]


@pytest.mark.parametrize(("kind", "fields", "message"), [
    (ARIMA, {"order": (1, 1)}, "order must be three whole numbers, none below 0; got (1, 1)"),
    (ARIMA, {"seasonal_order": (0, -1, 0)}, "seasonal_order must be three whole numbers"),
    (ARIMA, {"order": (1, 1, 1), "seasonal_order": (0, 1, 0), "constant": True}, "a trend that bends"),
    (ARIMA, {"constant": "yes"}, "constant must be True, False or 'auto'"), (ARIMA, {"budget_s": 0}, "budget_s"),
    (AutoARIMA, {"max_p": -1}, "max_p must be a whole number, none below 0; got -1"), (AutoARIMA, {"D": 1.5}, "D must"),
    (AutoARIMA, {"jobs": 0}, "jobs"), (AutoARIMA, {"max_history": 0}, "max_history"),
    (AutoARIMA, {"horizon": 0}, "horizon"),
])  # fmt: skip
def test_arguments_out_of_range_are_refused(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        kind(**fields)
    assert message in str(caught.value)
