"""The sections of a job file that batch jobs have besides: forecast, sink, monitor, schedule, execution."""

from __future__ import annotations

from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, model_validator

from forecast_kit.errors import nearest
from forecast_kit.jobs.sections.base import Lapse, Levels, SecretUrl, Section, Storage

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class ForecastSection(Section):
    """What a batch job forecasts, and when a series falls back to the seasonal naive forecast.

    Attributes:
        horizon: steps from `--as-of` on; by default the backtest's.
        levels: quantile levels; by default the backtest's.
        max_delay: steps that a series' last value may lie before `--as-of`; the champion forecasts across them. By
            default as many as the horizon.
        stale: what becomes of series whose last value is older: `fallback` forecasts them by the seasonal naive
            method, `drop` leaves them out.
        max_range: a forecast that leaves the range of a series' history by more than so many times that range has
            exploded.
        max_fallback: the share of series that may fall back before the job ends with exit code 3.

    >>> print(ForecastSection(levels=[0.1, 0.9], max_delay=2, stale="drop"))
    horizon=None levels=(0.1, 0.9) max_delay=2 stale='drop' max_range=10.0 max_fallback=0.1
    """

    horizon: int | None = Field(default=None, ge=1)
    levels: Levels | None = None
    max_delay: int | None = Field(default=None, ge=0)
    stale: Literal["fallback", "drop"] = "fallback"
    max_range: float = Field(default=10.0, gt=0)
    max_fallback: float = Field(default=0.1, ge=0, le=1)


class SqlSink(Section):
    """A table of a database, made if need be; scores and checks go to tables named after it.

    Attributes:
        url: SQLAlchemy's; `${NAME}` in it is an environment variable.
        table: its name, perhaps with a schema before it; `forecasts` makes `forecasts`, `forecasts_scores` and
            `forecasts_checks`.

    >>> SqlSink(url="postgresql+psycopg://writer:${DB_PASSWORD}@db.example.com/shop", table="demand.forecasts").table
    'demand.forecasts'
    """

    url: SecretUrl
    table: str = Field(default="forecasts", pattern=r"^[A-Za-z_]\w{0,50}(\.[A-Za-z_]\w{0,50})?$")


class SinkSection(Section):
    """Where a batch job writes forecasts, scores and checks: one of `path` and `sql`.

    Attributes:
        path: a folder or URL; `forecasts/as_of=2024-07-01/forecasts.parquet` and the like appear in it.
        format: of the files.
        sql: a database instead.
        storage: options of the URL's file system, see fsspec; `${NAME}` in them is an environment variable.

    >>> from forecast_kit import PanelSchema
    >>> from forecast_kit.jobs.sinks import open_sink
    >>> open_sink(SinkSection(path="demand_forecasts", format="csv"), PanelSchema(freq="D")).describe()
    'demand_forecasts (csv)'
    >>> SinkSection(path="s3://shop/forecasts", storage={"secret": "seven"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for SinkSection
    storage
      Value error, 'secret' holds a secret in plain text; write ${NAME} in its place and set that environment ...
    """

    path: str | None = None
    format: Literal["parquet", "csv"] = "parquet"
    sql: SqlSink | None = None
    storage: Storage = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_sink(self) -> SinkSection:
        if (self.path is None) == (self.sql is None):
            raise ValueError("name either 'path' (a folder or URL) or 'sql' (a database)")
        return self


class RetrainSection(Section):
    """The rules that ask for a training; each is off unless it is given, and any that fires is enough.

    Attributes:
        max_age: how old the champion's training may be, such as `30D`; where time is numbered a number, in its units.
        error_ratio: how many times the MASE of its backtest the MASE of the champion's last runs may be, such as 1.3.
        min_skill: the least skill over the seasonal naive forecast of the same days.
        drift: how many times as far as ever in training an input may move, such as 1.5; it is judged from seven steps
            after the training on (a season, where that is shorter), see `drift.input_drift`.
        cooldown: how long after a training there is no other. A rollback counts as one, by the clock, where time is
            not numbered: else the old version's age would ask for a training the next night.

    >>> print(RetrainSection(max_age="30D", error_ratio=1.3))
    max_age='30D' error_ratio=1.3 min_skill=None drift=None cooldown=None
    """

    max_age: Lapse | None = None
    error_ratio: float | None = Field(default=None, gt=1)
    min_skill: float | None = Field(default=None, lt=1)
    drift: float | None = Field(default=None, gt=0)
    cooldown: Lapse | None = None


