"""What the columns of a frame mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints
from zoneinfo import available_timezones

from forecast_kit.data.calendar import check_features
from forecast_kit.data.frequency import default_season_length, is_subdaily, normalize_frequency
from forecast_kit.errors import ArgumentError, SchemaError, name_some, nearest


@dataclass(frozen=True)
class PanelSchema:
    """The roles of a frame's columns, and the frequency of its time stamps.

    Args:
        freq: a pandas offset alias (`"h"`, `"MS"`, `"B"`, ...), or the whole number of time units
            in a step where the time column holds integers. Stated, never guessed.
        season_length: steps in a season, used by seasonal forecasters and by MASE; by default what
            the frequency suggests (24 for `"h"`, 12 for `"MS"`, 1 for integers).
        static: columns of a frame of their own, one row a series, that do not change in time.
        past: columns known up to the cutoff only.
        future: columns known ahead of time (weather forecasts, holidays, prices).
        categorical: which of the static, past and future columns hold categories (text, whole numbers
            or booleans) and not quantities. Models learn their vocabulary from the training part; a
            category that was not in it is one of "never seen".
        calendar: features that are computed from the time stamps, for past and future steps, such as
            `("hour", "week:3", "holiday:US")`; see `forecast_kit.data.calendar`. Where `timezone` is
            stated they tell the clock on the wall.
        duplicates: what several rows of one series and stamp mean. `"error"` refuses them; `"first"` and
            `"last"` keep one in the order given, also where its target is empty; `"mean"` and `"sum"` combine
            the targets that are not empty (covariates are averaged, of a category the first counts).
        gaps: what a missing target means, whether its row is absent or its value empty. `"error"`
            refuses it. `"mask"` marks it unobserved: forecasters carry the last observed value there,
            networks see that it is not real, losses and metrics leave it out. `"zero"`, `"ffill"` and
            `"interpolate"` (linear) fill it, and what they fill counts as observed; a gap that a
            cutoff divides is carried forward up to it, as nobody could have known more. Rows before
            the first value are cut off, but under `"zero"`, where they are 0.
        infinite: `"error"` refuses infinite values, `"missing"` takes them for missing ones.
        covariate_gaps: what a missing value of a past or future covariate becomes: `"error"` refuses it,
            `"ffill"` carries the last value (a series must begin with one), `"zero"` says 0, or of a
            category "missing".
        empty_series: `"error"` refuses series without a single target value, `"drop"` leaves them out.
        timezone: the zone whose wall clock stamps without a zone show, such as `"Europe/Berlin"`. Stamps
            of hours or less become UTC, so that every step is equally long: the hour that the clock
            skips in spring is no gap, and the one it shows twice in autumn no duplicate. Stamps that
            carry a zone need no statement. Days and longer steps become dates, without a zone: of stamps
            that carry one what the clock on the wall of this zone shows; without a statement they must be
            at midnight in the zone that they carry. Frames of shorter steps that come back have stamps in
            this zone; without a statement they are UTC, without a zone.
        id_col, time_col, target_col: the names of the three columns that every panel has.

    Raises:
        SchemaError: the frequency is unknown, or a column has two roles.

    >>> PanelSchema(freq="H").season_length
    24
    """

    freq: str | int
    season_length: int = 0
    static: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    duplicates: Literal["error", "first", "last", "mean", "sum"] = "error"
    gaps: Literal["error", "mask", "zero", "ffill", "interpolate"] = "error"
    infinite: Literal["error", "missing"] = "error"
    covariate_gaps: Literal["error", "ffill", "zero"] = "error"
    empty_series: Literal["error", "drop"] = "error"
    timezone: str | None = None
    id_col: str = "unique_id"
    time_col: str = "ds"
    target_col: str = "y"

    def __post_init__(self) -> None:
        object.__setattr__(self, "freq", normalize_frequency(self.freq))
        if not isinstance(self.season_length, int) or self.season_length < 0:
            raise SchemaError(f"season_length must be a whole number of steps, got {self.season_length!r}")
        if self.season_length == 0:
            object.__setattr__(self, "season_length", default_season_length(self.freq))
        for policy in ("duplicates", "gaps", "infinite", "covariate_gaps", "empty_series"):
            allowed = get_args(get_type_hints(type(self))[policy])
            if getattr(self, policy) not in allowed:
                raise SchemaError(f"{policy} must be one of {name_some(allowed)}, got {getattr(self, policy)!r}")
        if self.timezone is not None and self.timezone not in available_timezones():
            raise SchemaError(
                f"unknown timezone {self.timezone!r}; use a name of the tz database such as 'Europe/Berlin' or "
                f"'UTC'.{nearest(str(self.timezone), available_timezones())}"
            )
        for role in ("static", "past", "future", "categorical", "calendar"):
            columns = getattr(self, role)
            if isinstance(columns, str):
                raise SchemaError(f"{role} takes a list of column names, got the text {columns!r}")
            object.__setattr__(self, role, tuple(columns))
        names = [self.id_col, self.time_col, self.target_col, *self.static, *self.past, *self.future]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SchemaError(f"each column has one role, but these have two: {name_some(twice)}")
        covariates = (*self.static, *self.past, *self.future)
        for name in self.categorical:
            if name not in covariates:
                raise SchemaError(f"categorical names {name!r}, which is no covariate; name it in static, past or "
                                  f"future too.{nearest(str(name), covariates)}")  # fmt: skip
        try:
            check_features(self.calendar, self.freq)
        except ArgumentError as error:
            raise SchemaError(f"calendar: {error}") from error

    @property
    def zone(self) -> str | None:
        """The zone that stamps are shown in, where steps are shorter than a day and one was stated."""
        return self.timezone if is_subdaily(self.freq) else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the long frame must have, in order."""
        return (self.id_col, self.time_col, self.target_col, *self.past, *self.future)

    def changed(self, **values: Any) -> PanelSchema:
        """The schema with other values of some fields. A season that the frequency suggested changes with it.

        Raises:
            SchemaError: a key is unknown, or a value is none that the field takes.

        >>> hourly = PanelSchema(freq="h", gaps="mask")
        >>> daily = hourly.changed(freq="D")
        >>> daily.season_length, daily.gaps
        (7, 'mask')
        """
        kept = self.to_dict()
        if "freq" in values and self.season_length == default_season_length(self.freq):
            del kept["season_length"]
        return self.from_dict({**kept, **values})

    def to_dict(self) -> dict[str, Any]:
        """The schema as JSON can hold it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PanelSchema:
        """The schema that `to_dict` wrote, or that a user typed.

        Raises:
            SchemaError: a key is unknown, or `freq` is missing.
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise SchemaError(
                    f"unknown schema key {key!r}; known are {', '.join(known)}.{nearest(str(key), known)}"
                )
        if "freq" not in values:
            raise SchemaError("the schema lacks freq: state the frequency of the time stamps, such as 'h' or 'MS'")
        return cls(**values)
