"""ETS against statsmodels' own results."""

from __future__ import annotations

import logging
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel, ETSResults

from forecast_kit import ETS, AutoETS, HoltWinters, Panel, SeasonalNaive, load
from forecast_kit.errors import ArgumentError, TimeIndexError

H = 15
VARIANTS = list(product([None, "add", "damped"], [None, "add"]))
variants = pytest.mark.parametrize(("trend", "seasonal"), VARIANTS)


def passengers() -> pd.Series:
    frame, _ = load("air_passengers")
    return pd.Series(frame["y"].to_numpy(float), pd.DatetimeIndex(frame["ds"], freq="MS"))


def oracle(y: pd.Series, trend: str | None, seasonal: str | None, **fields: Any) -> ETSModel:
    return ETSModel(
        y, error="add", trend=trend and "add", damped_trend=trend == "damped", seasonal=seasonal,
        seasonal_periods=seasonal and 12, **fields,
    )  # fmt: skip


def estimate(y: pd.Series, trend: str | None, seasonal: str | None) -> ETSResults:
    return oracle(y, trend, seasonal, initialization_method="heuristic").fit(disp=False)


def panel_of(y: pd.Series, name: str = "air") -> Panel:
    return Panel.from_frame(pd.DataFrame({"unique_id": name, "ds": y.index, "y": y.to_numpy()}), freq="MS")


@variants
def test_forecasts_and_intervals_are_those_of_statsmodels(trend: Any, seasonal: Any) -> None:
    y = passengers()
    ours = ETS(trend=trend, seasonal=seasonal, jobs=1).fit(panel_of(y)).predict(H, levels=(0.05, 0.1, 0.9, 0.95))
    theirs = estimate(y, trend, seasonal)
    np.testing.assert_allclose(ours.mean[0], theirs.forecast(H), rtol=1e-7)
    prediction = theirs.get_prediction(start=len(y), end=len(y) + H - 1)
    for k, alpha in [(0, 0.1), (1, 0.2)]:
        frame = prediction.summary_frame(alpha=alpha)
        np.testing.assert_allclose(ours.quantiles[0, :, k], frame["pi_lower"], rtol=1e-6)
        np.testing.assert_allclose(ours.quantiles[0, :, 3 - k], frame["pi_upper"], rtol=1e-6)


@variants
def test_new_observations_move_the_states_as_statsmodels_smooths_them(trend: Any, seasonal: Any) -> None:
    y, known = passengers(), 121
    model = ETS(trend=trend, seasonal=seasonal, jobs=1).fit(panel_of(y[:known]))
    start = estimate(y[:known], trend, seasonal)
    initial = {"initial_level": start.initial_level}
    initial |= {"initial_trend": start.initial_trend} if trend else {}
    initial |= {"initial_seasonal": start.initial_seasonal} if seasonal else {}
    longer = oracle(y, trend, seasonal, initialization_method="known", **initial).smooth(start.params)
    for history in (panel_of(y), panel_of(y[known:]), panel_of(y[50:])):
        forecast = model.predict(H, history=history)
        np.testing.assert_allclose(forecast.mean[0], longer.forecast(H), rtol=1e-7)
        assert forecast.cutoff[0] == y.index[-1]


