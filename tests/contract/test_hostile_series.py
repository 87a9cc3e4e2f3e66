"""Every forecaster gives every series a finite forecast, however hostile the series is."""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import pandas as pd
import pytest
from zoo import FORECASTERS, LEVELS, NEURAL, H

from forecast_kit import Forecast, Panel
from forecast_kit.errors import TooShortError

M = 24  # steps in a season
LOCAL = [name for name in FORECASTERS if name not in NEURAL]
# What learns from folds refuses a panel of which not one series is long enough for them.
FROM_FOLDS = [name for name in LOCAL if name.startswith(("weighed", "conformal"))]
TOO_SHORT = ["one observation", "two observations", "shorter than a season", "one season and a step"]


def hostile() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    t = np.arange(6 * M)
    wave = 10.0 + 3.0 * np.sin(2 * np.pi * t / M) + rng.normal(0.0, 0.5, len(t))
    spike, missing = np.zeros(len(t)), wave.copy()
    spike[70] = 1e6
    missing[rng.random(len(t)) < 0.3] = np.nan
    missing[[0, -1]] = wave[[0, -1]]
    return {
        "constant": np.full(len(t), 7.3),
        "zeros": np.zeros(len(t)),
        "one observation": wave[:1],
        "two observations": wave[:2],
        "shorter than a season": wave[:15],
        "one season and a step": wave[: M + 1],
        "huge": wave * 1e12,
        "tiny": wave * 1e-12,
        "negative": -wave,
        "around nought": wave - 10.0,
        "step": np.where(t < 80, 5.0, 5000.0),
        "steps": np.repeat([3.0, 900.0, -40.0, 0.0], len(t) // 4),
        "single spike": spike,
        "spike on a wave": wave + spike,
        "missing": missing,
        "missing end": np.where(t < len(t) - 10, wave, np.nan),
        "exponential": np.exp(t / 6.0),
        "alternating": np.where(t % 2, 1.0, -1.0),
        "rare demand": np.where(rng.random(len(t)) < 0.04, 5.0, 0.0),
        "whole numbers": rng.poisson(1.0, len(t)).astype(float),
    }


SERIES = hostile()


def panel_of(names: list[str]) -> Panel:
    rows = [pd.DataFrame({"unique_id": name, "ds": np.arange(len(SERIES[name])), "y": SERIES[name]}) for name in names]
    return Panel.from_frame(pd.concat(rows), freq=1, season_length=M, gaps="mask")


@cache
def together() -> Panel:
    return panel_of(list(SERIES))


@pytest.mark.parametrize("name", FORECASTERS)
@pytest.mark.filterwarnings("error")
def test_a_panel_of_hostile_series_is_forecast_whole(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        forecast = FORECASTERS[name]().fit(together()).predict(levels=LEVELS)
    assert forecast.ids.tolist() == sorted(SERIES)
    assert forecast.mean.shape == (len(SERIES), H)
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.quantiles).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    # What fell back says so, and why; and nothing else does.
    assert ((forecast.fallback == "") == (forecast.reason == "")).all()
    size = np.array([np.nanmax(np.abs(SERIES[series])) for series in forecast.ids])
    # What grows without bound is left out; and noughts, for which a network of four steps gives some small number.
    calm = ~np.isin(forecast.ids, ["exponential", *(["zeros"] if name in NEURAL else [])])
    assert (np.abs(forecast.mean).max(axis=1) <= 50.0 * size)[calm].all()


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("name", LOCAL)
def test_a_hostile_series_alone_is_forecast(name: str, series: str) -> None:
    panel = panel_of([series])
    if name in FROM_FOLDS and series in TOO_SHORT:
        with pytest.raises(TooShortError, match="Lower folds, step or horizon, or bring longer history"):
            FORECASTERS[name]().fit(panel)
        return
    model = FORECASTERS[name]().fit(panel)
    forecast = model.predict(levels=LEVELS)
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.quantiles).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    later = model.update(panel).predict(levels=LEVELS)
    np.testing.assert_array_equal(later.mean, forecast.mean)


@pytest.mark.parametrize("series", ["constant", "zeros"])
# Croston's correction for bias makes a constant demand smaller too.
@pytest.mark.parametrize("name", [name for name in LOCAL if name != "croston sba"])
def test_a_constant_series_goes_on(name: str, series: str) -> None:
    forecast = FORECASTERS[name]().fit(panel_of([series])).predict(levels=LEVELS)
    np.testing.assert_allclose(forecast.mean, SERIES[series][0], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(forecast.quantiles, SERIES[series][0], rtol=1e-3, atol=1e-12)


@cache
def of_three(name: str) -> Forecast:
    return FORECASTERS[name]().fit(three()).predict(levels=LEVELS)


@cache
def three() -> Panel:
    return together().take(["missing", "spike on a wave", "negative"])


@pytest.mark.parametrize("power", [12, -12])
@pytest.mark.parametrize("name", LOCAL)
def test_the_unit_makes_no_difference(name: str, power: int) -> None:
    plain, theirs = three(), of_three(name)
    rows = plain.to_frame()
    rows["y"] *= 2.0 ** (3 * power)
    scaled = Panel.from_frame(rows, plain.schema)
    ours = FORECASTERS[name]().fit(scaled).predict(levels=LEVELS)
    factor = 2.0 ** (-3 * power)
    size = np.maximum(np.abs(theirs.mean).max(axis=1), 1.0)[:, None]
    np.testing.assert_allclose(ours.mean * factor / size, theirs.mean / size, atol=1e-6)
    np.testing.assert_allclose(
        ours.quantiles * factor / size[:, :, None], theirs.quantiles / size[:, :, None], atol=1e-6
    )


@pytest.mark.parametrize("name", NEURAL)
def test_a_network_without_a_single_window_says_so(name: str) -> None:
    with pytest.raises(TooShortError, match="no series is long enough"):
        FORECASTERS[name]().fit(panel_of(["two observations"]))
