"""Real, messy data on their way from the file into windows and a forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_kit import NeuralForecaster, Panel, PanelSchema, RollingOrigin, SeasonalNaive, backtest
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.windows import WindowIndex, WindowSpec
from forecast_kit.errors import DataError, TimeIndexError, TooShortError

TINY = {"cell": "gru", "units": 4, "hidden": 8, "segment": 24}


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{name}.parquet")


# ---- Beijing PM2.5: 43,824 hours, 2,067 without a value, wind directions as text

POLLUTION = PanelSchema(
    freq="h", gaps="mask", past=("TEMP", "DEWP", "PRES", "Iws", "cbwd"), categorical=("cbwd",),
    calendar=("day:2", "weekday", "year:1"),
)  # fmt: skip


def test_the_missing_hours_of_beijing_are_refused_until_a_policy_is_stated(shared_data: Path) -> None:
    frame = read(shared_data, "beijing_pm25_hourly")
    with pytest.raises(DataError, match=r"column 'y' has 2067 missing values: beijing at 2010-01-01, .*gaps='mask'"):
        Panel.from_frame(frame, freq="h")
    panel = Panel.from_frame(frame, POLLUTION)
    # The first day is missing as a whole: the series begins with the first value.
    assert panel.audit.frame["rows"].tolist() == [24, 2043]
    assert int(panel.observed.sum()) == 43_824 - 2_067
    assert panel.categories["cbwd"] == ("NE", "NW", "SE", "cv")
    known = frame["y"].notna().to_numpy()[24:]
    np.testing.assert_array_equal(panel.y[known], frame["y"].to_numpy()[24:][known])
    np.testing.assert_array_equal(panel.y, frame["y"].ffill().to_numpy()[24:])


def test_no_window_of_beijing_crosses_a_gap_unless_asked(shared_data: Path) -> None:
    panel = Panel.from_frame(read(shared_data, "beijing_pm25_hourly"), POLLUTION)
    runs = pd.Series(~panel.observed).astype(int)
    longest = runs.groupby((runs.diff() != 0).cumsum()).sum().max()
    for max_gap in (0, 24):
        index = WindowIndex(panel, WindowSpec(168, 24, 168, max_gap=max_gap))
        torn = runs.rolling(max_gap + 1).sum().eq(max_gap + 1).astype(int)  # a run too long ends here
        per_window = torn.rolling(168 + 24 - max_gap).sum().shift(-24).to_numpy()  # by the window's last input row
        # Rows whose windows are whole, counted over every cutoff the slow way.
        usable = [k for k in range(168, len(panel.y) - 23) if per_window[k - 1] == 0]
        _, origin = index.locate(np.arange(len(index)))
        assert origin.tolist() == usable
        assert f"more than {max_gap} steps in a row not observed" in str(index.report())
    assert longest > 24
    assert len(WindowIndex(panel, WindowSpec(168, 24, max_gap=192))) == len(panel.y) - 24


def test_beijing_is_forecast_with_weather_wind_and_calendar(shared_data: Path, tmp_path: Path) -> None:
    frame = read(shared_data, "beijing_pm25_hourly").iloc[:4000]
    frame.loc[frame.index[-1], "cbwd"] = "N"  # a direction that is only in the test part
    panel = Panel.from_frame(frame, POLLUTION)
    model = NeuralForecaster(
        TINY, horizon=24, input_length=72, transform=["log1p", "standard"], training={"steps": 30, "batch_size": 16}
    )
    result = backtest({"gru": model, "snaive": SeasonalNaive()}, panel, RollingOrigin(24, folds=2), levels=(0.1, 0.9))
    assert np.isfinite(result.frame[["mean", "q10", "q90"]].to_numpy()).all()
    assert (result.frame["mean"] >= 0).all()  # no negative concentration comes back through the logarithm
    fitted = model.fit(panel)
    fitted.save(tmp_path / "m")
    again = NeuralForecaster.load(tmp_path / "m").predict(history=frame)
    np.testing.assert_allclose(again.mean, fitted.predict().mean, rtol=1e-6)


# ---- competitions: numbered steps, many lengths


@pytest.mark.parametrize(
    ("name", "season", "horizon"), [("m1_yearly", 1, 6), ("m4_monthly", 12, 18), ("m4_daily", 1, 14)]
)
def test_competition_panels_have_numbered_steps(shared_data: Path, name: str, season: int, horizon: int) -> None:
    frame = read(shared_data, name)
    if not pd.api.types.is_integer_dtype(frame["ds"]):
        frame["ds"] = frame.groupby("unique_id").cumcount() + 1
    panel = Panel.from_frame(frame[["unique_id", "ds", "y"]], freq=1, season_length=season)
    expected = frame[["unique_id", "ds", "y"]].sort_values(["unique_id", "ds"], ignore_index=True)
    pd.testing.assert_frame_equal(panel.to_frame(), expected, check_dtype=False)
    train, test = panel.split(horizon)
    marked = frame["split"] == "test"
    if marked.groupby(frame["unique_id"]).sum().eq(horizon).all():
        pd.testing.assert_frame_equal(
            test.to_frame(),
            frame.loc[marked, ["unique_id", "ds", "y"]].sort_values(["unique_id", "ds"], ignore_index=True),
            check_dtype=False,
        )
    assert len(SeasonalNaive(horizon=horizon).fit(train).predict().to_frame()) == horizon * len(panel)


def test_tourism_has_ragged_starts(shared_data: Path) -> None:
    frame = read(shared_data, "tourism_monthly")
    panel = Panel.from_frame(frame, freq="MS")
    assert len(np.unique(panel.start)) > 5
    assert len(np.unique(panel.lengths)) > 5
    firsts = frame.groupby("unique_id")["ds"].min().to_numpy()
    np.testing.assert_array_equal(panel.axis.stamps(panel.start), firsts)
    back = panel.to_frame()
    expected = frame[["unique_id", "ds", "y"]].sort_values(["unique_id", "ds"], ignore_index=True)
    pd.testing.assert_frame_equal(back, expected, check_dtype=False)
    with pytest.raises(TooShortError, match="series are too short for 5 folds with horizon 24"):
        RollingOrigin(24, folds=5).check(panel)
    fold = next(RollingOrigin(24).split(panel))
    np.testing.assert_array_equal(
        fold.y.ravel(), frame.sort_values(["unique_id", "ds"]).groupby("unique_id").tail(24)["y"]
    )


# ---- Victoria: holidays and temperature of half-hours on the wall clock


def test_victorias_holidays_fall_on_the_days_of_the_wall_clock(shared_data: Path) -> None:
    frame = read(shared_data, "vic_elec_halfhourly")
    with pytest.raises(TimeIndexError, match=r"2012-04-01 02:00:00 .*UTC must say so: df\['ds'\].dt.tz_localize"):
        Panel.from_frame(frame, freq="30min", timezone="Australia/Melbourne")
    panel = Panel.from_frame(
        frame.assign(ds=frame["ds"].dt.tz_localize("UTC")), freq="30min", timezone="Australia/Melbourne",
        past=("temperature",), calendar=("hour", "holiday:AU-VIC"),
    )  # fmt: skip
    table = CovariateEncoder().fit(panel).calendar(panel, 0)
    assert table is not None
    marked = frame["holiday"].astype(bool).to_numpy()
    ours = table.values[:, 1] == 1
    # The file marks the holidays of its author's list, the package those of the law; nearly all are the same.
    assert (ours & marked).sum() / marked.sum() > 0.9
    assert ours.sum() / marked.sum() < 1.3
