"""Daylight saving: the day of 23 hours and the day of 25, on real half-hourly load of Victoria."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Panel, SeasonalNaive, plot_forecast
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.errors import SchemaError, TimeIndexError

MELBOURNE = "Australia/Melbourne"


@pytest.fixture(scope="module")
def load_in_utc(shared_data: Path) -> pd.DataFrame:
    """One year of the load, which has a day of 25 hours in April and one of 23 in October."""
    frame = pd.read_parquet(shared_data / "vic_elec_halfhourly.parquet")[["unique_id", "ds", "y"]]
    return frame[(frame["ds"] >= "2013-01-01") & (frame["ds"] < "2014-01-01")].reset_index(drop=True)


def wall(frame: pd.DataFrame) -> pd.Series:
    return frame["ds"].dt.tz_localize("UTC").dt.tz_convert(MELBOURNE)


def test_the_year_has_a_day_of_23_and_one_of_25_hours(load_in_utc: pd.DataFrame) -> None:
    hours = wall(load_in_utc).dt.date.value_counts() / 2
    assert sorted(hours.iloc[1:-1].unique().tolist())[0] in (11.0, 13.0, 23.0)
    assert {23.0, 25.0} <= set(hours.tolist())


def test_stamps_that_carry_a_zone_become_utc(load_in_utc: pd.DataFrame) -> None:
    expected = Panel.from_frame(load_in_utc, freq="30min")
    aware = Panel.from_frame(load_in_utc.assign(ds=wall(load_in_utc)), freq="30min")
    pd.testing.assert_frame_equal(aware.to_frame(), expected.to_frame())


def test_stamps_of_the_wall_clock_become_utc_where_the_zone_is_stated(load_in_utc: pd.DataFrame) -> None:
    local = load_in_utc.assign(ds=wall(load_in_utc).dt.tz_localize(None))
    with pytest.raises(TimeIndexError, match="2 duplicate time stamps.*2013-04-07 02:00:00"):
        Panel.from_frame(local, freq="30min")
    stated = Panel.from_frame(local, freq="30min", timezone=MELBOURNE)
    utc = Panel.from_frame(load_in_utc, freq="30min")
    assert (stated.axis.stamps(stated.row_steps) == utc.axis.stamps(utc.row_steps)).all()


def test_frames_come_back_in_the_zone_that_was_stated(load_in_utc: pd.DataFrame) -> None:
    local = load_in_utc.assign(ds=wall(load_in_utc).dt.tz_localize(None))
    panel = Panel.from_frame(local, freq="30min", timezone=MELBOURNE)
    back = panel.to_frame()
    pd.testing.assert_series_equal(back["ds"].dt.tz_localize(None), local["ds"], check_dtype=False)
    assert Panel.from_frame(back, panel.schema).digest == panel.digest
    before, actual = panel.split(48)
    forecast = SeasonalNaive(horizon=48).fit(before).predict().to_frame()
    pd.testing.assert_series_equal(forecast["ds"], actual.to_frame()["ds"])
    pd.testing.assert_series_equal(forecast["ds"], before.future_frame(48)["ds"])


def test_messages_tell_the_time_of_the_wall_clock(load_in_utc: pd.DataFrame) -> None:
    local = load_in_utc.assign(ds=wall(load_in_utc)).drop(index=[100, 101])
    with pytest.raises(TimeIndexError, match=r"missing steps: VIC at 2013-01-03 13:00:00\+11:00"):
        Panel.from_frame(local, freq="30min", timezone=MELBOURNE)
    panel = Panel.from_frame(load_in_utc.assign(ds=wall(load_in_utc)), freq="30min", timezone=MELBOURNE)
    assert repr(panel).endswith("2013-01-01 11:00:00+11:00 .. 2014-01-01 10:30:00+11:00)")


def test_pictures_show_the_time_of_the_wall_clock(load_in_utc: pd.DataFrame) -> None:
    panel = Panel.from_frame(load_in_utc.assign(ds=wall(load_in_utc)), freq="30min", timezone=MELBOURNE)
    train, test = panel.split(48)
    figure = plot_forecast(SeasonalNaive(horizon=48).fit(train).predict(), train, actuals=test)
    drawn = {str(line.get_label()): line.get_xdata() for line in figure.axes[0].get_lines()}
    for label in ("actual", "forecast (SeasonalNaive)"):
        np.testing.assert_array_equal(drawn[label], wall(load_in_utc).dt.tz_localize(None).tail(48))


def test_calendar_features_tell_the_clock_on_the_wall(load_in_utc: pd.DataFrame) -> None:
    clock = wall(load_in_utc)
    panel = Panel.from_frame(load_in_utc, freq="30min", timezone="UTC", calendar=["hour"])
    local = Panel.from_frame(load_in_utc.assign(ds=clock), freq="30min", timezone=MELBOURNE, calendar=["hour"])
    for one, hour in ((panel, load_in_utc["ds"].dt.hour), (local, clock.dt.hour)):
        table = CovariateEncoder().fit(one).calendar(one, 4)
        assert table is not None
        assert table.values.shape == (len(load_in_utc) + 4, 1)
        np.testing.assert_allclose(table.values[:-4, 0], hour / 23 - 0.5, atol=1e-6)


def test_a_time_that_the_clock_skips_is_refused(load_in_utc: pd.DataFrame) -> None:
    local = load_in_utc.assign(ds=wall(load_in_utc).dt.tz_localize(None))
    skipped = local.iloc[[0]].assign(ds=pd.Timestamp("2013-10-06 02:30"))
    with pytest.raises(TimeIndexError, match="does not fit the wall clock of Australia/Melbourne.*2013-10-06 02:30"):
        Panel.from_frame(pd.concat([local, skipped]), freq="30min", timezone=MELBOURNE)


def test_days_keep_the_date_on_the_wall() -> None:
    days = pd.date_range("2024-03-25", periods=10, freq="D", tz="Europe/Berlin")  # the clock changes on the 31st
    frame = pd.DataFrame({"unique_id": "a", "ds": days, "y": np.arange(10.0)})
    panel = Panel.from_frame(frame, freq="D")
    assert panel.axis.stamps(panel.row_steps).astype("datetime64[D]").tolist() == [day.date() for day in days]


def test_an_unknown_zone_is_refused_with_the_nearest() -> None:
    with pytest.raises(SchemaError, match=r"unknown timezone 'Europe/Berln'.*Did you mean 'Europe/Berlin'\?"):
        Panel.from_frame(pd.DataFrame(), freq="h", timezone="Europe/Berln")
