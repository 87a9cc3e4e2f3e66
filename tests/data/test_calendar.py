"""Calendar features against Python's datetime, pandas' accessors and the holidays package's own look-up."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecast_kit.data.calendar import calendar_features, check_features, feature_names
from forecast_kit.data.frequency import time_axis
from forecast_kit.errors import ArgumentError, DataError, SchemaError

PLAIN = ["minute", "hour", "weekday", "day", "dayofyear", "week", "month", "quarter", "year", "weekend",
         "month_start", "month_end"]  # fmt: skip
WAVES = ["day:3", "week:2", "month:2", "year:4"]
YEARS = st.datetimes(dt.datetime(1890, 1, 1), dt.datetime(2110, 12, 31))


def naive(stamp: dt.datetime) -> list[float]:
    """The plain features and the waves of one stamp, from the standard library alone."""
    month_days = calendar.monthrange(stamp.year, stamp.month)[1]
    year_days = 366 if calendar.isleap(stamp.year) else 365
    yearday = stamp.timetuple().tm_yday
    part = (stamp - dt.datetime.combine(stamp.date(), dt.time())) / dt.timedelta(days=1)
    values = [
        stamp.minute / 59 - 0.5, stamp.hour / 23 - 0.5, stamp.weekday() / 6 - 0.5, (stamp.day - 1) / 30 - 0.5,
        (yearday - 1) / 365 - 0.5, (stamp.isocalendar().week - 1) / 52 - 0.5, (stamp.month - 1) / 11 - 0.5,
        math.ceil(stamp.month / 3) / 3 - 1 / 3 - 0.5, (stamp.year - 2000) / 10, float(stamp.weekday() in (5, 6)),
        float(stamp.day == 1), float(stamp.day == month_days),
    ]  # fmt: skip
    passed = {"day": part, "week": (stamp.weekday() + part) / 7, "month": (stamp.day - 1 + part) / month_days,
              "year": (yearday - 1 + part) / year_days}  # fmt: skip
    for wave in WAVES:
        cycle, order = wave.split(":")
        for k in range(1, int(order) + 1):
            values += [math.sin(2 * math.pi * k * passed[cycle]), math.cos(2 * math.pi * k * passed[cycle])]
    return values


@given(st.lists(YEARS, min_size=1, max_size=20))
@example([dt.datetime(2024, 2, 29, 23, 59, 59, 999999), dt.datetime(1900, 2, 28), dt.datetime(2000, 12, 31, 12)])
@example([dt.datetime(2021, 1, 3), dt.datetime(2020, 12, 31), dt.datetime(2018, 12, 31), dt.datetime(1969, 12, 31, 23)])
@settings(deadline=None, max_examples=150)
def test_features_are_those_of_a_loop_over_datetimes(stamps: list[dt.datetime]) -> None:
    got = calendar_features(np.array(stamps, "datetime64[us]"), PLAIN + WAVES)
    np.testing.assert_allclose(got, [naive(stamp) for stamp in stamps], rtol=0, atol=1e-12)


@pytest.mark.parametrize("freq", ["17min", "h", "D", "B", "W-SUN", "MS", "ME", "QS", "YS"])
def test_plain_features_equal_pandas_accessors_exactly(freq: str) -> None:
    when = pd.Series(pd.date_range("1996-02-28 00:00", periods=3000 if freq != "YS" else 200, freq=freq))
    of = when.dt
    expected = {
        "minute": of.minute / 59 - 0.5, "hour": of.hour / 23 - 0.5, "weekday": of.day_of_week / 6 - 0.5,
        "day": (of.day - 1) / 30 - 0.5, "dayofyear": (of.day_of_year - 1) / 365 - 0.5,
        "week": (of.isocalendar().week.astype(int) - 1) / 52 - 0.5, "month": (of.month - 1) / 11 - 0.5,
        "quarter": (of.quarter - 1) / 3 - 0.5, "year": (of.year - 2000) / 10, "weekend": of.day_of_week >= 5,
        "month_start": of.is_month_start, "month_end": of.is_month_end,
    }  # fmt: skip
    got = calendar_features(when.to_numpy(), PLAIN)
    for k, name in enumerate(PLAIN):
        np.testing.assert_array_equal(got[:, k], expected[name].to_numpy(float), err_msg=name)


def test_scaled_features_span_minus_a_half_to_a_half() -> None:
    hours = pd.date_range("1996-01-01", "2024-12-31 23:59", freq="37min").to_numpy()
    got = calendar_features(hours, PLAIN[:8])
    np.testing.assert_array_equal(got.min(axis=0), -0.5)
    np.testing.assert_array_equal(got.max(axis=0), 0.5)


@given(
    st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20), st.integers(2, 10**6), st.integers(1, 4)
)  # fmt: skip
@settings(deadline=None, max_examples=80)
def test_integer_time_has_waves_of_any_length(stamps: list[int], length: int, order: int) -> None:
    got = calendar_features(np.array(stamps), [f"{length}:{order}"])
    passed = [stamp % length / length for stamp in stamps]  # Python's %, exact for whole numbers
    for k in range(1, order + 1):
        np.testing.assert_allclose(got[:, 2 * k - 2], [math.sin(2 * math.pi * k * p) for p in passed], atol=1e-11)
        np.testing.assert_allclose(got[:, 2 * k - 1], [math.cos(2 * math.pi * k * p) for p in passed], atol=1e-11)


@pytest.mark.parametrize("start", ["2024-01-01T00", "2024-01-01T06", "1960-05-05T00:30", "2024-01-01T00:15"])
def test_a_wave_that_is_zero_in_every_step_is_exactly_zero(start: str) -> None:
    hours = np.datetime64(start, "us") + np.arange(5000) * np.timedelta64(1, "h")
    for wave in calendar_features(hours, ["day:12"])[:, -2:].T:
        assert not wave.any() or np.abs(wave).min() > 0.5


@pytest.mark.parametrize(
    ("freq", "first"),
    [("h", "2024-02-27"), ("15min", "2023-12-31"), ("D", "2023-02-25"), ("B", "2024-02-26"), ("W-SUN", "2023-12-24"),
     ("MS", "2023-11-01"), ("QE", "2023-12-31"), ("YS", "1999-01-01"), (3, "7")],
)  # fmt: skip
def test_future_steps_have_the_features_of_the_same_stamps_as_data(freq: str | int, first: str) -> None:
    start = np.array([first], np.int64 if isinstance(freq, int) else "datetime64[us]")
    axis = time_axis(freq, start)
    names = ["24:2", "7:1"] if isinstance(freq, int) else PLAIN + WAVES
    ahead = axis.stamps(np.arange(50, 98).reshape(4, 12))  # [N, H] beyond an end at step 49
    data = axis.stamps(np.arange(98))
    got = calendar_features(ahead, names)
    assert got.shape == (4, 12, len(feature_names(names)))
    np.testing.assert_array_equal(got.reshape(48, -1), calendar_features(data, names)[50:])


def test_stamps_of_any_unit_shape_and_order_give_the_same() -> None:
    hours = pd.date_range("2023-12-30", periods=96, freq="h", unit="ns").to_numpy()
    names = ["hour", "week:1", "month_end"]
    want = calendar_features(hours.astype("datetime64[us]"), names)
    np.testing.assert_array_equal(calendar_features(hours, names), want)
    np.testing.assert_array_equal(calendar_features(hours[::-1], names), want[::-1])
    np.testing.assert_array_equal(
        calendar_features(hours.reshape(4, 24).T, names), want.reshape(4, 24, 4).swapaxes(0, 1)
    )
    np.testing.assert_array_equal(calendar_features(hours[5], names), want[5])
    assert calendar_features(hours[:0].reshape(0, 3), names).shape == (0, 3, 4)
    assert calendar_features(hours, []).shape == (96, 0)
    np.testing.assert_array_equal(
        calendar_features(np.arange(5, dtype=np.int32), ["3:1"]), calendar_features(np.arange(5), ["3:1"])
    )


def test_every_day_has_24_hours() -> None:
    # The clocks of Europe and America changed in these weeks; stamps without a time zone know nothing of it.
    for start in ("2024-03-09", "2024-03-30", "2024-10-26"):
        hours = pd.date_range(start, periods=72, freq="h").to_numpy()
        np.testing.assert_array_equal(calendar_features(hours, ["hour"])[:, 0], np.tile(np.arange(24) / 23 - 0.5, 3))


def test_columns_are_named_in_the_order_of_the_features() -> None:
    assert feature_names(["year:2", "hour", "24:1", "holiday:DE-BY:2", "holiday:US"]) == (
        "year_sin1", "year_cos1", "year_sin2", "year_cos2", "hour", "24_sin1", "24_cos1",
        "holiday_DE_BY_before2", "holiday_DE_BY_after2", "holiday_US",
    )  # fmt: skip
    assert feature_names([]) == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [("hours", "Did you mean 'hour'?"), ("week_end", "Did you mean 'weekend'?"), ("yaer:2", "Did you mean 'year:2'?"),
     ("hour:3", "named by how long it lasts. Did you mean 'day:3'?"), ("weekday:2", "Did you mean 'week:2'?"),
     ("hoilday:US", "Did you mean 'holiday:US'?"), ("", "unknown feature ''"), ("day:", "number of harmonics"),
     ("day:0", "number of harmonics"), ("day:-1", "number of harmonics"), ("24:x", "number of harmonics"),
     ("0:1", "unknown feature '0:1'"), ("year:1.5", "number of harmonics"), ("holiday", "write 'holiday:US'"),
     ("holiday:", "write 'holiday:US'"), ("holiday:us", "write 'holiday:US'"), ("holiday:US:0", "write 'holiday:US'"),
     (3, "named by a text"), (None, "named by a text")],
)  # fmt: skip
def test_unknown_names_are_refused_with_the_nearest_one(name: object, message: str) -> None:
    for refuses in (feature_names, lambda names: check_features(names, "h")):
        with pytest.raises(ArgumentError, match=message.replace("?", r"\?")):
            refuses([name])


def test_a_text_instead_of_a_list_and_repeated_columns_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"list of names, got the text 'hour'; write \['hour'\]"):
        feature_names("hour")
    with pytest.raises(ArgumentError, match="'day:2' and 'day:3' both give the column 'day_sin1'"):
        feature_names(["day:2", "day:3"])
    with pytest.raises(ArgumentError, match="both give the column 'hour'"):
        feature_names(["hour", "hour"])


SENSE: list[tuple[str | int, list[str], list[str]]] = [
    ("s", ["minute", "hour", "day:999", "year:3", "month_end"], []),
    ("15min", ["minute", "hour", "day:48", "week:336", "year"], ["day:49"]),
    ("h", ["hour", "weekday", "day:12", "week:84", "month:3", "year:3"], ["minute", "day:13", "week:85"]),
    ("90min", ["minute", "hour", "day:8"], ["day:9"]),
    ("5h", ["hour", "day:12"], ["minute", "day:13"]),
    ("24h", ["weekday"], ["hour", "day:1"]),
    ("D", ["weekday", "day", "weekend", "month_start", "month_end", "week:3", "month:15", "year:183"],
     ["minute", "hour", "day:1", "week:4", "month:16", "year:184"]),
    ("2D", ["weekday", "week:3", "day"], ["week:4", "holiday:US"]),
    ("B", ["weekday", "day", "week:2", "year:10", "month_end"], ["hour", "weekend", "week:3", "day:1"]),
    ("W-MON", ["day", "week", "month", "dayofyear", "year:26", "month:2"], ["weekday", "weekend", "week:1", "year:27",
                                                                            "holiday:US"]),
    ("MS", ["month", "quarter", "year", "year:6", "week"], ["day", "month_start", "month_end", "hour", "year:7",
                                                          "month:1", "week:1", "weekday", "holiday:US:3"]),
    ("BME", ["month", "year:6"], ["day", "month_end"]),
    ("QS", ["quarter", "month", "year:2"], ["year:3"]),
    ("YS", ["year"], ["month", "quarter", "dayofyear", "week", "year:1"]),
    (1, ["24:12", "7:3", "2:1"], ["24:13", "1:1", "hour", "day:1", "year", "holiday:US"]),
    (4, ["24:3", "6:1"], ["24:4", "4:1", "2:1"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("freq", "good", "bad"), SENSE, ids=lambda value: str(value) if not isinstance(value, list) else ""
)
def test_features_that_make_no_sense_at_a_frequency_are_refused(
    freq: str | int, good: list[str], bad: list[str]
) -> None:
    check_features(good, freq)
    for name in bad:
        with pytest.raises(ArgumentError, match=f"'{name}'"):
            check_features([name], freq)


@pytest.mark.parametrize("freq", ["15min", "h", "5h", "D", "2D", "B", "W-MON", "MS", "QS"])
def test_accepted_plain_features_change_and_accepted_waves_are_independent(freq: str) -> None:
    every = pd.date_range("1999-03-01", "2023-03-01" if freq != "15min" else "2002-03-01", freq=freq).to_numpy()
    stamps = np.random.default_rng(0).choice(every, min(4000, len(every)), replace=False)
    for cycle in ("day", "week", "month", "year"):
        orders = [k for k in range(1, 24) if accepted(f"{cycle}:{k}", freq)]
        if orders:
            waves = calendar_features(stamps, [f"{cycle}:{orders[-1]}"])
            waves = waves[:, np.ptp(waves, axis=0) > 0]  # at order m / 2 one of the pair may be zero
            rank = np.linalg.matrix_rank(np.column_stack([np.ones(len(stamps)), waves]))
            assert rank == waves.shape[1] + 1, cycle
            assert waves.shape[1] >= 2 * orders[-1] - 1
    for name in PLAIN:
        if accepted(name, freq):
            assert np.ptp(calendar_features(stamps, [name])) > 0, name


def accepted(name: str, freq: str) -> bool:
    try:
        check_features([name], freq)
    except ArgumentError:
        return False
    return True


def test_old_spellings_of_a_frequency_are_understood_and_bad_ones_refused() -> None:
    check_features(["hour"], "H")
    with pytest.raises(SchemaError, match="fortnight"):
        check_features(["hour"], "fortnight")


def test_a_refusal_says_what_to_write_instead() -> None:
    with pytest.raises(ArgumentError, match="'day:13' asks for 13 harmonics.*24 places.*use 'day:12' or less"):
        check_features(["day:13"], "h")
    with pytest.raises(ArgumentError, match="needs a calendar.*such as '24:2'"):
        check_features(["hour"], 1)
    with pytest.raises(ArgumentError, match="counts the units of integer time.*'day', 'week', 'month', 'year'"):
        check_features(["24:2"], "h")


def test_features_for_the_other_kind_of_time_are_refused() -> None:
    for name in ("hour", "day:1", "holiday:US"):
        with pytest.raises(ArgumentError, match="needs a calendar"):
            calendar_features(np.arange(3), [name])
    with pytest.raises(ArgumentError, match="integer time"):
        calendar_features(np.array(["2024-01-01"], "datetime64[us]"), ["24:1"])


def test_stamps_that_are_no_stamps_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 stamps are missing \(NaT\)"):
        calendar_features(np.array(["2024-01-01", "NaT"], "datetime64[us]"), ["hour"])
    zoned = pd.date_range("2024-01-01", periods=2, freq="h", tz="UTC")
    for wrong in (np.array([1.0]), np.array(["2024-01-01"]), np.asarray(zoned.astype(object)), np.array([True])):
        with pytest.raises(ArgumentError, match="without a time zone"):
            calendar_features(wrong, ["hour"])


def test_ten_million_stamps_take_seconds() -> None:
    hours = np.datetime64("2000-01-01", "us") + np.arange(200_000) * np.timedelta64(1, "h")
    stamps = np.broadcast_to(hours, (50, 200_000))
    began = time.perf_counter()
    got = calendar_features(stamps, ["hour", "weekday", "year:1"])
    assert time.perf_counter() - began < 20  # about 1 s where nothing else runs
    np.testing.assert_array_equal(got[-1, -3:], calendar_features(hours[-3:], ["hour", "weekday", "year:1"]))


class TestHolidays:
    """Against the package's own look-up, one date at a time."""

    @pytest.mark.parametrize(("country", "subdivision"), [("US", None), ("US", "DC"), ("DE", "BY"), ("JP", None)])
    def test_a_holiday_is_what_the_package_says(self, country: str, subdivision: str | None) -> None:
        holidays = pytest.importorskip("holidays")
        place = holidays.country_holidays(country, subdiv=subdivision)
        days = pd.date_range("2003-12-25", "2012-01-07", freq="D")
        name = f"holiday:{country}" + (f"-{subdivision}" if subdivision else "")
        got = calendar_features(days.to_numpy() + np.timedelta64(13, "h"), [name])[:, 0]
        np.testing.assert_array_equal(got, [float(day.date() in place) for day in days])
        assert 0 < got.mean() < 0.1

    @pytest.mark.parametrize("reach", [1, 3, 30])
    def test_nearness_counts_the_days_to_the_next_and_since_the_last(self, reach: int) -> None:
        holidays = pytest.importorskip("holidays")
        place = holidays.country_holidays("FR")
        # The first and last days lie nearer to holidays of other years than to their own.
        days = pd.date_range("2021-12-20", "2023-01-10", freq="D")
        got = calendar_features(days.to_numpy(), [f"holiday:FR:{reach}"])
        for row, day in zip(got, days, strict=True):
            until = [u for u in range(reach + 1) if (day + pd.Timedelta(days=u)).date() in place]
            since = [s for s in range(reach + 1) if (day - pd.Timedelta(days=s)).date() in place]
            assert row[0] == pytest.approx(1 - until[0] / (reach + 1) if until else 0.0, abs=1e-15)
            assert row[1] == pytest.approx(1 - since[0] / (reach + 1) if since else 0.0, abs=1e-15)

    def test_future_holidays_need_no_data(self) -> None:
        pytest.importorskip("holidays")
        axis = time_axis("D", np.array(["2024-11-01"], "datetime64[us]"))
        got = calendar_features(axis.stamps(np.arange(100)), ["holiday:US", "holiday:US:2"])
        np.testing.assert_array_equal(calendar_features(axis.stamps(np.arange(50, 70)), ["holiday:US", "holiday:US:2"]),
                                      got[50:70])  # fmt: skip
        assert got[54, 0] == 1  # Christmas

    def test_unknown_places_are_named(self) -> None:
        pytest.importorskip("holidays")
        check_features(["holiday:US", "holiday:DE-BY:3"], "h")
        with pytest.raises(ArgumentError, match="does not know the country 'ZZ'"):
            check_features(["holiday:ZZ"], "D")
        with pytest.raises(ArgumentError, match="'US' has no subdivision 'QQ'.*DC"):
            check_features(["holiday:US-QQ"], "D")

    def test_years_without_known_holidays_are_refused_not_zero(self) -> None:
        holidays = pytest.importorskip("holidays")
        first = holidays.country_holidays("DE").start_year
        good, bad = (np.array([f"{year}-06-01"], "datetime64[us]") for year in (first, first - 1))
        assert calendar_features(good, ["holiday:DE:40"]).shape == (1, 2)
        with pytest.raises(DataError, match=rf"holidays knows those of DE from {first} to .* stamps of {first - 1};"):
            calendar_features(bad, ["holiday:DE"])

    def test_a_missing_package_is_said_with_its_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "holidays", None)
        # A place that no other test asks for, so that nothing is remembered of it.
        with pytest.raises(ArgumentError, match=r"pip install 'forecast_kit\[holidays\]'"):
            check_features(["holiday:NZ"], "D")
        with pytest.raises(ArgumentError, match=r"pip install 'forecast_kit\[holidays\]'"):
            calendar_features(np.array(["2024-01-01"], "datetime64[us]"), ["hour", "holiday:NZ"])
        assert feature_names(["holiday:NZ"]) == ("holiday_NZ",)

    def test_the_package_is_imported_only_when_asked_for(self) -> None:
        code = """
import sys, numpy as np
from forecast_kit.data.calendar import calendar_features
calendar_features(np.array(['2024-01-01'], 'datetime64[us]'), ['hour'])
assert 'holidays' not in sys.modules
"""
        subprocess.run([sys.executable, "-c", code], check=True)