def test_each_series_takes_in_its_own_number_of_new_steps(seasonal_panel: Panel) -> None:
    cutoff = seasonal_panel.last - np.array([0, 1, 30, 7, 0, 24])
    model = ETS(jobs=1).fit(seasonal_panel.before(cutoff))
    together = model.predict(5, levels=(0.1, 0.9), history=seasonal_panel)
    for k, name in enumerate(seasonal_panel.ids):
        alone = model.predict(5, levels=(0.1, 0.9), history=seasonal_panel.take(name))
        np.testing.assert_allclose(together.mean[k], alone.mean[0], rtol=1e-12)
        np.testing.assert_allclose(together.quantiles[k], alone.quantiles[0], rtol=1e-12)
    unchanged = model.predict(5)
    np.testing.assert_array_equal(together.mean[[0, 4]], unchanged.mean[[0, 4]])
    assert (together.mean[[1, 2, 3, 5]] != unchanged.mean[[1, 2, 3, 5]]).all()


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_a_constant_series_is_forecast_as_constant(level: float) -> None:
    y = pd.Series(level, pd.date_range("2020-01-01", periods=60, freq="MS"))
    forecast = ETS(jobs=1).fit(panel_of(y)).predict(H, levels=(0.1, 0.9))
    np.testing.assert_allclose(forecast.mean, level, atol=1e-6)
    np.testing.assert_allclose(forecast.quantiles, level, atol=1e-3)


def test_max_history_estimates_from_the_last_steps(seasonal_panel: Panel) -> None:
    limited = ETS(max_history=100, jobs=1).fit(seasonal_panel).predict(5)
    np.testing.assert_array_equal(limited.mean, ETS(jobs=1).fit(seasonal_panel.tail(100)).predict(5).mean)


def test_a_series_that_was_not_fitted_is_refused(seasonal_panel: Panel) -> None:
    model = ETS(seasonal=None, max_history=30, jobs=1).fit(seasonal_panel.take(["s0", "s1"]))
    with pytest.raises(ArgumentError, match="knows nothing of series 's2', 's3', 's4', 's5'; it was fitted on 2"):
        model.predict(3, history=seasonal_panel)


@pytest.mark.parametrize("rows", [slice(0, 119), slice(122, None), slice(140, None)])
def test_history_that_does_not_reach_the_cutoff_is_refused(rows: slice) -> None:
    y = passengers()
    model = ETS(seasonal=None, jobs=1).fit(panel_of(y[:121]))
    with pytest.raises(TimeIndexError, match="must reach it without a hole, but does not in series 'air'"):
        model.predict(3, history=panel_of(y[rows]))


# ---- series that cannot be estimated


@pytest.fixture
def with_short_series(seasonal_frame: pd.DataFrame) -> Panel:
    """Series s2 has 30 steps: more than a season, and fewer than the two that statsmodels' heuristic takes."""
    few = (seasonal_frame["unique_id"] == "s2") & (seasonal_frame.groupby("unique_id").cumcount(ascending=False) >= 30)
    return Panel.from_frame(seasonal_frame[~few], freq="h")


def test_statsmodels_indeed_refuses_the_short_series(with_short_series: Panel) -> None:
    y = dict(with_short_series.series)["s2"]
    with pytest.raises(ValueError, match="seasonal"):
        ETSModel(y, seasonal="add", seasonal_periods=24, initialization_method="heuristic")


