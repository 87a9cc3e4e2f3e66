"""Calendar features: columns computed from time stamps alone, so known for the past and the future alike.

A feature is a short text, so that a configuration file can list it. Time is as the stamps tell it
(no time zone, no daylight saving; every day has 24 hours), and weeks begin on Monday.

Plain features, one column each, named like the feature:

    minute         minute / 59 - 1/2                   of the hour, 0 .. 59
    hour           hour / 23 - 1/2                     of the day, 0 .. 23
    weekday        weekday / 6 - 1/2                   Monday 0 .. Sunday 6
    day            (day - 1) / 30 - 1/2                of the month, 1 .. 31
    dayofyear      (dayofyear - 1) / 365 - 1/2         1 .. 366
    week           (week - 1) / 52 - 1/2               ISO 8601 week, 1 .. 53
    month          (month - 1) / 11 - 1/2              1 .. 12
    quarter        (quarter - 1) / 3 - 1/2             1 .. 4
    year           (year - 2000) / 10
    weekend        1 on Saturday and Sunday, else 0
    month_start    1 on the first day of a month, else 0
    month_end      1 on the last day of a month, else 0

Fourier terms, `"<cycle>:<order>"`: with p in [0, 1) the part of the cycle that has passed,

    <cycle>_sink = sin(2 pi k p),   <cycle>_cosk = cos(2 pi k p),   k = 1 .. order

    day      p = t / 24 h, with t the time since midnight
    week     p = (weekday + t / 24 h) / 7
    month    p = (day - 1 + t / 24 h) / (days in this month)
    year     p = (dayofyear - 1 + t / 24 h) / (days in this year)
    24       p = (stamp mod 24) / 24: integer time has no calendar, so its cycles are lengths, in
             the units of the time column, as `freq` is: steps, where `freq` is 1

A cycle is named by how long it lasts: `"day:3"` is three harmonics of the hour of the day, while
the plain `"day"` is the day of the month.

Holidays, of the package `holidays` (`pip install 'forecast_kit[holidays]'`): public ones, the days
on which they are observed included, of a country or of one of its subdivisions.

    holiday:US       holiday_US = 1 on a holiday, else 0
    holiday:US-DC    holiday_US_DC, the same with the holidays of a subdivision
    holiday:US:3     holiday_US_before3 = max(0, 1 - u / 4), u days until the next holiday,
                     holiday_US_after3  = max(0, 1 - s / 4), s days since the last one (both 1 on it)
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from forecast_kit.data.frequency import normalize_frequency
from forecast_kit.data.holidays import holidays_of, known_years
from forecast_kit.errors import ArgumentError, DataError, name_some, nearest
from forecast_kit.typing import Floats, Ints

_DAY = 86_400_000_000  # microseconds
_HOUR = _DAY // 24
_LENGTHS = {"hour": _HOUR, "day": _DAY, "week": 7 * _DAY, "month": 31 * _DAY, "year": 366 * _DAY}


def calendar_features(stamps: np.ndarray, names: Sequence[str]) -> Floats:
    """`[..., C]` the features of each stamp, one column for each of `feature_names(names)`.

    A feature depends on its stamp alone: the same stamp has the same values in every panel, in the
    past and in the future.

    Args:
        stamps: `[...]` `datetime64`, or the integers of an integer time column (the stamps
            themselves, not steps from a panel's origin).
        names: features, see the module.

    Raises:
        ArgumentError: a name is unknown, or does not fit the kind of time.
        DataError: a stamp is missing, or lies where the holidays are not known.

    >>> calendar_features(np.array(["2024-02-29T12"], "datetime64[us]"), ["month_end", "day:1", "year"])
    array([[ 1. ,  0. , -1. ,  2.4]])
    >>> calendar_features(np.arange(4), ["4:1"])
    array([[ 0.,  1.],
           [ 1.,  0.],
           [ 0., -1.],
           [-1.,  0.]])
    """
    terms = _parse(names)
    stamps = np.asarray(stamps)
    if not (np.issubdtype(stamps.dtype, np.datetime64) or np.issubdtype(stamps.dtype, np.integer)):
        raise ArgumentError(
            f"stamps must be datetime64 without a time zone, or integers, got an array of {stamps.dtype}"
        )
    is_integer = np.issubdtype(stamps.dtype, np.integer)
    for term in terms:
        term.refuse_kind(is_integer)
    shape = (*stamps.shape, sum(len(term.columns) for term in terms))
    if 0 in shape:
        return np.empty(shape)
    if not is_integer and np.isnat(stamps).any():
        raise DataError(f"{int(np.isnat(stamps).sum())} stamps are missing (NaT); drop these rows or fill them")
    numbers = stamps.astype(np.int64 if is_integer else "datetime64[us]").view(np.int64)
    # Panels repeat the same stamps in every series: compute each once.
    codes, unique = pd.factorize(numbers.ravel())
    moments = _Moments(unique)
    table = np.concatenate([term.values(moments) for term in terms], axis=1)  # [unique, C]
    return table[codes].reshape(shape)


def feature_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns that the features give.

    Raises:
        ArgumentError: a name is unknown, or two features give the same column.

    >>> feature_names(["hour", "week:2", "holiday:US-DC"])
    ('hour', 'week_sin1', 'week_cos1', 'week_sin2', 'week_cos2', 'holiday_US_DC')
    """
    return tuple(column for term in _parse(names) for column in term.columns)


def check_features(names: Sequence[str], freq: str | int) -> None:
    """Refuses features that are unknown, or that make no sense at the frequency.

    A plain feature tells where in an hour, day, week, month or year a stamp lies, which makes no
    sense where steps fall on one place of it only (the hour of daily data), or where it never
    changes (the weekend of business days). Where steps fall on m places of a cycle, harmonics of
    order k > m / 2 repeat those of lower order, so a Fourier term's order is at most m / 2.
    Holidays are a matter of days, so steps must be no longer.

    Args:
        names: features, see the module.
        freq: a pandas offset alias, or the whole number of units in a step of integer time.

    Raises:
        SchemaError: the frequency is unknown.
        ArgumentError: a name is unknown, or does not fit the frequency; the package `holidays` is
            needed and not installed, or does not know the country.

    >>> check_features(["hour", "day:3", "week:2"], "h")
    >>> check_features(["hour"], "D")
    Traceback (most recent call last):
    forecast_kit.errors.ArgumentError: the feature 'hour' makes no sense at freq='D': every step falls on the same \
place in the day; remove it
    """
    freq = normalize_frequency(freq)
    for term in _parse(names):
        term.refuse_kind(isinstance(freq, int))
        term.check(freq)


def _part(formula: Callable[[_Moments], Ints]) -> cached_property[Ints]:
    """A part of `_Moments` that is computed when it is first asked for."""
    return cached_property(formula)


class _Moments:
    """Distinct stamps, taken apart into whole numbers, each `[U]`."""

    def __init__(self, numbers: Ints) -> None:
        self.numbers = numbers  # microseconds since 1970, or integer time

    days = _part(lambda m: m.numbers // _DAY)  # since 1970-01-01, which was a Thursday
    time = _part(lambda m: m.numbers % _DAY)  # microseconds since midnight
    weekday = _part(lambda m: (m.days + 3) % 7)  # Monday is 0
    months = _part(lambda m: m.days.view("datetime64[D]").astype("datetime64[M]").view(np.int64))  # since 1970
    january = _part(lambda m: m.months - m.months % 12)  # the first month of this year, since 1970
    year = _part(lambda m: m.months // 12 + 1970)
    day = _part(lambda m: m.days - _first_day(m.months) + 1)  # of the month, from 1
    days_in_month = _part(lambda m: _first_day(m.months + 1) - _first_day(m.months))
    dayofyear = _part(lambda m: m.days - _first_day(m.january) + 1)  # from 1
    days_in_year = _part(lambda m: _first_day(m.january + 12) - _first_day(m.january))
    # ISO 8601: a week belongs to the year of its Thursday.
    week = _part(lambda m: (_Moments((m.days - m.weekday + 3) * _DAY).dayofyear - 1) // 7 + 1)


def _first_day(months: Ints) -> Ints:
    """Days since 1970-01-01 of the first day of each month."""
    return months.view("datetime64[M]").astype("datetime64[D]").view(np.int64)


# The cycle within which a plain feature tells the place, and its formula.
_PLAIN: dict[str, tuple[str, Callable[[_Moments], np.ndarray]]] = {
    "minute": ("hour", lambda m: m.time % _HOUR // (_HOUR // 60) / 59 - 0.5),
    "hour": ("day", lambda m: m.time // _HOUR / 23 - 0.5),
    "weekday": ("week", lambda m: m.weekday / 6 - 0.5),
    "day": ("month", lambda m: (m.day - 1) / 30 - 0.5),
    "dayofyear": ("year", lambda m: (m.dayofyear - 1) / 365 - 0.5),
    "week": ("year", lambda m: (m.week - 1) / 52 - 0.5),
    "month": ("year", lambda m: m.months % 12 / 11 - 0.5),
    "quarter": ("year", lambda m: m.months % 12 // 3 / 3 - 0.5),
    "year": ("", lambda m: (m.year - 2000) / 10),
    "weekend": ("week", lambda m: m.weekday >= 5),
    "month_start": ("month", lambda m: m.day == 1),
    "month_end": ("month", lambda m: m.day == m.days_in_month),
}

# How much of a cycle has passed, and how long it is, in microseconds.
_CYCLES: dict[str, Callable[[_Moments], tuple[Ints, Ints | int]]] = {
    "day": lambda m: (m.time, _DAY),
    "week": lambda m: (m.weekday * _DAY + m.time, 7 * _DAY),
    "month": lambda m: ((m.day - 1) * _DAY + m.time, m.days_in_month * _DAY),
    "year": lambda m: ((m.dayofyear - 1) * _DAY + m.time, m.days_in_year * _DAY),
}


@dataclass(frozen=True)
class _Term(ABC):
    """One feature."""

    name: str

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""

    @abstractmethod
    def values(self, moments: _Moments) -> Floats:
        """`[U, columns]` its values."""

    @abstractmethod
    def check(self, freq: str | int) -> None:
        """Refuses a frequency at which it makes no sense."""

    def refuse_kind(self, is_integer: bool) -> None:
        """Refuses integer time, or a calendar, where the feature is made for the other."""
        if is_integer:
            raise ArgumentError(
                f"the feature {self.name!r} needs a calendar, and integer time has none; the features of integer time "
                f"are '<length>:<order>', such as '24:2' for 2 harmonics of a cycle of 24 units"
            )


class _Plain(_Term):
    """One column of `_PLAIN`."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def values(self, moments: _Moments) -> Floats:
        return _PLAIN[self.name][1](moments).astype(np.float64)[:, None]

    def check(self, freq: str | int) -> None:
        cycle = _PLAIN[self.name][0]
        if cycle and _places(freq, cycle) < 2:
            raise ArgumentError(
                f"the feature {self.name!r} makes no sense at freq={freq!r}: every step falls on the same place in "
                f"the {cycle}; remove it"
            )
        grid = _grid(str(freq))
        # A grid of equal steps is not looked at: seconds would have to be followed for years.
        if len(np.unique(np.diff(grid))) > 1 and len(np.unique(self.values(_Moments(grid)))) == 1:
            raise ArgumentError(f"the feature {self.name!r} makes no sense at freq={freq!r}: it never changes; "
                                f"remove it")  # fmt: skip


@dataclass(frozen=True)
class _Fourier(_Term):
    """Pairs of sines and cosines."""

    cycle: str | int
    order: int

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{self.cycle}_{wave}{k}" for k in range(1, self.order + 1) for wave in ("sin", "cos"))

    def values(self, moments: _Moments) -> Floats:
        passed, length = (
            (moments.numbers % self.cycle, self.cycle) if isinstance(self.cycle, int) else _CYCLES[self.cycle](moments)
        )
        columns: list[np.ndarray] = []
        for k in range(1, self.order + 1):
            # Whole turns are taken off in whole numbers, and what floats leave of sin(pi) and cos(pi / 2) is rounded
            # away: a wave that is zero in every step must be a constant column, not noise that a scaler blows up.
            angle = 2 * np.pi * (k * passed % length / length)
            columns += [np.round(np.sin(angle), 15) + 0.0, np.round(np.cos(angle), 15) + 0.0]
        return np.stack(columns, axis=1)

    def check(self, freq: str | int) -> None:
        places = _places(freq, self.cycle)
        if places < 2:
            what = f"{self.cycle} units" if isinstance(self.cycle, int) else f"the {self.cycle}"
            raise ArgumentError(
                f"the feature {self.name!r} makes no sense at freq={freq!r}: every step falls on the same place in "
                f"the cycle of {what}; remove it"
            )
        if 2 * self.order > places:
            raise ArgumentError(
                f"the feature {self.name!r} asks for {self.order} harmonics, but at freq={freq!r} steps fall on "
                f"{places} places of the cycle, which {places // 2} harmonics describe; use "
                f"'{self.cycle}:{places // 2}' or less"
            )

    def refuse_kind(self, is_integer: bool) -> None:
        if isinstance(self.cycle, str):
            super().refuse_kind(is_integer)
        elif not is_integer:
            raise ArgumentError(
                f"the feature {self.name!r} counts the units of integer time, and these stamps have a calendar; use "
                f"'<cycle>:<order>' with one of the cycles {name_some(_CYCLES)}"
            )


@dataclass(frozen=True)
class _Holiday(_Term):
    """Whether a day is a holiday, or how near it is to one within `reach` days."""

    country: str
    subdivision: str
    reach: int

    @property
    def columns(self) -> tuple[str, ...]:
        name = "holiday_" + "_".join(filter(None, (self.country, self.subdivision)))
        return (f"{name}_before{self.reach}", f"{name}_after{self.reach}") if self.reach else (name,)

    def values(self, moments: _Moments) -> Floats:
        days, back = np.unique(moments.days, return_inverse=True)
        years = _Moments(days[[0, -1]] * _DAY).year.tolist()
        free = np.array(holidays_of(self.country, self.subdivision, years[0], years[1]))
        far = days[[0, -1]] + np.array([-1, 1]) * (self.reach + 1)  # out of reach, so that no day lacks a neighbour
        free = np.unique(np.concatenate([free, far]))
        until = free[np.searchsorted(free, days, "left")] - days
        since = days - free[np.searchsorted(free, days, "right") - 1]
        near = np.maximum(0.0, 1 - np.stack([until, since], axis=1) / (self.reach + 1))
        return near[back, : len(self.columns)]

    def check(self, freq: str | int) -> None:
        if np.diff(_grid(str(freq))).min() > _DAY:
            raise ArgumentError(
                f"the feature {self.name!r} makes no sense at freq={freq!r}: holidays are days, and steps are longer; "
                f"count the holidays of each step in a known-future covariate instead"
            )
        known_years(self.country, self.subdivision)


def _parse(names: Sequence[str]) -> list[_Term]:
    """The features that the texts name; no two with the same column."""
    if isinstance(names, str):
        raise ArgumentError(f"calendar features are a list of names, got the text {names!r}; write [{names!r}]")
    terms = [_term(name) for name in names]
    owner: dict[str, str] = {}
    for term in terms:
        for column in term.columns:
            if column in owner:
                raise ArgumentError(f"the features {owner[column]!r} and {term.name!r} both give the column "
                                    f"{column!r}; keep one")  # fmt: skip
            owner[column] = term.name
    return terms


def _term(name: str) -> _Term:
    if not isinstance(name, str):
        raise ArgumentError(f"a calendar feature is named by a text such as 'hour' or 'day:3', got {name!r}")
    if name in _PLAIN:
        return _Plain(name)
    head, colon, tail = name.partition(":")
    if head == "holiday":
        place = re.fullmatch(r"([A-Z]{2,3})(?:-([^:]+))?(?::([1-9]\d?))?", tail)
        if not place:
            raise ArgumentError(
                f"cannot read the feature {name!r}; write 'holiday:US' for a country, 'holiday:US-DC' for a "
                f"subdivision, 'holiday:US:3' for the 3 days around"
            )
        return _Holiday(name, place[1], place[2] or "", int(place[3] or 0))
    if colon and (head in _CYCLES or re.fullmatch(r"[1-9]\d{0,11}", head)):
        if not re.fullmatch(r"[1-9]\d{0,2}", tail):
            raise ArgumentError(f"the feature {name!r} needs the number of harmonics, 1 to 999, after the colon: "
                                f"'{head}:3'")  # fmt: skip
        return _Fourier(name, head if head in _CYCLES else int(head), int(tail))
    if colon and _PLAIN.get(head, ("",))[0] in _CYCLES:
        raise ArgumentError(f"unknown feature {name!r}: a cycle is named by how long it lasts. Did you mean "
                            f"'{_PLAIN[head][0]}:{tail}'?")  # fmt: skip
    hint = nearest(head, [*_CYCLES, "holiday"]).replace("'?", f":{tail}'?") if colon else nearest(name, _PLAIN)
    raise ArgumentError(
        f"unknown feature {name!r}; known are {', '.join(_PLAIN)}, '<cycle>:<order>' with the cycles "
        f"{', '.join(_CYCLES)} (for integer time a number of units), and 'holiday:<country>'.{hint}"
    )


@lru_cache(maxsize=32)
def _grid(freq: str) -> Ints:
    """`[1500]` microseconds since 1970 of successive steps."""
    return pd.date_range("2000-01-01", periods=1500, freq=freq, unit="us").to_numpy().view(np.int64)


def _places(freq: str | int, cycle: str | int) -> int:
    """The number of different places in a cycle on which steps fall; in a month or year, the most that one holds."""
    if isinstance(freq, int) or isinstance(cycle, int):
        return int(cycle) // int(np.gcd(int(cycle), int(freq)))
    grid = _grid(freq)
    widths = np.unique(np.diff(grid)).tolist()
    if len(widths) == 1:
        if cycle in ("month", "year"):  # their lengths differ, so steps fall elsewhere each time
            return -(-_LENGTHS[cycle] // widths[0])
        return _LENGTHS[cycle] // int(np.gcd(_LENGTHS[cycle], widths[0]))
    moments = _Moments(grid)
    which = {"hour": grid // _HOUR, "day": moments.days, "week": (moments.days + 3) // 7,
             "month": moments.months, "year": moments.year}[cycle]  # fmt: skip
    return int(np.unique(which, return_counts=True)[1].max())
