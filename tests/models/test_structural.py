"""Structural models against statsmodels' own filter and forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.statespace.structural import UnobservedComponents as Theirs

from forecast_kit import Panel, UnobservedComponents, load
from forecast_kit.errors import ArgumentError

NAMES = {
    "level": "local level",
    "drift": "random walk with drift",
    "linear": "local linear trend",
    "smooth": "smooth trend",
}
VARIANTS: list[tuple[str, bool]] = [("level", True), ("drift", False), ("linear", True), ("smooth", True)]


def passengers() -> pd.Series:
    frame, _ = load("air_passengers")
    return pd.Series(np.log(frame["y"].to_numpy(float)), pd.DatetimeIndex(frame["ds"], freq="MS"))


def panel_of(y: pd.Series) -> Panel:
    return Panel.from_frame(
        pd.DataFrame({"unique_id": "air", "ds": y.index, "y": y.to_numpy()}), freq="MS", gaps="mask"
    )


def oracle(y: pd.Series, trend: str, seasonal: bool) -> Any:
    waves = [{"period": 12, "harmonics": 6}] if seasonal else None
    return Theirs(y, level=NAMES[trend], freq_seasonal=waves).fit(disp=0, maxiter=200, cov_type="none")


@pytest.mark.filterwarnings("ignore:Maximum Likelihood")
@pytest.mark.parametrize(("trend", "seasonal"), VARIANTS)
def test_forecasts_and_intervals_are_those_of_statsmodels(trend: Any, seasonal: bool) -> None:
    y = passengers()
    model = UnobservedComponents(trend=trend, seasonal=seasonal, jobs=1).fit(panel_of(y))
    ours = model.predict(18, levels=(0.05, 0.95))
    theirs = oracle(y, trend, seasonal).get_forecast(18)
    # Estimated in another unit: the optimisers end near each other.
    np.testing.assert_allclose(ours.mean[0], theirs.predicted_mean, rtol=5e-3)
    bounds = np.asarray(theirs.conf_int(alpha=0.1))
    np.testing.assert_allclose(np.diff(ours.quantiles[0], axis=1), np.diff(bounds, axis=1), rtol=0.1)


@pytest.mark.filterwarnings("ignore:Maximum Likelihood")
def test_a_cycle_is_found_and_goes_on() -> None:
    rng = np.random.default_rng(4)
    t = np.arange(160)
    y = pd.Series(
        50 + 10 * np.cos(2 * np.pi * t / 9.3) + rng.normal(0, 1, 160), pd.date_range("2000", periods=160, freq="MS")
    )
    model = UnobservedComponents(trend="level", seasonal=False, cycle=True, jobs=1).fit(panel_of(y))
    truth = 50 + 10 * np.cos(2 * np.pi * np.arange(160, 178) / 9.3)
    np.testing.assert_allclose(model.predict(18).mean[0], truth, atol=3.0)


def test_later_steps_pass_the_filter_as_those_of_statsmodels_do() -> None:
    """With the parameters that we estimated; some of the new steps were not observed, nor some of the old ones."""
    y = passengers().rename("y")
    y.iloc[[20, 21, 124, 126]] = np.nan
    model = UnobservedComponents(trend="linear", jobs=1).fit(panel_of(y[:121]))
    states = {key: values[0] for key, values in model.states_.items()}
    theirs = Theirs(y, level=NAMES["linear"], freq_seasonal=[{"period": 12, "harmonics": 6}])
    # A fresh statsmodels model at our parameters: variances of level, trend, season and noise, in their order.
    noise = states["disturbance"]
    params = {"sigma2.irregular": states["noise"], "sigma2.level": noise[0, 0], "sigma2.trend": noise[1, 1]}
    vector = [params.get(name, noise[2, 2]) for name in theirs.param_names]
    expected = theirs.smooth(vector).get_forecast(12)
    ours = model.predict(12, levels=(0.025, 0.975), history=panel_of(y))
    np.testing.assert_allclose(ours.mean[0], expected.predicted_mean, rtol=1e-6)
    np.testing.assert_allclose(ours.quantiles[0], np.asarray(expected.conf_int()), rtol=1e-5)


def test_too_few_observations_and_too_little_time_fall_back() -> None:
    y = passengers()
    few = UnobservedComponents(jobs=1).fit(panel_of(y[:20])).predict(3)
    assert few.reason.tolist() == ["20 observations are less than two seasons of 12 steps"]
    assert few.fallback.tolist() == ["SeasonalNaive"]
    late = UnobservedComponents(budget_s=1e-9, jobs=1).fit(panel_of(y)).predict(3)
    assert late.reason.tolist() == ["not estimated within 1e-09 s"]


@pytest.mark.parametrize("fields", [{"trend": "x"}, {"budget_s": -1}, {"jobs": 0}, {"season_length": 0}])
def test_arguments_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(fields))):
        UnobservedComponents(**fields)
