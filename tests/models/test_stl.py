"""Forecasts through STL against statsmodels' own decomposition, and on seasons that are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.forecasting.stl import STLForecast
from statsmodels.tsa.seasonal import MSTL
from statsmodels.tsa.seasonal import STL as Loess
from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

from forecast_kit import ETS, SES, STL, Forecaster, Naive, Panel, SeasonallyAdjusted, load
from forecast_kit.core.forecaster import as_forecaster
from forecast_kit.errors import ArgumentError


def passengers() -> tuple[pd.Series, Panel]:
    frame, schema = load("air_passengers")
    y = pd.Series(frame["y"].to_numpy(float), pd.DatetimeIndex(frame["ds"], freq="MS"))
    return y, Panel.from_frame(frame, schema)


def panel_of(y: np.ndarray, season_length: int = 1) -> Panel:
    return Panel.from_frame(
        pd.DataFrame({"unique_id": "a", "ds": range(len(y)), "y": y}), freq=1, season_length=season_length, gaps="mask"
    )


@pytest.mark.parametrize("robust", [False, True])
def test_the_season_goes_on_and_the_forecaster_has_the_rest(robust: bool) -> None:
    y, panel = passengers()
    found = Loess(y, period=12, robust=robust).fit()
    rest = y - found.seasonal
    forecast = STL("Naive", robust=robust, jobs=1).fit(panel).predict(18, levels=(0.9,))
    expected = rest.iloc[-1] + np.resize(found.seasonal.iloc[-12:], 18)
    np.testing.assert_allclose(forecast.mean[0], expected)
    alone = Naive().fit(panel_of(rest.to_numpy())).predict(18, levels=(0.9,))
    width = forecast.quantiles[0, :, 0] - forecast.mean[0]
    np.testing.assert_allclose(width, alone.quantiles[0, :, 0] - alone.mean[0])


def test_with_holt_it_is_near_statsmodels_stl_forecast() -> None:
    y, panel = passengers()
    theirs = STLForecast(y, ExponentialSmoothing, model_kwargs={"trend": True}, period=12).fit(fit_kwargs={"disp": 0})
    ours = STL(ETS(trend="add", seasonal=None, initial="estimated"), jobs=1).fit(panel).predict(12).mean[0]
    np.testing.assert_allclose(ours, theirs.forecast(12), rtol=0.02)


def test_a_pattern_that_multiplies_is_that_of_the_logarithm() -> None:
    y, panel = passengers()
    found = Loess(np.log(y), period=12).fit()
    expected = np.exp(np.log(y.iloc[-1]) - found.seasonal.iloc[-1] + np.resize(found.seasonal.iloc[-12:], 18))
    for model in ("multiplicative", "auto"):
        np.testing.assert_allclose(STL("Naive", model=model, jobs=1).fit(panel).predict(18).mean[0], expected)


def test_two_seasons_are_taken_out_as_mstl_takes_them() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(24 * 7 * 5)
    y = 50 + 9 * np.sin(2 * np.pi * t / 24) + np.resize(rng.normal(0, 6, 168), len(t)) + rng.normal(0, 0.1, len(t))
    forecast = STL("Naive", season_length=(168, 24), jobs=1).fit(panel_of(y)).predict(200).mean[0]
    parts = np.asarray(MSTL(pd.Series(y), periods=(24, 168)).fit().seasonal)
    rest = y - parts.sum(axis=1)
    expected = rest[-1] + np.resize(parts[-24:, 0], 200) + np.resize(parts[-168:, 1], 200)
    np.testing.assert_allclose(forecast, expected)
    # It knows the week: the error is that of the noise, where a day alone misses by what the week brings.
    truth = np.resize(y - rng.normal(0, 0.0, len(t)), 168)
    day = STL("Naive", season_length=24, jobs=1).fit(panel_of(y)).predict(168).mean[0]
    assert np.abs(forecast[:168] - truth).mean() < 0.5 < np.abs(day - truth).mean()


def test_seasons_that_do_not_fit_stay_in() -> None:
    y = np.resize([1.0, 5.0, 9.0, 2.0], 30)
    whole = STL("Naive", season_length=4, jobs=1).fit(panel_of(y)).predict(5).mean
    np.testing.assert_allclose(STL("Naive", season_length=(4, 20), jobs=1).fit(panel_of(y)).predict(5).mean, whole)
    short = STL("Naive", season_length=(20, 40), jobs=1).fit(panel_of(y)).predict(3).mean
    np.testing.assert_array_equal(short[0], y[-1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: STL("Naive", season_length=()), "season_length is an empty list"),
        (lambda: STL("Naive", season_length=(24, 0)), "season_length must be a whole number"),
        (lambda: STL("Naive", model="log"), "model must be 'auto'"),
        (lambda: STL("Naive", jobs=0), "jobs must be a whole number"),
        (lambda: STL(), "base"),
    ],
)
def test_arguments_out_of_range_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises((ArgumentError, TypeError), match=message):
        build()


def test_it_is_read_from_a_description_and_saved_with_what_is_inside(tmp_path: Path) -> None:
    _, panel = passengers()
    model = STL({"forecaster": "ETS", "trend": "damped", "seasonal": None}, season_length=[12, 24], jobs=1).fit(panel)
    model.save(tmp_path / "m", history=True)
    loaded = Forecaster.load(tmp_path / "m")
    assert isinstance(loaded, STL)
    assert loaded.describe() == model.describe()
    np.testing.assert_allclose(loaded.predict(9).mean, model.predict(9).mean, atol=1e-8)
    assert {"statsmodels", "joblib"} <= set(loaded.packages)


def test_a_description_holds_what_is_inside_what_is_inside() -> None:
    model = STL(SeasonallyAdjusted(SES(0.3), season_length=4), season_length=12)
    described = {"forecaster": "STL", **model.describe()}
    assert repr(as_forecaster(json.loads(json.dumps(described)))) == repr(model)
