"""Exponential smoothing and theta against loops, statsmodels, and the forecasts handed in to the M4 competition."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.tsa.forecasting.theta import ThetaModel

from forecast_kit import SES, Forecaster, Naive, Naive2, Panel, SeasonallyAdjusted, SeasonalNaive, Theta, load
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation import metrics
from forecast_kit.models.adjusted import is_seasonal
from forecast_kit.models.smoothing import ThetaLine

Z = NormalDist().inv_cdf(0.9)
Series = list[list[float | None]]
gappy = st.lists(
    st.lists(st.one_of(st.none(), st.integers(-99, 99).map(float)), max_size=14).map(lambda inner: [3.0, *inner, 8.0]),
    min_size=1, max_size=4,
)  # fmt: skip


def panel_of(series: Series, season_length: int = 1) -> Panel:
    rows = [(f"s{k}", t, v) for k, y in enumerate(series) for t, v in enumerate(y)]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).astype({"y": float})
    return Panel.from_frame(frame, freq=1, season_length=season_length, gaps="mask")


def smoothed(y: list[float | None], alpha: float, first: float) -> tuple[float, float, int]:
    """The last level, the sum of squared errors, and of how many."""
    level, squares, count = first, 0.0, 0
    for value in y:
        if value is not None:
            error = value - level
            level, squares, count = level + alpha * error, squares + error**2, count + 1
    return level, squares, count


def best_first(y: list[float | None], alpha: float) -> float:
    """The first level of least squares: the sum of squares is a parabola of it, known from three points."""
    at = [smoothed(y, alpha, first)[1] for first in (-1.0, 0.0, 1.0)]
    bend, slope = at[0] - 2 * at[1] + at[2], (at[2] - at[0]) / 2
    return -slope / bend


@given(gappy, st.floats(0.05, 1.0), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_smoothing_is_its_loop_from_the_best_first_level(series: Series, alpha: float, h: int) -> None:
    forecast = SES(alpha).fit(panel_of(series)).predict(h, levels=[0.9])
    for k, y in enumerate(series):
        level, squares, count = smoothed(y, alpha, best_first(y, alpha))
        deviation = math.sqrt(squares / count * (1 + (h - 1) * alpha**2))
        assert forecast.mean[k, h - 1] == pytest.approx(level, abs=1e-6)
        assert forecast.quantiles[k, h - 1, 0] == pytest.approx(level + Z * deviation, abs=1e-5)


@given(st.lists(st.integers(-99, 99).map(float), min_size=3, max_size=20))
@settings(deadline=None, max_examples=40)
def test_no_other_alpha_fits_better(y: list[float]) -> None:
    model = SES().fit(panel_of([y]))
    alpha = float(model.states_["alpha"][0])
    least = smoothed(y, alpha, best_first(y, alpha))[1]
    for other in np.linspace(0.0005, 0.9995, 400):
        assert least <= smoothed(y, other, best_first(y, other))[1] * (1 + 1e-4) + 1e-9


@given(gappy, st.floats(0.05, 1.0), st.floats(1.0, 4.0))
@settings(deadline=None, max_examples=40)
def test_theta_is_a_line_and_a_smoothed_line(series: Series, alpha: float, theta: float) -> None:
    forecast = ThetaLine(theta, alpha=alpha).fit(panel_of(series)).predict(3, levels=[0.9])
    for k, y in enumerate(series):
        steps = [t for t, v in enumerate(y) if v is not None]
        slope, start = np.polyfit(steps, [y[t] for t in steps], 1)
        z = [None if v is None else theta * v + (1 - theta) * (start + slope * t) for t, v in enumerate(y)]
        level, squares, count = smoothed(z, alpha, best_first(z, alpha))
        deviation = math.sqrt(squares / count * (1 + 2 * alpha**2)) / theta
        expected = level / theta + (1 - 1 / theta) * (start + slope * (len(y) + 2))
        assert forecast.mean[k, 2] == pytest.approx(expected, abs=1e-6)
        assert forecast.quantiles[k, 2, 0] == pytest.approx(expected + Z * deviation, abs=1e-5)


def test_theta_is_near_that_of_statsmodels() -> None:
    frame, schema = load("air_passengers")
    y = pd.Series(frame["y"].to_numpy(float), pd.DatetimeIndex(frame["ds"], freq="MS"))
    theirs = ThetaModel(y, method="multiplicative").fit().forecast(12)
    ours = Theta().fit(Panel.from_frame(frame, schema)).predict(12).mean[0]
    # Theirs smooths y itself and adds the drift, ours the theta line: other sums of squares, nearly the same forecast.
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)


@pytest.mark.parametrize("model", [SES(), SES(0.3), ThetaLine(), ThetaLine(3.0)])
def test_later_steps_are_taken_in_as_a_longer_fit_takes_them(model: Forecaster) -> None:
    y = [5.0, 9.0, 4.0, 7.0, 8.0, 3.0, 9.0]
    fitted = model.fit(panel_of([[*y, 2.0]]))
    s = {key: float(values[0]) for key, values in fitted.states_.items()}
    theta = getattr(model, "theta", 1.0)
    line, level = s.get("line", 0.0), s["level"]
    longer: list[float | None] = [*y, 2.0, None, 6.0]
    for value in longer[8:]:
        line += s.get("slope", 0.0)
        if value is not None:
            level += s["alpha"] * (theta * value + (1 - theta) * line - level)
    expected = level / theta + (1 - 1 / theta) * (line + s.get("slope", 0.0))
    assert fitted.predict(1, history=panel_of([longer])).mean[0, 0] == pytest.approx(expected)


# ---- season


def test_the_seasonality_test_is_that_of_the_competitions_code() -> None:
    """R's acf and the organisers' comparison, as a loop; their Naive2 forecasts hold the same further below."""
    t = np.arange(30)
    panel = panel_of([list(np.round(10 * np.sin(t * f) + 0.3 * t, 2)) for f in (1.57, 0.4, 2.9)], 4)
    for (_, y), found in zip(panel.series, is_seasonal(panel, 4), strict=True):
        off = y - y.mean()
        r = [sum(off[lag:] * off[: len(y) - lag]) / sum(off**2) for lag in range(1, 5)]
        limit = 1.645 / math.sqrt(len(y)) * math.sqrt(1 + 2 * sum(v**2 for v in r[:3]))
        assert found == (abs(r[3]) > limit)
    assert is_seasonal(panel, 4).tolist() == [True, False, False]


def test_series_of_any_length_stand_side_by_side() -> None:
    wave: list[float | None] = [*np.resize([1.0, 5.0, 9.0], 30)]
    panel = panel_of([[4.0], [4.0, 5.0], wave, wave[:3], wave[:4]], season_length=3)
    assert is_seasonal(panel, 3).tolist() == [False, False, True, False, False]


def test_a_series_without_season_goes_to_the_forecaster_as_it_is() -> None:
    panel = panel_of([[1.0, 5.0, 2.0, 8.0, 3.0, 9.0, 9.0], [4.0, 4.0, 4.0], [0.0] * 9], season_length=3)
    np.testing.assert_array_equal(Naive2().fit(panel).predict(4).mean, Naive().fit(panel).predict(4).mean)


@given(st.integers(2, 7), st.integers(0, 6), st.sampled_from(["additive", "multiplicative"]))
@settings(deadline=None, max_examples=40)
def test_a_pure_season_is_continued_exactly(m: int, more: int, model: str) -> None:
    pattern = np.random.default_rng(m).uniform(5.0, 20.0, m)
    y = np.resize(pattern, 4 * m + more)
    adjusted = SeasonallyAdjusted("Naive", season_length=m, model=model, test=False)
    forecast = adjusted.fit(panel_of([list(y)])).predict(2 * m, levels=(0.1, 0.9))
    expected = np.resize(pattern, len(y) + 2 * m)[len(y) :]
    np.testing.assert_allclose(forecast.mean[0], expected)
    np.testing.assert_allclose(forecast.quantiles[0], np.stack([expected, expected], axis=1), atol=1e-6)


def test_the_pattern_goes_on_through_new_history_that_begins_anywhere() -> None:
    pattern = [10.0, 20.0, 40.0]
    y: list[float | None] = [*np.resize(pattern, 20)]
    model = SeasonallyAdjusted("Naive", test=False).fit(panel_of([y[:14]], season_length=3))
    for first in (0, 13, 18):
        rows = pd.DataFrame({"unique_id": "s0", "ds": range(first, 20), "y": y[first:]})
        np.testing.assert_allclose(model.predict(4, history=rows).mean[0], np.resize(pattern, 24)[20:])
    model.update(pd.DataFrame({"unique_id": "s0", "ds": range(14, 20), "y": y[14:]}))
    np.testing.assert_allclose(model.predict(4).mean[0], np.resize(pattern, 24)[20:])


def test_values_that_are_not_positive_are_adjusted_additively() -> None:
    y: list[float | None] = [*(np.resize([-5.0, 0.0, 5.0], 15) + 0.1 * np.arange(15))]
    model = SeasonallyAdjusted("Naive", model="multiplicative", test=False).fit(panel_of([y], season_length=3))
    assert not model.times_.any()
    assert np.isfinite(model.predict(5).mean).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SES(0.0), "alpha must be a number above 0 and at most 1; got 0.0"),
        (lambda: ThetaLine(0.5), "theta must be a number, at least 1; got 0.5"),
        (lambda: Theta(True), "theta must be a number"),
        (lambda: SeasonallyAdjusted("SES", model="x"), "model must be 'auto'"),
        (lambda: SeasonallyAdjusted("SSE"), "unknown forecaster 'SSE'"),
        (lambda: SeasonallyAdjusted({"forecaster": "SES", "alfa": 1}), "SES has no argument 'alfa'"),
        (lambda: SeasonallyAdjusted(3), "a forecaster is one that was built"),
        (lambda: Naive2(0), "season_length must be a whole number"),
    ],
)
def test_arguments_out_of_range_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build()


# ---- published forecasts

# The season and the horizon of each set.
H = {
    "yearly": (1, 6), "quarterly": (4, 8), "monthly": (12, 18), "weekly": (1, 13), "daily": (1, 14), "hourly": (24, 48),
}  # fmt: skip


def m4(folder: Path, name: str) -> tuple[Panel, pd.DataFrame, pd.DataFrame]:
    """The training panel, the test rows, and what was handed in, one row a series and method."""
    rows = pd.read_parquet(folder / f"m4_{name}.parquet")
    train = rows[rows["split"] != "test"]
    panel = Panel.from_frame(train[["unique_id", "ds", "y"]], freq=1, season_length=H[name][0])
    handed_in = pd.read_parquet(folder / f"m4_forecasts_{name}.parquet")
    return panel, rows[rows["split"] == "test"], handed_in[handed_in["source"] == "m4-official"].pivot_table(
        index=["method", "unique_id"], columns="step", values="yhat")  # fmt: skip


@pytest.mark.parametrize("name", H)
@pytest.mark.parametrize(
    ("method", "forecaster"), [("Naive", Naive()), ("sNaive", SeasonalNaive()), ("Naive2", Naive2())]
)
def test_naive_forecasts_are_the_official_ones_of_the_m4_competition(
    shared_data: Path, name: str, method: str, forecaster: Forecaster
) -> None:
    panel, _, handed_in = m4(shared_data, name)
    forecast = forecaster.fit(panel).predict(H[name][1])
    # The file holds single precision.
    np.testing.assert_allclose(forecast.mean, handed_in.loc[method].loc[panel.ids].to_numpy(), rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "share"), [("daily", 1.0), ("hourly", 0.99), ("weekly", 0.99), ("yearly", 0.97), ("monthly", 0.9)]
)
def test_smoothed_forecasts_are_the_official_ones_where_their_optimiser_found_the_minimum(
    shared_data: Path, name: str, share: float
) -> None:
    panel, _, handed_in = m4(shared_data, name)
    ours = SeasonallyAdjusted(SES()).fit(panel).predict(H[name][1]).mean
    theirs = handed_in.loc["SES"].loc[panel.ids].to_numpy()
    same = np.isclose(ours, theirs, rtol=1e-4).all(axis=1)
    assert same.mean() >= share


@pytest.mark.parametrize(("name", "owa"), [("weekly", 0.9710815568), ("hourly", 1.0058623306)])
def test_theta_has_the_official_score_on_the_whole_sets(shared_data: Path, name: str, owa: float) -> None:
    panel, test, handed_in = m4(shared_data, name)
    m, horizon = H[name]
    actual = test.sort_values(["unique_id", "ds"])["y"].to_numpy().reshape(len(panel), horizon)
    observed, scale = np.ones(actual.shape, bool), seasonal_error(panel, m)

    def scores(mean: np.ndarray) -> np.ndarray:
        parts = metrics.smape(actual, mean, observed), metrics.mase(actual, mean, observed, scale)
        return np.array([part.mean() for part in parts])

    ours = scores(Theta().fit(panel).predict(horizon).mean)
    yardstick = scores(handed_in.loc["Naive2"].loc[panel.ids].to_numpy())
    assert (ours / yardstick).mean() == pytest.approx(owa, abs=2e-4)