@pytest.mark.parametrize("make", [ETS, AutoETS, HoltWinters])
@pytest.mark.parametrize("masked", [False, True])
def test_a_single_observation_falls_back_with_a_reason_and_the_log_names_what_the_forecast_does(
    make: Any, masked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    long = pd.DataFrame({"unique_id": "long", "ds": np.arange(24), "y": 5.0 + np.arange(24) % 4})
    one = pd.DataFrame(
        {"unique_id": "one", "ds": [21, 22, 23] if masked else [23], "y": [7.0, np.nan, np.nan][: 3 if masked else 1]}
    )
    two = pd.DataFrame({"unique_id": "two", "ds": [22, 23], "y": [7.0, 9.0]})
    panel = Panel.from_frame(pd.concat([long, one, two]), freq=1, season_length=4, gaps="mask")
    with caplog.at_level(logging.WARNING):
        forecast = make(jobs=1).fit(panel).predict(3, levels=(0.1, 0.9))
    assert forecast.fallback.tolist() == ["", "Naive", "Naive"]
    assert forecast.reason[1] == "a single observation does not tell how a series moves"
    np.testing.assert_array_equal(forecast.mean[1], 7.0)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all(" get the forecast of Naive (" in line for line in told)


def test_a_series_that_cannot_be_estimated_gets_the_seasonal_naive_forecast(
    with_short_series: Panel, seasonal_panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model = ETS(jobs=1).fit(with_short_series)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "ETS: 1 series get the forecast of SeasonalNaive (30 observations are less than two seasons of 24 steps): 's2'"
    )

    forecast = model.predict(50, levels=(0.1, 0.5))
    naive = SeasonalNaive().fit(with_short_series).predict(50, levels=(0.1, 0.5))
    assert forecast.fallback.tolist() == ["", "", "SeasonalNaive", "", "", ""]
    np.testing.assert_allclose(forecast.mean[2], naive.mean[2])
    np.testing.assert_allclose(forecast.quantiles[2], naive.quantiles[2])
    frame = forecast.to_frame()
    assert frame.loc[frame["fallback"] != "", "unique_id"].unique().tolist() == ["s2"]

    others = [0, 1, 3, 4, 5]
    clean = ETS(jobs=1).fit(seasonal_panel).predict(50, levels=(0.1, 0.5))
    np.testing.assert_array_equal(forecast.mean[others], clean.mean[others])
    np.testing.assert_array_equal(forecast.quantiles[others], clean.quantiles[others])
    assert "fallback" not in clean.to_frame()


def test_the_fallback_repeats_the_last_season_of_new_history(with_short_series: Panel, seasonal_panel: Panel) -> None:
    train, test = with_short_series.split(3)
    model = ETS(jobs=1).fit(train)
    forecast = model.predict(24, history=with_short_series)
    np.testing.assert_allclose(forecast.mean[2], dict(with_short_series.series)["s2"][-24:])
    few = model.predict(2, history=test)  # three rows are less than a season
    assert few.fallback.tolist() == ["", "", "Naive", "", "", ""]
    np.testing.assert_allclose(few.mean[2], dict(with_short_series.series)["s2"][-1])


def test_less_than_a_season_falls_back_to_the_last_value() -> None:
    y = passengers()[:11]
    forecast = ETS().fit(panel_of(y)).predict(3)
    assert (forecast.mean[0] == y.iloc[-1]).all()
    assert forecast.fallback.tolist() == ["Naive"]
    assert forecast.reason.tolist() == ["11 observations are less than two seasons of 12 steps"]


# ---- the rest


def test_processes_give_the_forecasts_of_one(seasonal_frame: pd.DataFrame) -> None:
    more = seasonal_frame.assign(unique_id="t" + seasonal_frame["unique_id"], y=seasonal_frame["y"] * 1.5)
    panel = Panel.from_frame(pd.concat([seasonal_frame, more]), freq="h")
    done: list[int] = []
    serial = ETS(jobs=1).fit(panel).predict(5, levels=(0.1,))
    parallel = ETS(jobs=2).fit(panel, callbacks=[lambda p: done.append(p.done)]).predict(5, levels=(0.1,))
    np.testing.assert_array_equal(parallel.mean, serial.mean)
    np.testing.assert_array_equal(parallel.quantiles, serial.quantiles)
    assert done == sorted(set(done))
    assert done[-1] == len(panel) == 12


def test_the_error_multiplies_where_the_season_does() -> None:
    panel = Panel.from_frame(*load("air_passengers"))
    given, left_out = ETS(error="mul", seasonal="mul").fit(panel), ETS(seasonal="mul").fit(panel)
    assert left_out.forms_.tolist() == ["MNM"]
    np.testing.assert_array_equal(left_out.predict(3).mean, given.predict(3).mean)
    assert ETS().fit(panel).forms_.tolist() == ["ANA"]
    assert left_out.clone().get_params()["error"] is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"trend": "mul"}, "trend must be one of None, 'add', 'damped', 'auto'; got 'mul'"),
     ({"error": "add", "seasonal": "mul"}, "error='add' with seasonal='mul' is unstable"),
     ({"seasonal": "x"}, "seasonal must be one"),
     ({"season_length": 0}, "season_length must be a whole number, at least 1"), ({"max_history": 0}, "max_history"),
     ({"jobs": 0}, "jobs"), ({"horizon": 0}, "horizon"), ({"initial": "x"}, "initial"), ({"budget_s": 0}, "budget_s")],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ETS(**fields)


