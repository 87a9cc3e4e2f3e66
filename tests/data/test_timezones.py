"""Daylight saving: the day of 23 hours and the day of 25, on real half-hourly load of Victoria."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Panel, SeasonalNaive, plot_forecast
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.future import future_values
from forecast_kit.errors import SchemaError, TimeIndexError

MELBOURNE = "Australia/Melbourne"
BERLIN = "Europe/Berlin"


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


def one_series(stamps: object, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": "a", "ds": stamps, "y": 1.0, **columns})


# The clock changes on 31 March and 27 October 2024.
SPANS = [("D", "2024-11-18", 28), ("D", "2024-03-20", 28), ("D", "2024-10-14", 28), ("2D", "2024-03-20", 20),
         ("B", "2024-03-20", 20), ("B", "2024-10-14", 20), ("W-SUN", "2024-03-03", 52), ("W-MON", "2024-03-04", 52),
         ("MS", "2024-01-01", 15), ("ME", "2024-01-31", 15), ("QS-JAN", "2024-01-01", 6)]  # fmt: skip


@pytest.mark.parametrize("stored", ["UTC", "America/New_York", "Asia/Tokyo", BERLIN, "+02:00"])
@pytest.mark.parametrize(("freq", "start", "periods"), SPANS)
def test_dates_that_a_database_gives_in_another_zone_are_those_of_the_stated_one(
    freq: str, start: str, periods: int, stored: str
) -> None:
    dates = pd.date_range(start, periods=periods, freq=freq)
    sent = one_series(dates.tz_localize(BERLIN).tz_convert(stored), price=np.arange(periods))
    schema = {"freq": freq, "timezone": BERLIN, "calendar": ["month"], "future": ["price"]}
    panel = Panel.from_frame(sent.head(-3), schema)
    assert panel.to_frame()["ds"].tolist() == dates[:-3].tolist()
    assert panel.digest == Panel.from_frame(sent.head(-3).assign(ds=dates[:-3]), schema).digest
    ahead = future_values(panel, sent[["unique_id", "ds", "price"]], 3)
    assert ahead.ravel().tolist() == [periods - 3, periods - 2, periods - 1]


def test_the_weekday_is_that_of_the_stated_zone() -> None:
    days = pd.date_range("2024-11-18", periods=7, freq="D", tz=BERLIN).tz_convert("UTC")  # Monday to Sunday
    panel = Panel.from_frame(one_series(days), freq="D", timezone=BERLIN, calendar=("weekday",))
    table = CovariateEncoder().fit(panel).calendar(panel, 0)
    assert table is not None
    np.testing.assert_allclose(table.values[:, 0], np.arange(7) / 6 - 0.5, atol=1e-6)


@pytest.mark.parametrize("freq", ["D", "W-MON", "MS"])
def test_stamps_in_utc_that_are_no_midnights_there_need_a_timezone(freq: str) -> None:
    stamps = pd.date_range("2024-01-01", periods=3, freq=freq, tz=BERLIN).tz_convert("UTC")
    with pytest.raises(
        TimeIndexError, match=f"carries the zone UTC, but is not at midnight there, such as {stamps[0].date()} 23:00:00"
        rf".*freq='{freq}'.*timezone=.*or drop the zone, df\['ds'\].dt.tz_localize\(None\)",
    ):  # fmt: skip
        Panel.from_frame(one_series(stamps), freq=freq)
    history = Panel.from_frame(one_series(stamps[:2].tz_convert(BERLIN), price=1.0), freq=freq, future=("price",))
    with pytest.raises(TimeIndexError, match="carries the zone UTC"):
        future_values(history, one_series(stamps, price=1.0), 1)


def test_days_that_begin_in_the_morning_are_days_of_the_stated_zone() -> None:
    gas = pd.date_range("2024-03-25 06:00", periods=10, freq="D", tz=BERLIN)  # 5 o'clock UTC, from the 31st on 4
    with pytest.raises(TimeIndexError, match=f"not at midnight there.*state timezone='{BERLIN}', or drop"):
        Panel.from_frame(one_series(gas), freq="D")
    for stamps in (gas, gas.tz_convert("UTC")):
        panel = Panel.from_frame(one_series(stamps), freq="D", timezone=BERLIN)
        assert panel.to_frame()["ds"].tolist() == gas.tz_localize(None).tolist()


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York"])
def test_dates_marked_as_utc_do_not_fit_another_zone(zone: str) -> None:
    dates = pd.date_range("2024-03-25", periods=10, freq="D", tz="UTC")
    with pytest.raises(TimeIndexError, match=f"at midnight in the zone that it carries, UTC, but not in .*'{zone}'"):
        Panel.from_frame(one_series(dates), freq="D", timezone=zone)
    assert repr(Panel.from_frame(one_series(dates), freq="D")).endswith("2024-03-25 .. 2024-04-03)")
    assert repr(Panel.from_frame(one_series(dates), freq="D", timezone="UTC")).endswith("2024-03-25 .. 2024-04-03)")


def test_a_day_begins_later_where_the_clock_skips_midnight() -> None:
    dates = pd.date_range("2024-09-05", periods=6, freq="D")  # in Chile the 8th began at 1 o'clock
    begins = dates.tz_localize("America/Santiago", nonexistent="shift_forward")
    assert begins.hour.tolist() == [0, 0, 0, 1, 0, 0]
    for stamps, zone in ((begins, None), (begins.tz_convert("UTC"), "America/Santiago")):
        panel = Panel.from_frame(one_series(stamps), freq="D", timezone=zone)
        assert panel.to_frame()["ds"].tolist() == dates.tolist()


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        (["2024-03-31 01:00", "2024-03-31 02:00"],
         "2024-03-31 02:00:00, which series 'a' has, lies in the hour that it skips in spring"),
        (["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 03:00"],
         "it shows 2024-10-27 02:00:00 twice in autumn, and series 'a' does not tell which of the two it means; bring "
         "both, the earlier first"),
        (["2023-10-29 02:00", "2023-10-29 02:00", "2023-10-29 03:00", "2024-10-27 02:00"],
         "it shows 2024-10-27 02:00:00 twice in autumn"),
        (["2024-10-27 02:00", "2025-03-30 02:00"], "it shows 2024-10-27 02:00:00 twice in autumn"),
    ],
)  # fmt: skip
def test_stamps_that_no_wall_clock_shows_are_told_in_our_own_words(hours: list[str], told: str) -> None:
    with pytest.raises(TimeIndexError) as caught:
        Panel.from_frame(one_series(pd.to_datetime(hours)), freq="h", timezone=BERLIN)
    assert f"does not fit the wall clock of {BERLIN}: {told}" in str(caught.value)
    for word in ("argument", "nonexistent", "dst", "infer"):
        assert word not in str(caught.value).lower()


def test_text_is_no_stamp_of_a_wall_clock() -> None:
    with pytest.raises(SchemaError, match="freq='h' needs time stamps, but column 'ds' is str"):
        Panel.from_frame(one_series(["2024-07-01", "2024-07-02"]), freq="h", timezone=BERLIN)


def test_an_unknown_zone_is_refused_with_the_nearest() -> None:
    with pytest.raises(SchemaError, match=r"unknown timezone 'Europe/Berln'.*Did you mean 'Europe/Berlin'\?"):
        Panel.from_frame(pd.DataFrame(), freq="h", timezone="Europe/Berln")
