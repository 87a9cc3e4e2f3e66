"""The sections of a job file, each a strict model: no unknown keys, no silent conversions."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.datasets import load
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import nearest
from forecast_kit.evaluation.gate import Gate
from forecast_kit.evaluation.spaces import read_space

VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")  # of the environment, as a job file mentions it
_SECRET_KEYS = re.compile(r"secret|password|token|(^|_)key$", re.IGNORECASE)
_LONGEST_NAME = 180  # bytes: file systems take 255, of which an as-of and endings need some
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def _without_password(url: str) -> str:
    """The URL, which must not hold a password that everybody who reads the file would read."""
    if "://" not in url and not VARIABLE.fullmatch(url.strip()):
        raise ValueError("this is no URL of SQLAlchemy's; write such as sqlite:///demand.db, "
                         "postgresql+psycopg://user:${DB_PASSWORD}@host/base, or ${DEMAND_DB}")  # fmt: skip
    # A variable in place of the password is what is asked for; its braces would confuse the parser of URLs.
    password = urlsplit(VARIABLE.sub("", url)).password
    if password:
        raise ValueError("the URL holds a password in plain text; write ${NAME} in its place and set that "
                         "environment variable where the job runs")  # fmt: skip
    return url


def _without_secrets(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a file system, whose keys and tokens must come from the environment."""
    for key, value in options.items():
        if _SECRET_KEYS.search(key) and isinstance(value, str) and not VARIABLE.fullmatch(value):
            raise ValueError(f"{key!r} holds a secret in plain text; write ${{NAME}} in its place and set that "
                             f"environment variable where the job runs")  # fmt: skip
    return options


def _whole_lapse(value: str | int) -> str | int:
    """A lapse of time: text that pandas takes, such as `30D`, or a whole number of steps where time is numbered."""
    if isinstance(value, str):
        try:
            lapse = pd.Timedelta(value)
        except ValueError as error:
            raise ValueError(f"write a lapse of time such as 30D or 36h: {error}") from error
        if lapse <= pd.Timedelta(0):
            raise ValueError("a lapse of time must be longer than nothing")
    elif value < 1:
        raise ValueError("a lapse of time must be at least 1 step")
    return value


def _plain_name(name: str) -> str:
    """A name that MLflow, file systems and logs take as it is."""
    if not name.isprintable() or name.strip() != name or name in ("", ".", ".."):
        raise ValueError(f"a name is printable text without blanks around, and no '.' or '..'; got {name!r}")
    return name


def _name_of_files(name: str) -> str:
    """The name, which files are called by."""
    if "/" in name or "\\" in name or name.startswith("."):
        raise ValueError(f"summaries and reports are files of that name, which takes no slash or backslash and begins "
                         f"with no dot; got {name!r}")  # fmt: skip
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"summaries and reports are files of that name, which may have {_LONGEST_NAME} bytes; it has "
                         f"{len(name.encode())}")  # fmt: skip
    return name


JobName = Annotated[str, AfterValidator(_plain_name), AfterValidator(_name_of_files)]
ForecasterName = Annotated[str, AfterValidator(_plain_name), Field(max_length=100)]
# As `forecast_kit.mlflow.naming.check_name`, which cannot be asked here: a job file is checked without MLflow.
ModelName = Annotated[str, Field(pattern=r"^[^/\\:@?'\"]+$", max_length=256), AfterValidator(_plain_name)]
SecretUrl = Annotated[str, AfterValidator(_without_password)]
Storage = Annotated[dict[str, Any], AfterValidator(_without_secrets)]
Lapse = Annotated[str | int, AfterValidator(_whole_lapse)]


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SqlSource(Section):
    """A query of a database.

    Attributes:
        url: SQLAlchemy's; `${NAME}` in it is an environment variable.
        query: gives the columns of the schema; `:as_of` in it is the moment that the job pretends is now.
    """

    url: SecretUrl
    query: str


class DataSection(Section):
    """Where the data come from, and what their columns mean.

    Attributes:
        dataset: a bundled set.
        path: Parquet or CSV: a file, a folder, a pattern such as `sales/*.parquet`, or a URL such as
            `s3://bucket/sales/*.parquet`, for which the file system's package must be installed.
        sql: a query of a database.
        static: a file of static covariates, one row a series.
        storage: options of the URL's file system, see fsspec; `${NAME}` in them is an environment variable.
        columns: the schema, with its policies for duplicates, gaps and the like.
        series: how many of the series to take, evenly spread; all by default.
    """

    dataset: str | None = None
    path: str | None = None
    sql: SqlSource | None = None
    static: str | None = None
    storage: Storage = {}
    columns: dict[str, Any] | None = Field(default=None, alias="schema")
    series: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if sum(source is not None for source in (self.dataset, self.path, self.sql)) != 1:
            raise ValueError("name one of 'dataset' (a bundled set), 'path' (CSV or Parquet files) and 'sql' (a query)")
        if self.dataset is None and self.columns is None:
            raise ValueError("a file or query needs a 'schema' that states at least freq, such as {freq: h}")
        return self

    @property
    def panel_schema(self) -> PanelSchema:
        """What the columns mean; of a bundled set its own schema, changed where the section says so.

        Raises:
            SchemaError, ArgumentError: the schema is wrong, or there is no such set.
        """
        own = {} if self.dataset is None else load(self.dataset).schema.to_dict()
        return PanelSchema.from_dict({**own, **(self.columns or {})})


