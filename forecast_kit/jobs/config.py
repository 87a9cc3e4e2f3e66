"""A job file, read strictly: YAML 1.2, no unknown keys, every error with its place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from forecast_kit.core.arguments import with_arguments
from forecast_kit.core.extensions import import_modules
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.core.known import find_forecaster
from forecast_kit.errors import ConfigError, ForecastKitError, nearest
from forecast_kit.evaluation.spaces import read_space
from forecast_kit.jobs.sections import (
    BacktestSection,
    DataSection,
    ExecutionSection,
    ForecastSection,
    GateSection,
    MonitorSection,
    RegisterSection,
    ScheduleSection,
    SearchSection,
    SinkSection,
)
from forecast_kit.jobs.sections.base import File, ForecasterName, JobName, Section
from forecast_kit.jobs.sections.telling import told

__all__ = ["read_job", "JobConfig"]


def _imported(names: tuple[str, ...]) -> tuple[str, ...]:
    import_modules(names)
    return names


Imports = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_imported)]


class JobConfig(Section):
    """A whole job, as `read_job` makes it of a file.

    Attributes:
        name: of the MLflow experiment, and of files.
        imports: modules that bring cells, heads, metrics or forecasters of one's own; they are imported first, here and
            in every process that the job starts. They are looked for where Python looks and in the working directory.
        data: the source.
        baselines, candidates: forecasters by the names they shall have, each a mapping with the key
            `forecaster` and the constructor's arguments; a candidate may have a `search`, see `SearchSection`. The
            best candidate is registered; it becomes champion if it beats all baselines.
        backtest: the folds.
        gate: what earns the promotion.
        register_: the registered model; the key is `register`.
        forecast, sink, monitor, schedule, execution: of batch jobs, see `forecast_kit.jobs.sections`.
        output: the folder for reports and pictures, and for the summaries of batch jobs.
        store: the embedded MLflow store's folder, where `MLFLOW_TRACKING_URI` is not set; by default `.forecast_kit`.

    >>> job = JobConfig.model_validate({
    ...     "name": "demand",
    ...     "data": {"dataset": "hospital"},
    ...     "baselines": {"seasonal_naive": {"forecaster": "SeasonalNaive"}},
    ...     "candidates": {"theta": {"forecaster": "Theta"}},
    ...     "backtest": {"horizon": 6, "folds": 2},
    ...     "register": {"name": "demand"},
    ... })
    >>> {name: forecaster.horizon for name, forecaster in job.forecasters().items()}
    {'seasonal_naive': 6, 'theta': 6}
    """

    name: JobName
    imports: Imports = ()  # before all that may be called by a name that a module brings
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
    output: File = Path("forecasts")
    store: File | None = None

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
                    raise ConfigError(f"{where}: {told(error, SearchSection)}") from error
                _check_space(made[name], found[name].space, where)
        return found


def _check_lapses(config: JobConfig) -> None:
    """Refuses lapses of the other kind of time than the data's: `30D` of numbered steps, or 720 of whatever."""
    freq, rules = config.data.panel_schema.freq, config.monitor.retrain
    for name, value in (("max_age", rules.max_age), ("cooldown", rules.cooldown)):
        if value is not None and isinstance(value, int) != isinstance(freq, int):
            wanted = "a whole number of its units" if isinstance(freq, int) else "a lapse such as 30D or 36h"
            raise ConfigError(f"monitor.retrain.{name}: with freq={freq!r} time is "
                              f"{'numbered' if isinstance(freq, int) else 'told by stamps'}, so write {wanted}; got "
                              f"{value!r}")  # fmt: skip


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
    """The job that a YAML file describes. Forecasters are built to check their arguments; data are not looked for.

    Args:
        path: of the file, in UTF-8.

    Raises:
        ConfigError: the file cannot be read, or says something unknown, ill-typed or impossible; the
            message gives the place and the nearest valid name.

    >>> from pathlib import Path
    >>> text = '''
    ... name: demand
    ... data: {dataset: hospital}
    ... baselines: {seasonal_naive: {forecaster: SeasonalNaive}}
    ... candidates: {theta: {forecaster: Theta}}
    ... backtest: {horizon: 6, folds: 2}
    ... register: {name: demand}
    ... '''
    >>> written = Path("job.yaml").write_text(text)
    >>> read_job("job.yaml").backtest.folds
    2
    >>> written = Path("job.yaml").write_text(text.replace("folds", "fold"))
    >>> read_job("job.yaml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    forecast_kit.errors.ConfigError: job.yaml: unknown key 'backtest.fold'; known are ... Did you mean 'folds'?
    """
    file = Path(path)
    try:
        document = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the job file {file}: {error}") from error
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise ConfigError(f"{file} says a key twice, at line {line}: {error.problem}; leave one of them out") from error
    except YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{file} must hold a mapping with the keys name, data, baselines, candidates, backtest and "
                          f"register; it holds {type(document).__name__}")  # fmt: skip
    try:
        config = JobConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{file}: {told(error, JobConfig)}") from error
    try:
        _check_lapses(config)
        config.searches()  # builds the forecasters, too
    except ForecastKitError as error:
        raise ConfigError(f"{file}: {error}") from error
    return config


def build_forecaster(spec: Mapping[str, Any], *, where: str, backtest: BacktestSection) -> Forecaster:
    """The forecaster that a mapping with the key `forecaster` describes.

    Where the mapping leaves them out, the horizon is the backtest's, and the levels to learn take in
    the backtest's; the same holds for forecasters inside it, such as the members of an ensemble.

    Args:
        spec: the class' name under `forecaster`, and the constructor's arguments.
        where: the place in the job file, for errors.
        backtest: of the job.

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
