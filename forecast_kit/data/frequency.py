"""Time axes: a frequency, normalised once, and the arithmetic between stamps and whole steps."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import BaseOffset

from forecast_kit.errors import SchemaError, TimeIndexError
from forecast_kit.typing import Bools, Ints

# What pandas 2 and its predecessors wrote, and people still type.
_OLD_ALIASES = {
    "H": "h", "BH": "bh", "T": "min", "S": "s", "L": "ms", "U": "us", "M": "ME", "Q": "QE", "A": "YE", "Y": "YE",
    "BM": "BME", "BQ": "BQE", "BA": "BYE", "AS": "YS", "BAS": "BYS",
}  # fmt: skip

# Steps in the season that people mean by default; anything else has a season of one step.
_SEASONS = {
    "s": 60, "min": 60, "h": 24, "D": 7, "B": 5, "W": 52,
    "MS": 12, "ME": 12, "BMS": 12, "BME": 12, "QS": 4, "QE": 4, "BQS": 4, "BQE": 4,
}  # fmt: skip
_DAY = pd.Timedelta(days=1)
_BLOCK = 1 << 18  # rows


def normalize_frequency(freq: str | int) -> str | int:
    """The frequency as pandas 3 spells it; an integer frequency as it is.

    Args:
        freq: a pandas offset alias (`"h"`, `"15min"`, `"MS"`, `"W-MON"`, `"B"`), old spellings
            (`"H"`, `"M"`, `"Q"`, `"T"`) included, or a positive whole number of time units for an
            integer time column.

    Raises:
        SchemaError: pandas does not know the alias, or the number is not positive.

    >>> normalize_frequency("H"), normalize_frequency("15T"), normalize_frequency("M"), normalize_frequency(1)
    ('h', '15min', 'ME', 1)
    """
    if isinstance(freq, bool) or not isinstance(freq, int | str):
        raise SchemaError(f"freq must be a pandas offset alias or a whole number, got {freq!r}")
    if isinstance(freq, int):
        if freq < 1:
            raise SchemaError(f"an integer freq counts time units per step and must be at least 1, got {freq}")
        return freq
    count = freq[: len(freq) - len(freq.lstrip("0123456789"))]
    base, dash, anchor = freq[len(count) :].partition("-")
    try:
        offset = to_offset(count + _OLD_ALIASES.get(base, base) + dash + anchor)
    except ValueError as error:
        raise SchemaError(
            f"unknown freq {freq!r}; use a pandas offset alias such as 'h', '15min', 'D', 'B', 'W-SUN', 'MS', "
            f"'QS', 'YS', or 1 for an integer time column"
        ) from error
    if offset.n < 1:
        raise SchemaError(f"freq must go forward in time, got {freq!r}")
    return offset.freqstr


def show_stamps(stamps: np.ndarray, zone: str | None = None) -> list[str]:
    """Stamps as people write them: without a time of day that is midnight, without empty fractions.

    With a zone, of UTC stamps, what the clock on its walls shows.

    >>> show_stamps(np.array(["2020-01-01T00", "2020-01-01T06"], "datetime64[us]"))
    ['2020-01-01', '2020-01-01 06:00:00']
    >>> show_stamps(np.array(["2020-01-01T00"], "datetime64[us]"), "Europe/Berlin")
    ['2020-01-01 01:00:00+01:00']
    """
    if not np.issubdtype(stamps.dtype, np.datetime64):
        return [str(stamp) for stamp in stamps.tolist()]
    return [str(stamp).removesuffix(" 00:00:00") for stamp in pd.DatetimeIndex(show_zone(stamps, zone))]


def is_subdaily(freq: str | int) -> bool:
    """Whether steps are shorter than a day and equally long on the clock: hours, minutes, seconds.

    >>> [is_subdaily(f) for f in ("h", "30min", "D", "MS", 1)]
    [True, True, False, False, False]
    """
    return isinstance(freq, str) and isinstance(to_offset(freq), pd.offsets.Tick)


def show_zone(stamps: np.ndarray, zone: str | None) -> Any:
    """UTC stamps `[R]` in a zone, without one as they are.

    >>> show_zone(np.array(["2024-07-01T12"], "datetime64[us]"), "Europe/Berlin")[0]
    Timestamp('2024-07-01 14:00:00+0200', tz='Europe/Berlin')
    """
    return stamps if zone is None else pd.DatetimeIndex(stamps, tz="UTC").tz_convert(zone)


def wall_clock(stamps: np.ndarray, zone: str | None) -> np.ndarray:
    """What clocks in a zone show at UTC stamps, without the zone; without one the stamps as they are.

    >>> wall_clock(np.array(["2024-07-01T12"], "datetime64[us]"), "Europe/Berlin")
    array(['2024-07-01T14:00:00.000000'], dtype='datetime64[us]')
    """
    return (
        stamps if zone is None else show_zone(stamps.ravel(), zone).tz_localize(None).to_numpy().reshape(stamps.shape)
    )


def default_season_length(freq: str | int) -> int:
    """The number of steps in the season that the frequency suggests: a day, a week or a year.

    Whole multiples divide it: `"30min"` has 48 steps a day. An integer frequency tells nothing,
    so it has a season of one step unless the schema states another.

    >>> [default_season_length(f) for f in ("h", "30min", "2h", "D", "W-SUN", "MS", "QS-JAN", "YS-JAN", 1)]
    [24, 48, 12, 7, 52, 12, 4, 1, 1]
    """
    if isinstance(freq, int):
        return 1
    offset = to_offset(freq)
    base = offset.rule_code.partition("-")[0]
    if isinstance(offset, pd.offsets.Tick) and base != "s":
        width = pd.Timedelta(offset)
        if pd.Timedelta(minutes=1) < width < _DAY and _DAY % width == pd.Timedelta(0):
            return _DAY // width
    season = _SEASONS.get(base, 1)
    return season // offset.n if season % offset.n == 0 else 1


class TimeAxis(ABC):
    """The grid on which every stamp of a panel lies: step `k` is `origin` plus `k` times `freq`.

    >>> axis = time_axis("MS", np.array(["2020-01-01", "2020-02-01"], "datetime64[us]"))
    >>> show_stamps(axis.stamps(np.array([0, 13, -1])))
    ['2020-01-01', '2021-02-01', '2019-12-01']
    >>> axis.steps(np.array(["2020-03-01"], "datetime64[us]"))
    array([2])
    """

    freq: str | int
    origin: int | pd.Timestamp

    @property
    def is_integer(self) -> bool:
        """Whether time is counted in whole numbers instead of told by a calendar."""
        return isinstance(self, NumberAxis)

    @abstractmethod
    def steps(self, stamps: np.ndarray) -> Ints:
        """The whole number of steps from the origin to each stamp.

        Args:
            stamps: `[R]` integers or `datetime64`.

        Raises:
            TimeIndexError: stamps lie between two steps; the first few are named.
        """

    @abstractmethod
    def stamps(self, steps: Ints) -> np.ndarray:
        """The stamps of the given steps, in an array of the same shape (`int64` or `datetime64[us]`)."""

    def _refuse_off_grid(self, stamps: np.ndarray, off: Bools, hint: str) -> None:
        if off.any():
            raise TimeIndexError(
                f"{int(off.sum())} time stamps do not lie on the grid freq={self.freq!r} through {self.origin}, "
                f"such as {', '.join(show_stamps(np.unique(stamps[off])[:5]))}. State the frequency that the data "
                f"have{hint}, or move the stamps onto the grid"
            )


@dataclass(frozen=True)
class NumberAxis(TimeAxis):
    """Steps that are numbered: `origin + k * freq`."""

    freq: int
    origin: int

    def steps(self, stamps: np.ndarray) -> Ints:
        """See `TimeAxis`."""
        steps, rest = np.divmod(stamps.astype(np.int64) - self.origin, self.freq)
        apart = np.gcd.reduce(np.diff(np.unique(stamps)[:100])) if (rest != 0).any() else 0
        self._refuse_off_grid(stamps, rest != 0, f" (the stamps are {apart} apart)")
        return steps

    def stamps(self, steps: Ints) -> np.ndarray:
        """See `TimeAxis`."""
        return self.origin + np.asarray(steps, np.int64) * self.freq


@dataclass(frozen=True)
class CalendarAxis(TimeAxis):
    """Steps of a pandas offset, of equal length (hours, days, weeks) or not (months, business days)."""

    freq: str
    origin: pd.Timestamp

    @cached_property
    def _offset(self) -> BaseOffset:
        return to_offset(self.freq)

    @cached_property
    def _width(self) -> np.timedelta64 | None:
        """The length of a step where every step is equally long, else None."""
        offset = self._offset
        if isinstance(offset, pd.offsets.Tick):
            return pd.Timedelta(offset).to_timedelta64().astype("timedelta64[us]")
        if isinstance(offset, pd.offsets.Day | pd.offsets.Week):
            days = offset.n * (7 if isinstance(offset, pd.offsets.Week) else 1)
            return np.timedelta64(days, "D").astype("timedelta64[us]")
        return None

    @cached_property
    def _start(self) -> np.datetime64:
        return self.origin.to_datetime64().astype("datetime64[us]")

    def steps(self, stamps: np.ndarray) -> Ints:
        """See `TimeAxis`."""
        stamps = np.ascontiguousarray(stamps, "datetime64[us]")
        if self._width is not None:
            self._refuse_wrong_weekday(stamps)
            start, width = self._start.astype(np.int64), self._width.astype(np.int64)
            steps = np.empty(len(stamps), np.int64)
            for k in range(0, len(stamps), _BLOCK):  # in blocks: three arrays of all rows would be a frame more
                apart = stamps[k : k + _BLOCK].view(np.int64) - start
                steps[k : k + _BLOCK] = apart // width
                if (steps[k : k + _BLOCK] * width != apart).any():
                    self._refuse(stamps, (stamps - self._start).astype(np.int64) % width != 0)
            return steps
        low, high = min(pd.Timestamp(stamps.min()), self.origin), max(pd.Timestamp(stamps.max()), self.origin)
        # Both ways from the origin, so that steps of several months or days keep its phase.
        before = pd.date_range(self.origin, low, freq=-self._offset, unit="us")[:0:-1]
        calendar = before.append(pd.date_range(self.origin, high, freq=self._offset, unit="us"))
        steps = calendar.get_indexer(pd.DatetimeIndex(stamps))
        self._refuse(stamps, steps < 0)
        return steps.astype(np.int64) - len(before)

    def stamps(self, steps: Ints) -> np.ndarray:
        """See `TimeAxis`."""
        steps = np.asarray(steps, np.int64)
        if self._width is not None:
            return self._start + steps * self._width
        if steps.size == 0:
            return np.empty(steps.shape, "datetime64[us]")
        low, high = min(0, int(steps.min())), max(0, int(steps.max()))
        before = pd.date_range(end=self.origin, periods=1 - low, freq=self._offset, unit="us")[:-1]
        after = pd.date_range(self.origin, periods=1 + high, freq=self._offset, unit="us")
        return before.append(after).to_numpy()[steps - low]

    def _refuse_wrong_weekday(self, stamps: np.ndarray) -> None:
        """Weeks are anchored on a weekday: `W-SUN` data must be stamped on Sundays."""
        anchor: int | None = getattr(self._offset, "weekday", None)
        if anchor is not None:
            days = (stamps.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
            self._refuse(stamps, days != anchor)

    def _refuse(self, stamps: np.ndarray, off: Bools) -> None:
        unique = np.unique(stamps)[:100] if off.any() else stamps[:0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas 3.1 announces an offset where it still returns text
            found = pd.infer_freq(pd.DatetimeIndex(unique)) if unique.size > 2 else None
        guess = getattr(found, "freqstr", found)
        self._refuse_off_grid(stamps, off, f" (they look like freq={guess!r})" if guess else "")


def time_axis(freq: str | int, stamps: np.ndarray) -> TimeAxis:
    """The axis of that frequency whose step 0 is the earliest of the stamps."""
    first = stamps.min()
    return NumberAxis(freq, int(first)) if isinstance(freq, int) else CalendarAxis(freq, pd.Timestamp(first))