class BacktestSection(Section):
    """The folds, the same for all (see `RollingOrigin` and `backtest`), and the quantile levels to score."""

    horizon: int = Field(ge=1)
    folds: int = Field(default=1, ge=1)
    step: int | None = Field(default=None, ge=1)
    gap: int = Field(default=0, ge=0)
    window: int | None = Field(default=None, ge=1)
    embargo: int = Field(default=0, ge=0)
    align: Literal["series", "calendar"] = "series"
    refit: int | None = Field(default=1, ge=1)
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    @model_validator(mode="after")
    def _fold_as_they_must(self) -> BacktestSection:
        _ = self.splitter  # raises where the numbers do not fit each other
        return self

    @property
    def splitter(self) -> RollingOrigin:
        """The folds."""
        return RollingOrigin(
            self.horizon, folds=self.folds, step=self.step, gap=self.gap, window=self.window, embargo=self.embargo,
            align=self.align,
        )  # fmt: skip


class SearchSection(Section):
    """How arguments of a candidate are found, before it is judged; see `forecast_kit.evaluation.search.search`.

    The search sees what lies before the first fold of the backtest alone, so that the folds judge what they did not
    help to choose.

    Attributes:
        space: by argument's name, such as `training__learning_rate`, what to draw it from.
        trials: how many draws.
        timeout: after which no trial is begun, such as `2h`.
        folds: over which each draw is judged.
        seed: of the draws.
    """

    space: dict[str, list[Any]] = Field(min_length=1)
    trials: int = Field(default=20, ge=1, le=1000)
    timeout: str | None = None
    folds: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> SearchSection:
        read_space(self.space)  # raises where something cannot be drawn from
        if self.timeout is not None:
            _whole_lapse(self.timeout)
        return self

    @property
    def timeout_s(self) -> float | None:
        """The same in seconds."""
        return None if self.timeout is None else pd.Timedelta(self.timeout).total_seconds()


class GateSection(Section):
    """What the best candidate must show to become champion; see `forecast_kit.evaluation.gate.Gate`."""

    metric: str = "mase"
    min_skill: float = 0.0
    min_gain: float = 0.0
    significance: float | None = None
    group_by: str | None = None
    max_group_loss: float | None = None
    max_latency_s: float | None = None

    @model_validator(mode="after")
    def _as_the_gate_wants(self) -> GateSection:
        _ = self.gate  # raises where a value is out of range
        return self

    @property
    def gate(self) -> Gate:
        """The gate itself."""
        return Gate(**self.model_dump())


class RegisterSection(Section):
    """The registered model's name, and whether its artefact keeps the last rows of the series."""

    name: ModelName
    history: bool = False


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
    """

    horizon: int | None = Field(default=None, ge=1)
    levels: tuple[float, ...] | None = None
    max_delay: int | None = Field(default=None, ge=0)
    stale: Literal["fallback", "drop"] = "fallback"
    max_range: float = Field(default=10.0, gt=0)
    max_fallback: float = Field(default=0.1, ge=0, le=1)


class SqlSink(Section):
    """A table of a database, made if need be; scores and checks go to tables named after it.

    Attributes:
        url: SQLAlchemy's; `${NAME}` in it is an environment variable.
        table: its name; `forecasts` makes `forecasts`, `forecasts_scores` and `forecasts_checks`.
    """

    url: SecretUrl
    table: str = Field(default="forecasts", pattern=r"^[A-Za-z_]\w{0,50}(\.[A-Za-z_]\w{0,50})?$")


class SinkSection(Section):
    """Where a batch job writes forecasts, scores and checks.

    Attributes:
        path: a folder or URL; `forecasts/as_of=2024-07-01/forecasts.parquet` and the like appear in it.
        format: of the files.
        sql: a database instead.
        storage: options of the URL's file system, see fsspec; `${NAME}` in them is an environment variable.
    """

    path: str | None = None
    format: Literal["parquet", "csv"] = "parquet"
    sql: SqlSink | None = None
    storage: Storage = {}

    @model_validator(mode="after")
    def _one_sink(self) -> SinkSection:
        if (self.path is None) == (self.sql is None):
            raise ValueError("name either 'path' (a folder or URL) or 'sql' (a database)")
        return self


class RetrainSection(Section):
    """The rules that ask for a training; each is off unless it is given, and any that fires is enough.

    Attributes:
        max_age: how old the champion's training may be, such as `30D`, or units where time is numbered.
        error_ratio: how many times the MASE of its backtest the MASE of the champion's last runs may be, such as 1.3.
        min_skill: the least skill over the seasonal naive forecast of the same days.
        drift: how many times as far as ever in training an input may move, such as 1.5; see `drift.input_drift`.
        cooldown: how long after a training there is no other.
    """

    max_age: Lapse | None = None
    error_ratio: float | None = Field(default=None, gt=1)
    min_skill: float | None = Field(default=None, lt=1)
    drift: float | None = Field(default=None, gt=0)
    cooldown: Lapse | None = None


class MonitorSection(Section):
    """What is watched from run to run.

    Attributes:
        window: how many of the champion's last scored runs a rule looks at, and for drift how many seasons.
        look_back: how many of the last runs are scored, as long as steps of theirs have not come true.
        retrain: the rules.
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


def keys_of(section: type[BaseModel]) -> list[str]:
    """The keys of a section as a job file writes them."""
    return [field.alias or name for name, field in section.model_fields.items()]
