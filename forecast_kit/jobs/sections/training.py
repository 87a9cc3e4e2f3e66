"""The sections of a job file that say what is trained and judged: data, backtest, search, gate, register."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.datasets import load
from forecast_kit.data.schema import PanelSchema
from forecast_kit.evaluation.gate import Gate
from forecast_kit.evaluation.spaces import read_space
from forecast_kit.jobs.sections.base import Levels, ModelName, SecretUrl, Section, Storage, whole_lapse


class SqlSource(Section):
    """A query of a database.

    Attributes:
        url: SQLAlchemy's; `${NAME}` in it is an environment variable.
        query: gives the columns of the schema; `:as_of` in it is the moment that the job pretends is now.

    >>> query = "select store as unique_id, hour as ds, sold as y from sales where hour < :as_of"
    >>> SqlSource(url="postgresql+psycopg://reader:${DB_PASSWORD}@db.example.com/shop", query=query).url
    'postgresql+psycopg://reader:${DB_PASSWORD}@db.example.com/shop'
    >>> SqlSource(url="postgresql+psycopg://reader:seven@db.example.com/shop", query=query)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for SqlSource
    url
      Value error, the URL holds a password in plain text; write ${NAME} in its place and set that environment ...
    """

    url: SecretUrl
    query: str


class DataSection(Section):
    """Where the data come from, and what their columns mean: one of `dataset`, `path` and `sql`.

    Attributes:
        dataset: a bundled set.
        path: Parquet or CSV: a file, a folder, a pattern such as `sales/*.parquet`, or a URL such as
            `s3://bucket/sales/*.parquet`, for which the file system's package must be installed.
        sql: a query of a database.
        static: a file of static covariates, one row a series.
        storage: options of the URL's file system, see fsspec; `${NAME}` in them is an environment variable.
        columns: what the columns mean, by `PanelSchema`'s arguments, among them the policies for duplicates, gaps and
            the like; the key is `schema`. Of a bundled set only what shall differ from its own.
        series: how many of the series to take, evenly spread; all by default.

    >>> data = DataSection(path="sales/*.parquet", schema={"freq": "h", "id_col": "store", "gaps": "zero"})
    >>> data.panel_schema.id_col, data.panel_schema.season_length
    ('store', 24)
    >>> DataSection(path="sales/*.parquet")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for DataSection
      Value error, a file or query needs a 'schema' that states at least freq, such as {freq: h} ...
    """

    dataset: str | None = None
    path: str | None = None
    sql: SqlSource | None = None
    static: str | None = None
    storage: Storage = Field(default_factory=dict)
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
    """The folds, the same for all (see `RollingOrigin` and `backtest`), and the quantile levels to score.

    Attributes:
        horizon: steps that are forecast and judged at each cutoff.
        folds: number of cutoffs.
        step: steps from one cutoff to the next; by default the horizon.
        gap: steps between a cutoff and the first that is judged.
        window: most steps to train on; by default all there are.
        embargo: the last steps before a cutoff that training may not see.
        align: where cutoffs are counted from: `series`, each series' own end, or `calendar`, the panel's.
        refit: after how many folds a forecaster is fitted again; null for never.
        levels: probabilities of the quantiles to forecast and to score, each between 0 and 1.

    >>> section = BacktestSection(horizon=24, folds=3, step=12)
    >>> section.splitter.needed  # rows of each series that lie after the first cutoff
    48
    >>> section.levels
    (0.1, 0.5, 0.9)
    """

    horizon: int = Field(ge=1)
    folds: int = Field(default=1, ge=1)
    step: int | None = Field(default=None, ge=1)
    gap: int = Field(default=0, ge=0)
    window: int | None = Field(default=None, ge=1)
    embargo: int = Field(default=0, ge=0)
    align: Literal["series", "calendar"] = "series"
    refit: int | None = Field(default=1, ge=1)
    levels: Levels = (0.1, 0.5, 0.9)

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
        space: by argument's name, such as `training__learning_rate`, what to draw it from: a list of choices, or of
            `int`, `float`, `log` or `log_int` and the two ends.
        trials: how many draws, at most 1000.
        timeout: after which no trial is begun, such as `2h`.
        folds: over which each draw is judged.
        seed: of the draws.

    >>> space = {"network__units": [16, 32, 64], "training__learning_rate": ["log", 0.0003, 0.03]}
    >>> SearchSection(space=space, timeout="30min").timeout_s
    1800.0
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
            whole_lapse(self.timeout)
        return self

    @property
    def timeout_s(self) -> float | None:
        """The timeout in seconds."""
        return None if self.timeout is None else pd.Timedelta(self.timeout).total_seconds()


class GateSection(Section):
    """What the best candidate must show to become champion; see `forecast_kit.evaluation.gate.Gate`.

    Attributes:
        metric: the score that counts; one of which less is better.
        min_skill: the least `1 - score / best baseline's score`.
        min_gain: the least `1 - score / champion's score`.
        significance: the largest p-value of those differences; by default none is asked.
        group_by: a static covariate, or `unique_id`, by which series are grouped; it goes with `max_group_loss`.
        max_group_loss: the share by which the score may be worse than the champion's in any group.
        max_latency_s: the most seconds that one forecast of everything may take.

    >>> GateSection(min_skill=0.05).gate.min_skill
    0.05
    >>> GateSection(group_by="region")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for GateSection
      Value error, group_by and max_group_loss go together: by what, and how much worse a group may be; got ...
    """

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
    """The registered model.

    Attributes:
        name: of the model in MLflow's registry; `models:/<name>@champion` is what forecasts.
        history: whether the artefact keeps the last rows of the series, so that it can forecast without data.

    >>> RegisterSection(name="demand")
    RegisterSection(name='demand', history=False)
    """

    name: ModelName
    history: bool = False
