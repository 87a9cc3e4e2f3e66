"""Naive forecasts against loops, and against the results of the M4 competition."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Forecaster, Naive, Panel, SeasonalNaive, load
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation import metrics


def panel_of(series: list[list[float]]) -> Panel:
    rows = [(f"s{k}", t, v) for k, y in enumerate(series) for t, v in enumerate(y)]
    return Panel.from_frame(pd.DataFrame(rows, columns=["unique_id", "ds", "y"]), freq=1)


@st.composite
def seasonal_series(draw: st.DrawFn) -> tuple[int, list[list[float]]]:
    m = draw(st.integers(1, 5))
    y = st.lists(st.integers(-99, 99).map(float), min_size=m, max_size=4 * m)
    return m, draw(st.lists(y, min_size=1, max_size=4))


@given(seasonal_series(), st.integers(1, 14))
@settings(deadline=None, max_examples=40)
def test_the_forecast_is_the_value_of_the_last_season(case: tuple[int, list[list[float]]], horizon: int) -> None:
    m, series = case
    forecast = SeasonalNaive(m).fit(panel_of(series)).predict(horizon)
    for k, y in enumerate(series):
        grown = list(y)
        for _ in range(horizon):
            grown.append(grown[-m])
        assert forecast.mean[k].tolist() == grown[len(y) :]


@given(seasonal_series(), st.integers(1, 14), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=40)
def test_the_variance_grows_by_one_seasonal_step_a_season(
    case: tuple[int, list[list[float]]], horizon: int, level: float
) -> None:
    m, series = case
    forecast = SeasonalNaive(m).fit(panel_of(series)).predict(horizon, levels=[level])
    for k, y in enumerate(series):
        squares = [(y[t] - y[t - m]) ** 2 for t in range(m, len(y))]
        squares = squares or [(y[t] - y[t - 1]) ** 2 for t in range(1, len(y))]  # no pair of seasons: of plain steps
        variance = sum(squares) / len(squares) if squares else 0.0
        for h in range(1, horizon + 1):
            deviation = math.sqrt(((h - 1) // m + 1) * variance)
            expected = forecast.mean[k, h - 1] + NormalDist().inv_cdf(level) * deviation
            assert forecast.quantiles[k, h - 1, 0] == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.lists(st.integers(-99, 99).map(float), min_size=1, max_size=9), min_size=1, max_size=4))
@settings(deadline=None, max_examples=25)
def test_naive_repeats_the_last_value(series: list[list[float]]) -> None:
    forecast = Naive().fit(panel_of(series)).predict(3)
    assert forecast.mean.tolist() == [[y[-1]] * 3 for y in series]


@pytest.mark.parametrize(("forecaster", "mase", "smape"), [(SeasonalNaive(), 1.193, 13.912), (Naive(), 11.608, 43.003)])
def test_m4_hourly_gives_the_published_errors(forecaster: Forecaster, mase: float, smape: float) -> None:
    # The organisers' evaluation, M4 Competitor's Guide and Makridakis et al. 2020: all 414 series, last 48 hours.
    train, test = Panel.from_frame(*load("m4_hourly")).split(48)
    forecast = forecaster.fit(train).predict(48)
    actual, observed = test.y.reshape(414, 48), test.observed.reshape(414, 48)
    scaled = metrics.mase(actual, forecast.mean, observed, seasonal_error(train, 24))
    assert round(float(scaled.mean()), 3) == mase
    assert round(float(metrics.smape(actual, forecast.mean, observed).mean()), 3) == smape


def test_the_season_is_the_schemas_unless_another_is_asked_for(seasonal_panel: Panel) -> None:
    assert SeasonalNaive().fit(seasonal_panel).context_length == 24
    assert SeasonalNaive(5).fit(seasonal_panel).context_length == 5


def test_intervals_of_new_series_come_from_their_own_history() -> None:
    fitted = SeasonalNaive(1).fit(panel_of([[0.0, 1.0, 2.0], [0.0, 9.0, 0.0]]))
    history = panel_of([[5.0, 5.0], [5.0, 5.0], [2.0, 6.0]])  # s0, s1 known, s2 new
    forecast = fitted.predict(1, levels=[0.9], history=history)
    z = NormalDist().inv_cdf(0.9)
    np.testing.assert_allclose(forecast.quantiles[:, 0, 0], [5 + z * 1, 5 + z * 9, 6 + z * 4])


def test_less_than_a_season_repeats_the_last_value_and_is_told() -> None:
    short, long = panel_of([[1.0, 2.0, 3.0], [1.0, 5.0]]), panel_of([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for forecast in (
        SeasonalNaive(3).fit(short).predict(4, levels=(0.9,)),
        SeasonalNaive(3).fit(long).predict(4, levels=(0.9,), history=short),
    ):
        assert forecast.mean.tolist() == [[1.0, 2.0, 3.0, 1.0], [5.0] * 4]
        assert forecast.fallback.tolist() == ["", "Naive"]
        assert forecast.reason.tolist() == ["", "2 of the 3 steps of a season"]
    naive = Naive().fit(panel_of([[1.0, 5.0]])).predict(4, levels=(0.9,))
    forecast = SeasonalNaive(3).fit(short).predict(4, levels=(0.9,))
    np.testing.assert_allclose(forecast.quantiles[1], naive.quantiles[0])


@pytest.mark.parametrize("fields", [{"season_length": 0}, {"season_length": -2}, {"horizon": 0}])
def test_numbers_below_one_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match="must be a whole number, at least 1"):
        SeasonalNaive(**fields)