def test_unobserved_steps_of_the_history_bring_no_news_but_turn_the_season() -> None:
    """Three masked steps, then one observed: the oracle is a plain loop over the recursion with errors of nought."""
    frame, schema = load("air_passengers")
    model = ETS(trend="damped").fit(Panel.from_frame(frame.iloc[:120], schema))
    later = frame.iloc[:124].copy()
    later.loc[120:122, "y"] = np.nan
    history = Panel.from_frame(later, {**schema.to_dict(), "gaps": "mask"})
    s = {name: value[0] for name, value in model.states_.items()}
    level, trend, season = s["level"], s["trend"], list(s["season"])
    for y in (None, None, None, frame["y"].iloc[123]):
        carried = level + s["phi"] * trend
        error = 0.0 if y is None else y - carried - season[0]
        level, trend = carried + s["alpha"] * error, s["phi"] * trend + s["beta"] * error
        season = season[1:] + [season[0] + s["gamma"] * error]
    got = model.predict(2, history=history).mean[0]
    first = level + s["phi"] * trend + season[0]
    np.testing.assert_allclose(got, [first, level + (s["phi"] + s["phi"] ** 2) * trend + season[1]], rtol=1e-12)


# ---- forms that multiply, and the choice of a form

FORMS = [
    (e, t, s) for e, t, s in product(["add", "mul"], [None, "add", "damped"], [None, "add", "mul"])
    if not (e == "add" and s == "mul")
]  # fmt: skip


def any_oracle(y: pd.Series, form: tuple[str, str | None, str | None], **fields: Any) -> ETSModel:
    error, trend, seasonal = form
    return ETSModel(
        y, error=error, trend=trend and "add", damped_trend=trend == "damped", seasonal=seasonal,
        seasonal_periods=seasonal and 12, **{"initialization_method": "heuristic", **fields},
    )  # fmt: skip


def our_params(model: ETS, oracle: ETSModel) -> np.ndarray:
    """What we estimated, in the order of statsmodels."""
    names = {
        "smoothing_level": "alpha",
        "smoothing_trend": "beta",
        "smoothing_seasonal": "gamma",
        "damping_trend": "phi",
    }
    return np.array([model.states_[names[name]][0] for name in oracle.param_names])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_forecasts_and_goes_on_as_statsmodels_does(form: tuple[Any, Any, Any]) -> None:
    y, known = passengers(), 121
    model = ETS(error=form[0], trend=form[1], seasonal=form[2], jobs=1).fit(panel_of(y[:known]))
    theirs = any_oracle(y[:known], form)
    params = our_params(model, theirs)
    # Two runs of the optimiser from another unit may end in different local maxima.
    assert theirs.loglike(params) >= 1.02 * theirs.fit(disp=False).llf
    start = theirs.smooth(params)
    np.testing.assert_allclose(model.predict(H).mean[0], start.forecast(H), rtol=1e-8)
    initial = {"initial_level": start.initial_level}
    initial |= {"initial_trend": start.initial_trend} if form[1] else {}
    initial |= {"initial_seasonal": start.initial_seasonal} if form[2] else {}
    longer = any_oracle(y, form, initialization_method="known", **initial).smooth(params)
    np.testing.assert_allclose(model.predict(H, history=panel_of(y)).mean[0], longer.forecast(H), rtol=1e-8)


