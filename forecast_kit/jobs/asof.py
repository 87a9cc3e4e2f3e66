"""The moment that a job pretends is now: what is stamped before it is known, the rest is to come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import total_ordering
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from forecast_kit.data.columns import check_columns
from forecast_kit.data.future import split_future
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError
from forecast_kit.jobs.sections import ScheduleSection

__all__ = ["AsOf"]

_EVERY: dict[str, pd.DateOffset] = {
    "hour": pd.DateOffset(hours=1), "day": pd.DateOffset(days=1), "week": pd.DateOffset(weeks=1),
    "month": pd.DateOffset(months=1),
}  # fmt: skip


@total_ordering
@dataclass(frozen=True)
class AsOf:
    """A moment between two steps: everything stamped before it is known.

    Attributes:
        stamp: on the clock of the wall where the schema states a zone, else as the data's stamps are (UTC); a whole
            number where time is numbered.

    >>> AsOf.read("2024-07-01").label, AsOf.read("2024-07-01 13:00").label, AsOf.read("17", freq=1).label
    ('2024-07-01', '2024-07-01T1300', '17')
    """

    stamp: pd.Timestamp | int

    @classmethod
    def read(cls, text: str, *, freq: str | int = "D") -> AsOf:
        """The moment that a text names.

        Raises:
            ArgumentError: it is no date, or has a zone of its own; no whole number, where time is numbered.
        """
        if isinstance(freq, int):
            if not text.strip().lstrip("-").isdecimal():
                raise ArgumentError(f"time is numbered here, so --as-of takes a whole number; got {text!r}")
            return cls(int(text))
        # With the label's own short form of hours, which a name of a file can hold.
        written = text[:13] + ":" + text[13:] if "T" in text and len(text) == 15 else text
        try:
            stamp = pd.Timestamp(datetime.fromisoformat(written)).as_unit("us")
        except ValueError as error:
            raise ArgumentError(f"--as-of takes a date such as 2024-07-01 or 2024-07-01T13:00, got {text!r}") from error
        if stamp.tzinfo is not None:
            raise ArgumentError(f"--as-of is on the clock of the schema's timezone (UTC if it states none); leave the "
                                f"offset out of {text!r}")  # fmt: skip
        if stamp != stamp.floor("min"):
            raise ArgumentError(f"--as-of is told to the minute, as names of files have it; got {text!r}")
        return cls(stamp)

    @property
    def label(self) -> str:
        """The shortest text that `read` takes back and a name of a file can hold."""
        if isinstance(self.stamp, int):
            return str(self.stamp)
        if self.stamp == self.stamp.normalize():
            return self.stamp.isoformat()[:10]  # strftime does not fill up years before 1000
        return f"{self.stamp.isoformat()[:10]}T{self.stamp:%H%M}"

    @property
    def value(self) -> pd.Timestamp | int:
        """What the column `as_of` of a table holds."""
        return self.stamp

    def knows(self, stamp: str | int, schema: PanelSchema) -> bool:
        """Whether what is stamped so, in UTC where the panel's stamps are, lies before this moment.

        >>> AsOf.read("2024-07-01").knows("2024-06-30 22:00:00", PanelSchema(freq="h", timezone="Europe/Berlin"))
        False
        """
        if isinstance(self.stamp, int):
            return int(stamp) < self.stamp
        return pd.Timestamp(stamp) < _in_utc(self.stamp, schema)

    def __lt__(self, other: AsOf) -> bool:
        mine: Any = self.stamp  # both are dates, or both are numbers: of one job
        return bool(mine < other.stamp)

    def __str__(self) -> str:
        return self.label


def now(schedule: ScheduleSection, schema: PanelSchema, *, clock: datetime | None = None) -> AsOf:
    """The moment that a job without `--as-of` runs for: now, rounded down to how often it runs.

    Args:
        schedule: tells how often.
        schema: whose `timezone` tells the clock; without one it is UTC.
        clock: the time, with a zone; by default this machine's.

    Raises:
        ArgumentError: time is numbered, so no clock can tell.

    >>> from datetime import timezone
    >>> at = datetime(2024, 7, 3, 22, 30, tzinfo=timezone.utc)
    >>> str(now(ScheduleSection(every="day"), PanelSchema(freq="h", timezone="Europe/Berlin"), clock=at))
    '2024-07-04'
    """
    if isinstance(schema.freq, int):
        raise ArgumentError("time is numbered here, and no clock tells the step; say --as-of with a whole number")
    zone = ZoneInfo(schema.timezone or "UTC")
    local = pd.Timestamp((clock or datetime.now(zone)).astimezone(zone)).tz_localize(None)
    if schedule.every == "hour":
        return AsOf(local.floor("h").as_unit("us"))
    day = local.normalize().as_unit("us")
    if schedule.every == "week":
        return AsOf(day - pd.Timedelta(days=day.weekday()))
    return AsOf(day.replace(day=1) if schedule.every == "month" else day)


def overtaken(
    as_of: AsOf, schedule: ScheduleSection, schema: PanelSchema, *, clock: datetime | None = None
) -> AsOf | None:
    """The moment of a run now, where an as-of is more than one run ahead of it: a slip more often than a wish.

    None where it is not, or where time is numbered. Arguments are those of `now`.

    >>> at = datetime(2024, 7, 3, 22, 30, tzinfo=ZoneInfo("UTC"))
    >>> moments = [AsOf.read(f"2024-07-0{day}") for day in (1, 4, 5)]
    >>> [str(overtaken(one, ScheduleSection(every="day"), PanelSchema(freq="h"), clock=at)) for one in moments]
    ['None', 'None', '2024-07-03']
    """
    if isinstance(as_of.stamp, int):
        return None
    present = now(schedule, schema, clock=clock)
    assert not isinstance(present.stamp, int)  # where the as-of is a date, so is now
    return present if as_of.stamp > present.stamp + _EVERY[schedule.every] else None


def span_of(first: AsOf, last: AsOf, schedule: ScheduleSection, schema: PanelSchema) -> list[AsOf]:
    """The moments from the first to the last, both included, as often as the job runs; numbered time in steps.

    >>> first, last = AsOf.read("2024-02-28"), AsOf.read("2024-03-01")
    >>> [str(one) for one in span_of(first, last, ScheduleSection(every="day"), PanelSchema(freq="h"))]
    ['2024-02-28', '2024-02-29', '2024-03-01']
    """
    if isinstance(first.stamp, int) or isinstance(last.stamp, int) or isinstance(schema.freq, int):
        low, high, step = first.stamp, last.stamp, schema.freq
        assert isinstance(low, int)
        assert isinstance(high, int)
        assert isinstance(step, int)  # where time is numbered, all of it is
        return [AsOf(stamp) for stamp in range(low, high + 1, step)]
    stamps = pd.date_range(first.stamp, last.stamp, freq=_EVERY[schedule.every], unit="us")
    return [AsOf(stamp) for stamp in stamps]


def known_at(frame: pd.DataFrame, schema: PanelSchema, as_of: AsOf) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """What is known at that moment: each series up to its last value, and the known-future covariates after it.

    Rows stamped at the moment or later keep nothing but known-future covariates. Series without a single value keep
    their rows, for the schema's policy to decide upon.

    Args:
        frame: long, with stamps that are dates or numbers, as `read_frame` gives it.
        schema: its columns.
        as_of: the moment.

    Raises:
        SchemaError: a column is missing.

    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(1, 5), "y": [5.0, None, 7.0, 8.0], "price": 2.0})
    >>> history, future = known_at(frame, PanelSchema(freq=1, future=["price"]), AsOf(3))
    >>> history["ds"].tolist(), future["ds"].tolist(), future["y"].isna().all()
    ([1], [2, 3, 4], np.True_)
    """
    check_columns(frame, schema)
    later = ~_before(frame[schema.time_col], schema, as_of)
    if not schema.future:
        frame = frame[~later] if later.any() else frame
        known = frame[schema.target_col].notna()
        if known.all():
            return frame, None
        last = frame[schema.time_col].where(known).groupby(frame[schema.id_col]).transform("max")
        return frame[~(frame[schema.time_col] > last)], None
    rows = frame.copy(deep=False)
    rows[schema.target_col] = rows[schema.target_col].mask(later)
    history, future = split_future(rows, schema)
    # Of series without any value the rows to come are no history either.
    return history[_before(history[schema.time_col], schema, as_of)], future


def _before(times: pd.Series, schema: PanelSchema, as_of: AsOf) -> pd.Series:
    """Which stamps lie before the moment."""
    if isinstance(as_of.stamp, int):
        return times < as_of.stamp
    zone = getattr(times.dtype, "tz", None)
    return times < (as_of.stamp if zone is None else _in_utc(as_of.stamp, schema).tz_localize("UTC"))


def first_step(panel: Panel, as_of: AsOf) -> int:
    """The first step of the panel's axis that is not before the moment: the first one to forecast.

    A moment before the whole panel is its first step.

    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": [3, 5], "y": 1.0}), freq=2)
    >>> [first_step(panel, AsOf(stamp)) for stamp in (6, 7, 8)]
    [2, 2, 3]
    """
    moment = as_of.stamp if isinstance(as_of.stamp, int) else _in_utc(as_of.stamp, panel.schema).to_datetime64()
    low = int(panel.start.min())
    width = 1  # doubled until the moment lies within
    while panel.axis.stamps(np.array([low + width]))[0] < moment:
        width *= 2
    return low + int(np.searchsorted(panel.axis.stamps(np.arange(low, low + width + 1)), moment))


def _in_utc(stamp: pd.Timestamp, schema: PanelSchema) -> pd.Timestamp:
    """The moment as a panel counts it: in UTC where its stamps are, else on the clock of the wall as it is.

    Of an hour that the clock shows twice the first is meant; one that it skips is the moment at which it is skipped.
    """
    if schema.zone is None:
        return stamp
    return (
        stamp.tz_localize(schema.zone, ambiguous=True, nonexistent="shift_forward").tz_convert("UTC").tz_localize(None)
    )