class MonitorSection(Section):
    """What is watched from run to run.

    Attributes:
        window: how many of the champion's last scored runs a rule looks at, and for drift how many seasons at most.
        look_back: how many of the last runs are scored, as long as steps of theirs have not come true.
        retrain: the rules.

    >>> section = MonitorSection(window=14, retrain={"min_skill": 0.0, "cooldown": "7D"})
    >>> section.look_back, section.retrain.cooldown
    (30, '7D')
    """

    window: int = Field(default=7, ge=1)
    look_back: int = Field(default=30, ge=1)
    retrain: RetrainSection = RetrainSection()


class ScheduleSection(Section):
    """When the job runs; `forecast-kit schedule` makes units of it.

    Attributes:
        every: how often; also what `--as-of` is rounded down to where it is not given.
        at: the time of day; of `hour`, the minutes count alone.
        on: the weekday of `week` (`Mon`), the day of `month` (1 to 28).
        timezone: of `at`.

    >>> from forecast_kit.jobs.scheduling import cron_fields
    >>> cron_fields(ScheduleSection(every="week", at="05:30", on="Sat", timezone="Europe/Berlin"))
    '30 5 * * 6'
    >>> ScheduleSection(every="day", on="Sat")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for ScheduleSection
      Value error, 'on' has no meaning where every is 'day'; leave it out ...
    """

    every: Literal["hour", "day", "week", "month"] = "day"
    at: str = Field(default="05:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    on: str | int | None = None
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _possible(self) -> ScheduleSection:
        if self.timezone not in available_timezones():
            raise ValueError(f"unknown timezone {self.timezone!r}; use a name such as 'Europe/Berlin' or "
                             f"'UTC'.{nearest(self.timezone, available_timezones())}")  # fmt: skip
        if self.every in ("hour", "day") and self.on is not None:
            raise ValueError(f"'on' has no meaning where every is {self.every!r}; leave it out")
        if self.every == "week" and self.on not in (None, *WEEKDAYS):
            raise ValueError(f"on must be one of {', '.join(WEEKDAYS)}, got {self.on!r}")
        if self.every == "month" and not (self.on is None or (isinstance(self.on, int) and 1 <= self.on <= 28)):
            raise ValueError(f"on must be a day from 1 to 28, which every month has; got {self.on!r}")
        return self


class ExecutionSection(Section):
    """How series are forecast: in chunks, one after another, by processes of this machine, or by a Ray cluster.

    Attributes:
        mode: `serial`, `processes` or `ray`.
        workers: processes or Ray tasks at a time; by default as many as there are processors.
        chunk: series at a time; what a worker holds in memory grows with it.
        address: of a Ray cluster; by default one is started on this machine.

    >>> ExecutionSection(mode="processes", workers=4).chunk
    2000
    >>> ExecutionSection(workers=4)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for ExecutionSection
      Value error, 'workers' has no meaning where mode is 'serial'; leave it out, or say mode: processes ...
    """

    mode: Literal["serial", "processes", "ray"] = "serial"
    workers: int | None = Field(default=None, ge=1)
    chunk: int = Field(default=2000, ge=1)
    address: str | None = None

    @model_validator(mode="after")
    def _fitting(self) -> ExecutionSection:
        if self.mode == "serial" and self.workers is not None:
            raise ValueError("'workers' has no meaning where mode is 'serial'; leave it out, or say mode: processes")
        if self.mode != "ray" and self.address is not None:
            raise ValueError("'address' is that of a Ray cluster; say mode: ray, or leave it out")
        return self