@pytest.mark.parametrize("form", [("mul", None, None), ("mul", "damped", "mul"), ("mul", "add", "add")])
def test_quantiles_of_forms_that_multiply_are_those_of_paths_that_statsmodels_simulates(
    form: tuple[Any, Any, Any],
) -> None:
    y = passengers()
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    model = ETS(error=form[0], trend=form[1], seasonal=form[2], jobs=1).fit(panel_of(y))
    ours, theirs = model.predict(H, levels=levels), any_oracle(y, form)
    paths = theirs.smooth(our_params(model, theirs)).simulate(
        H, anchor="end", repetitions=20_000, rng=np.random.default_rng(1)
    )
    expected = np.quantile(np.asarray(paths), levels, axis=1).T  # [H, Q]
    width = expected[:, -1] - expected[:, 0]
    assert (np.abs(ours.quantiles[0] - expected) / width[:, None]).max() < 0.06


def test_the_form_of_least_aicc_is_taken() -> None:
    y = passengers()
    model = AutoETS(jobs=1).fit(panel_of(y))
    letters = {None: "N", "add": "A", "damped": "Ad", "mul": "M"}
    scores = {}
    for form in FORMS:
        found = any_oracle(y, form).fit(disp=False)
        # Level and variance with their starting states: level 1, trend 1, season 12; and the smoothing parameters.
        k = 3 + (2 if form[1] else 0) + (form[1] == "damped") + (13 if form[2] else 0)
        scores["".join(letters[part] for part in form)] = -2 * found.llf + 2 * k + 2 * k * (k + 1) / (len(y) - k - 1)
    assert model.forms_.tolist() == [min(scores, key=scores.__getitem__)]


def test_each_series_has_its_own_form_and_forms_that_multiply_are_for_positive_values() -> None:
    rng = np.random.default_rng(1)
    t = np.arange(96)
    noise = rng.normal(0.0, 1.0, (4, 96))
    series = {
        "flat": 50 + noise[0],
        "rising": 50 + 2.0 * t + noise[1],
        "season": 50 + np.resize(rng.normal(0.0, 9.0, 12), 96) + noise[2],
        "negative": -50 + np.resize(rng.normal(0.0, 9.0, 12), 96) + noise[3],
    }
    frame = pd.concat([pd.DataFrame({"unique_id": k, "ds": t, "y": v}) for k, v in series.items()])
    model = AutoETS(jobs=1).fit(Panel.from_frame(frame, freq=1, season_length=12))
    found = dict(zip(model.ids_.tolist(), model.forms_.tolist(), strict=True))
    assert found["flat"][1:] == "NN"
    assert found["rising"][1] == "A"
    assert found["rising"][-1] == "N"
    assert found["season"][-1] in "AM"
    assert "M" not in found["negative"]
    assert found["negative"][-1] == "A"


def test_holt_winters_is_the_form_of_that_name() -> None:
    ours = HoltWinters("mul", damped=True, jobs=1).fit(panel_of(passengers()))
    theirs = ETS(error="mul", trend="damped", seasonal="mul", initial="estimated", jobs=1).fit(panel_of(passengers()))
    assert ours.forms_.tolist() == ["MAdM"]
    np.testing.assert_array_equal(ours.predict(H).mean, theirs.predict(H).mean)


def test_a_form_that_multiplies_asked_for_values_that_are_not_positive_falls_back() -> None:
    y = passengers() - 300.0
    forecast = HoltWinters("mul", jobs=1).fit(panel_of(y)).predict(3)
    assert forecast.reason.tolist() == ["a form that multiplies takes positive values alone"]
    np.testing.assert_allclose(forecast.mean[0], y.iloc[-12:-9])


def test_a_series_that_is_out_of_time_falls_back_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = AutoETS(budget_s=1e-9, jobs=1).fit(panel_of(passengers()))
    assert model.predict(3).fallback.tolist() == ["SeasonalNaive"]
    assert model.predict(3).reason.tolist() == ["no form was estimated within 1e-09 s"]
    assert "(no form was estimated within 1e-09 s): 'air'" in caplog.text
