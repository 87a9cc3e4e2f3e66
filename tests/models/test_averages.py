"""Averages and lines against loops over each series."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Drift, Forecaster, HistoricAverage, Panel, WindowAverage
from forecast_kit.errors import ArgumentError

Z = NormalDist().inv_cdf(0.9)
values = st.one_of(st.none(), st.integers(-99, 99).map(float))


def panel_of(series: list[list[float | None]], season_length: int = 1) -> Panel:
    rows = [(f"s{k}", t, v) for k, y in enumerate(series) for t, v in enumerate(y)]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).astype({"y": float})
    return Panel.from_frame(frame, freq=1, season_length=season_length, gaps="mask")


def average(found: list[float]) -> float:
    return sum(found) / len(found) if found else math.nan


@st.composite
def gappy(draw: st.DrawFn) -> list[list[float | None]]:
    """Series whose first and last values were observed."""
    series = []
    for _ in range(draw(st.integers(1, 4))):
        inner = draw(st.lists(values, max_size=14))
        series.append([draw(st.integers(-99, 99).map(float)), *inner, draw(st.integers(-99, 99).map(float))])
    return series


def check(forecaster: Forecaster, panel: Panel, k: int, h: int, mean: float, deviation: float) -> None:
    forecast = forecaster.predict(h, levels=[0.9])
    assert forecast.mean[k, h - 1] == pytest.approx(mean, abs=1e-9)
    assert forecast.quantiles[k, h - 1, 0] == pytest.approx(mean + Z * deviation, abs=1e-6)


@given(gappy(), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_the_historic_average_is_the_mean_of_what_was_observed(series: list[list[float | None]], h: int) -> None:
    panel = panel_of(series)
    fitted = HistoricAverage().fit(panel)
    for k, y in enumerate(series):
        seen = [v for v in y if v is not None]
        mean = average(seen)
        variance = sum((v - mean) ** 2 for v in seen) / max(len(seen) - 1, 1)
        check(fitted, panel, k, h, mean, math.sqrt(variance * (1 + 1 / len(seen))))


@given(gappy(), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_drift_goes_on_along_the_line_from_the_first_to_the_last_value(
    series: list[list[float | None]], h: int
) -> None:
    panel = panel_of(series)
    fitted = Drift().fit(panel)
    for k, y in enumerate(series):
        steps = len(y) - 1
        slope = (y[-1] - y[0]) / steps
        squares = [(b - a) ** 2 for a, b in pairwise(y) if a is not None and b is not None]
        spread = max((average(squares) if squares else 0.0) - slope**2, 0.0)
        check(fitted, panel, k, h, y[-1] + h * slope, math.sqrt(spread * h * (1 + h / steps)))


@given(gappy(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_a_window_average_is_its_loop(series: list[list[float | None]], window: int, m: int, h: int) -> None:
    series = [y for y in series if sum(v is not None for v in y) >= m] or [[1.0] * m]
    panel = panel_of(series, season_length=m)
    fitted = WindowAverage(window, season_length=None).fit(panel)

    def mean_before(y: list[float | None], t: int) -> float:
        return average([y[t - k * m] for k in range(1, window + 1) if t - k * m >= 0 and y[t - k * m] is not None])

    for k, y in enumerate(series):
        errors = [(v - mean_before(y, t)) ** 2 for t, v in enumerate(y)
                  if v is not None and not math.isnan(mean_before(y, t))]  # fmt: skip
        mean = mean_before(y, len(y) + (h - 1) % m)
        if math.isnan(mean):  # nothing was observed in the whole window: the last value before it goes on
            at = len(y) + (h - 1) % m - m
            mean = next(v for v in reversed(y[: at + 1]) if v is not None)
        growth = math.sqrt(1 + (h - 1) // m * (2 / (window + 1)) ** 2)
        check(fitted, panel, k, h, mean, math.sqrt(average(errors) if errors else 0.0) * growth)


def test_new_series_are_forecast_from_their_own_history_and_known_ones_from_what_was_learned() -> None:
    fitted = Drift().fit(panel_of([[0.0, 2.0, 4.0]]))
    history = panel_of([[10.0, 11.0], [0.0, 3.0]])  # s0 is known and rises by 2 a step
    np.testing.assert_allclose(fitted.predict(2, history=history).mean, [[13.0, 15.0], [6.0, 9.0]])


def test_a_single_observation_is_enough_where_no_season_is_asked_for() -> None:
    panel = panel_of([[4.0], [1.0, 3.0]])
    for forecaster in (HistoricAverage(), Drift(), WindowAverage(3)):
        forecast = forecaster.fit(panel).predict(2, levels=(0.1, 0.9))
        np.testing.assert_array_equal(forecast.mean[0], [4.0, 4.0])
        np.testing.assert_array_equal(forecast.quantiles[0], 4.0)
    seasonal = WindowAverage(3, season_length=2).fit(panel).predict(3, levels=(0.9,))
    assert seasonal.mean.tolist() == [[4.0, 4.0, 4.0], [1.0, 3.0, 1.0]]
    assert seasonal.fallback.tolist() == ["Naive", ""]


@pytest.mark.parametrize("fields", [{"window": 0}, {"season_length": 0}, {"window": 2.5}, {"horizon": -1}])
def test_numbers_below_one_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match="must be a whole number, at least 1"):
        WindowAverage(**fields)
