"""Intermittent demand against plain loops over the published equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import TSB, Croston, CrostonSBA, Forecaster, Panel
from forecast_kit.errors import ArgumentError

Z = NormalDist().inv_cdf(0.9)
Series = list[float | None]
steps = st.sampled_from([0.0, 0.0, 0.0, None, 1.0, 4.0, 9.0])
demands = st.lists(steps, min_size=1, max_size=25).map(lambda y: [0.0, *y])


def panel_of(series: list[Series]) -> Panel:
    rows = [(f"s{k}", t, v) for k, y in enumerate(series) for t, v in enumerate(y)]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).astype({"y": float})
    return Panel.from_frame(frame, freq=1, gaps="mask")


def croston(y: Series, alpha: float, factor: float) -> tuple[float, float]:
    """The forecast and the deviation of errors, by Croston's equations."""
    size = interval = None
    since, squares, count = 0, 0.0, 0
    for value in (v for v in y if v is not None):
        since += 1
        if size is not None:
            squares, count = squares + (value - factor * size / interval) ** 2, count + 1
        if value != 0:
            if size is None:
                size, interval = value, since
            else:
                size, interval = size + alpha * (value - size), interval + alpha * (since - interval)
            since = 0
    return (factor * size / interval if size is not None else 0.0), math.sqrt(squares / max(count, 1))


def tsb(y: Series, alpha: float, beta: float) -> tuple[float, float]:
    """The same by the equations of Teunter, Syntetos and Babai."""
    size = chance = None
    since, squares, count = 0, 0.0, 0
    for value in (v for v in y if v is not None):
        since += 1
        if size is None:
            if value != 0:
                size, chance = value, 1 / since
            continue
        squares, count = squares + (value - size * chance) ** 2, count + 1
        chance += beta * ((1.0 if value != 0 else 0.0) - chance)
        if value != 0:
            size += alpha * (value - size)
    return (size * chance if size is not None else 0.0), math.sqrt(squares / max(count, 1))


def check(forecaster: Forecaster, series: list[Series], expected: list[tuple[float, float]]) -> None:
    forecast = forecaster.fit(panel_of(series)).predict(3, levels=(0.1, 0.9))
    for k, (mean, deviation) in enumerate(expected):
        np.testing.assert_allclose(forecast.mean[k], mean, atol=1e-9)
        np.testing.assert_allclose(forecast.quantiles[k, :, 1], mean + Z * deviation, atol=1e-6)
        np.testing.assert_allclose(forecast.quantiles[k, :, 0], max(mean - Z * deviation, 0.0), atol=1e-6)


@given(st.lists(demands, min_size=1, max_size=4), st.floats(0.05, 1.0))
@settings(deadline=None, max_examples=60)
def test_croston_and_its_correction_are_their_loops(series: list[Series], alpha: float) -> None:
    check(Croston(alpha), series, [croston(y, alpha, 1.0) for y in series])
    check(CrostonSBA(alpha), series, [croston(y, alpha, 1.0 - alpha / 2) for y in series])


@given(st.lists(demands, min_size=1, max_size=4), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
@settings(deadline=None, max_examples=60)
def test_tsb_is_its_loop(series: list[Series], alpha: float, beta: float) -> None:
    check(TSB(alpha, beta=beta), series, [tsb(y, alpha, beta) for y in series])


@pytest.mark.parametrize("model", [Croston(0.3), CrostonSBA(0.3), TSB(0.3, beta=0.2)])
def test_later_steps_are_taken_in_as_a_longer_fit_takes_them(model: Forecaster) -> None:
    rng = np.random.default_rng(3)
    y = [float(v) for v in rng.poisson(0.4, 40) * rng.integers(1, 9, 40)]
    fitted = model.fit(panel_of([y[:20]]))
    expected = model.clone().fit(panel_of([y])).predict(2).mean
    np.testing.assert_allclose(fitted.predict(2, history=panel_of([y])).mean, expected)
    np.testing.assert_allclose(fitted.update(panel_of([y])).predict(2).mean, expected)


def test_demand_at_every_step_is_simple_smoothing() -> None:
    y = [3.0, 5.0, 4.0, 8.0]
    level = y[0]
    for value in y[1:]:
        level += 0.2 * (value - level)
    for model in (Croston(0.2), TSB(0.2, beta=0.5)):
        assert model.fit(panel_of([[*y]])).predict(1).mean[0, 0] == pytest.approx(level)


def test_the_croston_bias_is_what_theory_says() -> None:
    """With demand of 1 at random steps, the expectation of Croston's ratio is above the true rate; SBA's is near it."""
    rng = np.random.default_rng(0)
    series: list[Series] = [list(row) for row in (rng.random((3000, 200)) < 0.25).astype(float)]
    panel = panel_of(series)
    biased, corrected = (model.fit(panel).predict(1).mean.mean() for model in (Croston(0.3), CrostonSBA(0.3)))
    assert biased == pytest.approx(0.25 * 1.13, rel=0.03)  # to second order 1 + alpha / (2 - alpha) (p - 1) / p
    assert abs(corrected - 0.25) < abs(biased - 0.25) / 2


@pytest.mark.parametrize("build", [lambda: Croston(0.0), lambda: TSB(1.5), lambda: TSB(beta=0), lambda: Croston(None)])
def test_shares_out_of_range_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ArgumentError, match="must be a number above 0 and at most 1"):
        build()
