"""Time axes against pandas' own calendars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit.data.frequency import default_season_length, normalize_frequency, show_stamps, time_axis
from forecast_kit.errors import SchemaError, TimeIndexError

CALENDARS = ["h", "15min", "30min", "2h", "D", "2D", "B", "W-SUN", "W-MON", "2W-SUN",
             "MS", "2MS", "ME", "QS", "QE", "YS", "BMS"]  # fmt: skip
SPAN = 60


@st.composite
def grids(draw: st.DrawFn) -> tuple[str, pd.DatetimeIndex]:
    """A frequency, and 121 stamps of pandas' own grid; the one in the middle is to be the origin."""
    freq = draw(st.sampled_from(CALENDARS))
    day = pd.Timestamp("1995-01-01") + pd.Timedelta(days=draw(st.integers(0, 9000)))
    return freq, pd.date_range(day, periods=2 * SPAN + 1, freq=freq)


@pytest.mark.parametrize(
    ("old", "new"),
    [("H", "h"), ("T", "min"), ("15T", "15min"), ("S", "s"), ("M", "ME"), ("Q", "QE-DEC"), ("Q-NOV", "QE-NOV"),
     ("A", "YE-DEC"), ("Y", "YE-DEC"), ("AS", "YS-JAN"), ("AS-APR", "YS-APR"), ("BM", "BME"), ("W", "W-SUN"),
     ("2H", "2h"), (7, 7)],
)  # fmt: skip
def test_old_aliases_become_what_pandas_writes_today(old: str | int, new: str | int) -> None:
    assert normalize_frequency(old) == new
    assert normalize_frequency(new) == new


@pytest.mark.parametrize("bad", ["fortnight", "", "2", "-1h", "0D", 0, -3, True, 1.0, None])
def test_a_bad_frequency_is_refused(bad: object) -> None:
    with pytest.raises(SchemaError, match="freq"):
        normalize_frequency(bad)


@pytest.mark.parametrize(
    ("freq", "season"),
    [("h", 24), ("30min", 48), ("15min", 96), ("2h", 12), ("24h", 1), ("5h", 1), ("min", 60), ("D", 7), ("7D", 1),
     ("2D", 1), ("B", 5), ("W-MON", 52), ("2W-MON", 26), ("MS", 12), ("ME", 12), ("3MS", 4), ("QS", 4), ("QE", 4),
     ("YS", 1), (1, 1), (7, 1)],
)  # fmt: skip
def test_default_season_is_a_day_a_week_or_a_year(freq: str | int, season: int) -> None:
    assert default_season_length(freq if isinstance(freq, int) else normalize_frequency(freq)) == season


@given(grids())
@settings(deadline=None, max_examples=60)
def test_stamps_are_those_of_pandas_date_range(grid: tuple[str, pd.DatetimeIndex]) -> None:
    freq, stamps = grid
    axis = time_axis(freq, stamps[SPAN:].to_numpy())
    np.testing.assert_array_equal(axis.stamps(np.arange(-SPAN, SPAN + 1)), stamps.to_numpy("datetime64[us]"))


@given(grids(), st.lists(st.integers(-SPAN, SPAN), min_size=1, max_size=20))
@settings(deadline=None, max_examples=60)
def test_steps_count_pandas_grid_from_the_origin(grid: tuple[str, pd.DatetimeIndex], wanted: list[int]) -> None:
    freq, stamps = grid
    steps = np.array(wanted)
    axis = time_axis(freq, stamps[SPAN:].to_numpy())
    np.testing.assert_array_equal(axis.steps(stamps.to_numpy()[steps + SPAN]), steps)
    np.testing.assert_array_equal(axis.steps(axis.stamps(steps)), steps)


@given(st.sampled_from([1, 7]), st.integers(-1000, 1000), st.lists(st.integers(-500, 500), min_size=1))
@settings(deadline=None, max_examples=40)
def test_numbered_steps_are_multiples_of_the_frequency(freq: int, origin: int, wanted: list[int]) -> None:
    axis = time_axis(freq, np.array([origin]))
    stamps = axis.stamps(np.array(wanted))
    assert axis.is_integer
    assert stamps.tolist() == [origin + k * freq for k in wanted]
    assert axis.steps(stamps).tolist() == wanted


def test_stamps_keep_the_shape_of_their_steps() -> None:
    axis = time_axis("MS", np.array(["2024-01-01"], "datetime64[us]"))
    assert axis.stamps(np.arange(6).reshape(2, 3)).shape == (2, 3)
    assert axis.stamps(np.empty((0, 3), np.int64)).shape == (0, 3)


@pytest.mark.parametrize(
    ("stated", "really", "named"),
    [("D", "h", "2024-01-01 01:00:00"), ("h", "30min", "2024-01-01 00:30:00"), ("ME", "MS", "2024-01-01"),
     ("MS", "D", "2024-01-02"), ("B", "D", "2024-01-06")],
)  # fmt: skip
def test_stamps_between_two_steps_are_named_with_a_guess(stated: str, really: str, named: str) -> None:
    stamps = pd.date_range("2024-01-01", periods=50, freq=really).to_numpy()
    with pytest.raises(TimeIndexError, match=rf"freq='{stated}'.* such as {named},.*look like freq='{really}'"):
        time_axis(stated, stamps).steps(stamps)


def test_a_month_out_of_step_with_two_month_steps_is_refused_on_either_side() -> None:
    axis = time_axis("2MS", np.array(["2024-03-01"], "datetime64[us]"))
    for stamp in ("2024-02-01", "2024-04-01"):
        with pytest.raises(TimeIndexError, match=stamp):
            axis.steps(np.array([stamp], "datetime64[us]"))


def test_numbers_between_two_steps_are_named_with_their_distance() -> None:
    with pytest.raises(TimeIndexError, match=r"freq=4 through 0, such as 2, 6\..*2 apart"):
        time_axis(4, np.array([0, 2, 4, 6])).steps(np.array([0, 2, 4, 6]))


def test_weeks_on_the_wrong_weekday_are_refused() -> None:
    mondays = pd.date_range("2024-01-01", periods=6, freq="W-MON").to_numpy()
    with pytest.raises(TimeIndexError, match=r"6 time stamps .*freq='W-SUN'.*2024-01-01.*look like freq='W-MON'"):
        time_axis("W-SUN", mondays).steps(mondays)


def test_stamps_are_shown_as_people_write_them() -> None:
    stamps = np.array(["2024-01-01", "2024-01-01T05:30", "2024-01-01T00:00:00.5"], "datetime64[us]")
    assert show_stamps(stamps) == ["2024-01-01", "2024-01-01 05:30:00", "2024-01-01 00:00:00.500000"]
    assert show_stamps(np.array([3, -1])) == ["3", "-1"]
