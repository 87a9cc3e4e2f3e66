"""A job file, read strictly: YAML 1.2, no unknown keys, every error with its place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from forecast_kit.core.arguments import with_arguments
from forecast_kit.core.forecaster import Forecaster, find_forecaster
from forecast_kit.errors import ConfigError, ForecastKitError, nearest
from forecast_kit.evaluation.spaces import read_space
from forecast_kit.jobs.sections import (
    BacktestSection,
    DataSection,
    ExecutionSection,
    ForecasterName,
    ForecastSection,
    GateSection,
    JobName,
    MonitorSection,
    RegisterSection,
    ScheduleSection,
    SearchSection,
    Section,
    SinkSection,
    keys_of,
)


class JobConfig(Section):
    """A whole job.

    Attributes:
        name: of the MLflow experiment, and of files.
        data: the source.
        baselines, candidates: forecasters by the names they shall have, each a mapping with the key
            `forecaster` and the constructor's arguments; a candidate may have a `search`, see `SearchSection`. The
            best candidate is registered; it becomes champion if it beats all baselines.
        backtest: the folds.
        gate: what earns the promotion.
        register: the registered model.
        forecast, sink, monitor, schedule, execution: of batch jobs, see `forecast_kit.jobs.sections`.
        output: the folder for reports and pictures, and for the summaries of batch jobs.
        store: the embedded MLflow store's folder, where `MLFLOW_TRACKING_URI` is not set.
    """

    name: JobName
    data: DataSection
    baselines: dict[ForecasterName, dict[str, Any]]
    candidates: dict[ForecasterName, dict[str, Any]] = Field(min_length=1)
    backtest: BacktestSection
    gate: GateSection = GateSection()
    register_: RegisterSection = Field(alias="register")
    forecast: ForecastSection = ForecastSection()
    sink: SinkSection | None = None
    monitor: MonitorSection = MonitorSection()
    schedule: ScheduleSection = ScheduleSection()
    execution: ExecutionSection = ExecutionSection()
    output: Path = Path("forecasts")
    store: Path | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> JobConfig:
        both = sorted(set(self.baselines) & set(self.candidates))
        if both:
            raise ValueError(f"{both} stand in both 'baselines' and 'candidates'; give each forecaster its own name")
        reserved = [name for name in (*self.baselines, *self.candidates) if re.fullmatch(r"version \d+", name)]
        if reserved:
            raise ValueError(f"{reserved[0]!r} is what the registered champion is called where it is judged beside "
                             f"them; give the forecaster another name")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _within_the_champion_s_reach(self) -> JobConfig:
        asked, trained = self.forecast.horizon, self.backtest.horizon
        if asked is not None and asked > trained:
            raise ValueError(f"forecast.horizon is {asked}, but champions are trained and judged for a "
                             f"backtest.horizon of {trained}; make them equal")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _with_an_error_to_compare_with(self) -> JobConfig:
        if self.monitor.retrain.error_ratio is not None and self.gate.metric != "mase":
            raise ValueError(f"monitor.retrain.error_ratio compares with the MASE that a champion was promoted with, "
                             f"but gate.metric is {self.gate.metric!r}; make it mase, or use min_skill")  # fmt: skip
        return self

    def forecasters(self) -> dict[str, Forecaster]:
        """Baselines, then candidates, built; the backtest's horizon is theirs where they name none.

        Raises:
            ConfigError: a class or an argument is unknown or out of range.
        """
        return {
            name: build_forecaster(spec, where=f"{section}.{name}", backtest=self.backtest)
            for section, specs in (("baselines", self.baselines), ("candidates", self.candidates))
            for name, spec in specs.items()
        }

    def searches(self) -> dict[str, SearchSection]:
        """How arguments of candidates are found before they are judged, of those that have a `search`.

        Raises:
            ConfigError: a key is unknown, or nothing that could be drawn makes a forecaster.
        """
        made, found = self.forecasters(), {}
        for name, spec in self.candidates.items():
            if "search" in spec:
                where = f"candidates.{name}.search"
                try:
                    found[name] = SearchSection.model_validate(spec["search"])
                except ValidationError as error:
                    told = (_tell(problem, SearchSection) for problem in error.errors()[:5])
                    raise ConfigError(f"{where}: {'; '.join(told)}") from error
                _check_space(made[name], found[name].space, where)
        return found


def _check_space(forecaster: Forecaster, space: Mapping[str, Any], where: str) -> None:
    """Refuses a space of which neither the first nor the last draw makes a forecaster: a name is unknown."""
    axes = read_space(space)
    for k in (0, 1):
        # Of a range the second value is its other end, of choices any other one.
        drawn = {name: axis.values[min(k, len(axis.values) - 1)] for name, axis in axes.items()}
        try:
            with_arguments(forecaster, drawn)
        except ForecastKitError as error:
            refused = error
        else:
            return
    raise ConfigError(f"{where}.space: {refused}") from refused


def read_job(path: str | Path) -> JobConfig:
    """The job that a YAML file describes.

    Raises:
        ConfigError: the file cannot be read, or says something unknown, ill-typed or impossible; the
            message gives the place and the nearest valid name.
    """
    file = Path(path)
    try:
        document = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the job file {file}: {error}") from error
    except YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{file} must hold a mapping with the keys name, data, baselines, candidates, backtest and "
                          f"register; it holds {type(document).__name__}")  # fmt: skip
    try:
        config = JobConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{file}: " + "; ".join(_tell(problem) for problem in error.errors()[:5])) from error
    try:
        _ = config.data.panel_schema  # raises where it is none
        config.searches()  # builds the forecasters, too
    except ForecastKitError as error:
        raise ConfigError(f"{file}: {error}") from error
    return config


def build_forecaster(spec: Mapping[str, Any], *, where: str, backtest: BacktestSection) -> Forecaster:
    """The forecaster that a mapping with the key `forecaster` describes.

    Where the mapping leaves them out, the horizon is the backtest's, and the levels to learn take in
    the backtest's; the same holds for forecasters inside it, such as the members of an ensemble.

    Raises:
        ConfigError: see `JobConfig.forecasters`.
    """
    arguments = {key: value for key, value in spec.items() if key != "search" or not where.startswith("candidates.")}
    kind = arguments.pop("forecaster", None)
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: the key 'forecaster' must name a class, such as SeasonalNaive; got {kind!r}")
    try:
        cls = find_forecaster(kind)
        known = inspect.signature(cls).parameters
        for key in arguments:
            if key not in known:
                raise ConfigError(f"unknown key {key!r}; {kind} takes {', '.join(known)}.{nearest(str(key), known)}")
        if "horizon" in known:
            arguments.setdefault("horizon", backtest.horizon)
        if "levels" in known:
            arguments.setdefault("levels", sorted({*known["levels"].default, *backtest.levels}))
        return cls(**{key: _with_inner(value, f"{where}.{key}", backtest) for key, value in arguments.items()})
    except (ForecastKitError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _with_inner(value: Any, where: str, backtest: BacktestSection) -> Any:
    """The argument, with every mapping in it that describes a forecaster built."""
    if isinstance(value, Mapping):
        if "forecaster" in value:
            return build_forecaster(value, where=where, backtest=backtest)
        return {key: _with_inner(item, f"{where}.{key}", backtest) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_inner(item, f"{where}.{k}", backtest) for k, item in enumerate(value)]
    return value


def _section_at(place: list[str], section: type[BaseModel]) -> type[BaseModel]:
    """The section that a place in a job file, without its last key, lies in; places begin in the one given."""
    for key in place[:-1]:
        field = next((one for name, one in section.model_fields.items() if (one.alias or name) == key), None)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not found:
            break
        section = found[0]
    return section


def _tell(problem: Any, section: type[BaseModel] = JobConfig) -> str:
    """One pydantic problem as a sentence that begins with its place."""
    place = [str(part) for part in problem["loc"]]
    where = ".".join(place) or "job"
    if problem["type"] == "extra_forbidden":
        known = keys_of(_section_at(place, section))
        return f"unknown key {where!r}; known are {', '.join(known)}.{nearest(place[-1], known)}"
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    came = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{came}"
