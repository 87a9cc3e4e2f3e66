"""What is known at a moment, and where the forecast begins."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_kit import Panel, PanelSchema
from forecast_kit.errors import ArgumentError
from forecast_kit.jobs.asof import AsOf, first_step, known_at, now, span_of
from forecast_kit.jobs.sections import ScheduleSection


@given(st.datetimes())
def test_the_label_is_read_back_to_the_minute(moment: datetime) -> None:
    minute = moment.replace(second=0, microsecond=0)
    assert AsOf.read(AsOf(pd.Timestamp(minute)).label) == AsOf(pd.Timestamp(minute))


def test_what_is_no_moment_is_refused() -> None:
    for text, freq, told in [
        ("yesterday", "h", "takes a date such as 2024-07-01"),
        ("2024-07-01T05:00+02:00", "h", "leave the offset out"),
        ("2024-07-01T05:00:30", "h", "told to the minute"),
        ("2024-07-01", 1, "takes a whole number"),
        ("", "D", "takes a date"),
    ]:
        with pytest.raises(ArgumentError, match=told):
            AsOf.read(text, freq=freq)


@pytest.mark.parametrize(
    ("every", "expected"),
    [("hour", "2024-07-04"), ("day", "2024-07-04"), ("week", "2024-07-01"), ("month", "2024-07-01")],
)
def test_now_is_rounded_down_on_the_clock_of_the_wall(every: str, expected: str) -> None:
    # 19:00 UTC is half past midnight of the next day in Kolkata, which is five and a half hours ahead.
    schema, at = PanelSchema(freq="30min", timezone="Asia/Kolkata"), datetime(2024, 7, 3, 19, 0, 59, tzinfo=UTC)
    assert now(ScheduleSection(every=every), schema, clock=at).label == expected


def test_numbered_time_has_no_clock() -> None:
    with pytest.raises(ArgumentError, match="no clock tells the step"):
        now(ScheduleSection(), PanelSchema(freq=1))


@given(st.data())
def test_history_ends_with_the_last_value_before_the_moment(data: st.DataObject) -> None:
    """Against a loop over rows: no target from the moment on, no row after the last value in the history."""
    values = st.lists(st.one_of(st.none(), st.floats(0, 9)), min_size=1, max_size=8)
    series = data.draw(st.dictionaries(st.sampled_from("abc"), values, min_size=1))
    at, future = data.draw(st.integers(-1, 9)), data.draw(st.booleans())
    rows = [(name, k, y, float(k)) for name, ys in series.items() for k, y in enumerate(ys)]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y", "x"]).astype({"y": float})
    schema = PanelSchema(freq=1, future=("x",) if future else ())
    history, ahead = known_at(frame, schema, AsOf(at))
    expected_history, expected_ahead = set(), set()
    for name, ys in series.items():
        known = [k for k, y in enumerate(ys) if y is not None and k < at]
        for k in range(len(ys)):
            if known and k > known[-1]:
                expected_ahead.add((name, k))
            elif k < at:
                expected_history.add((name, k))
    assert set(zip(history["unique_id"], history["ds"], strict=True)) == expected_history
    if future:
        found = set() if ahead is None else set(zip(ahead["unique_id"], ahead["ds"], strict=True))
        assert found == expected_ahead
        assert ahead is None or ahead["y"].isna().all()
    else:
        assert ahead is None


@pytest.mark.parametrize("freq", ["h", "W-SUN", "MS", "B", "D"])
def test_the_first_step_is_the_first_stamp_that_is_not_before(freq: str) -> None:
    stamps = pd.date_range("2024-01-01", periods=40, freq=freq)
    panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": stamps[3:20], "y": 1.0}), freq=freq)
    for moment in [*stamps[3:], *(stamps[3:-1] + pd.Timedelta(minutes=30))]:
        expected = next(k for k, stamp in enumerate(stamps[3:]) if stamp >= moment)
        assert first_step(panel, AsOf(moment)) == expected


def test_a_moment_is_on_the_clock_of_the_schema() -> None:
    stamps = pd.date_range("2024-06-30 20:00", periods=6, freq="h", tz="UTC")
    frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": np.arange(6.0)})
    schema = PanelSchema(freq="h", timezone="Europe/Berlin")  # two hours ahead: midnight there is 22:00 UTC
    history, _ = known_at(frame, schema, AsOf.read("2024-07-01"))
    assert history["y"].tolist() == [0.0, 1.0]
    local = frame.assign(ds=frame["ds"].dt.tz_convert("Europe/Berlin").dt.tz_localize(None))
    assert known_at(local, schema, AsOf.read("2024-07-01"))[0]["y"].tolist() == [0.0, 1.0]
    assert first_step(Panel.from_frame(history, schema), AsOf.read("2024-07-01")) == 2


def test_a_range_has_both_ends() -> None:
    first, last = AsOf.read("2024-01-31"), AsOf.read("2024-03-31")
    assert len(span_of(first, last, ScheduleSection(every="day"), PanelSchema(freq="h"))) == 61
    assert [str(one) for one in span_of(AsOf(3), AsOf(8), ScheduleSection(), PanelSchema(freq=2))] == ["3", "5", "7"]
