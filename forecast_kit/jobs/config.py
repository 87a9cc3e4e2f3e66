"""A job file, read strictly: YAML 1.2, no unknown keys, every error with its place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from forecast_kit.core.forecaster import Forecaster, find_forecaster
from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ConfigError, ForecastKitError, nearest
from forecast_kit.evaluation.gate import Gate


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class DataSection(_Section):
    """Where the data come from: a bundled set, or a CSV or Parquet file with its schema."""

    dataset: str | None = None
    path: Path | None = None
    static: Path | None = None
    columns: dict[str, Any] | None = Field(default=None, alias="schema")
    series: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("name either 'dataset' (a bundled set) or 'path' (a CSV or Parquet file)")
        if self.path is not None and self.columns is None:
            raise ValueError("a file needs a 'schema' that states at least freq, such as {freq: h}")
        return self


class BacktestSection(_Section):
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


class GateSection(_Section):
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


class RegisterSection(_Section):
    """The registered model's name, and whether its artefact keeps the last rows of the series."""

    name: str = Field(pattern=r"^[^/:@?'\"]+$", max_length=256)
    history: bool = False


class JobConfig(_Section):
    """A whole job.

    Attributes:
        name: of the MLflow experiment.
        data: the source.
        baselines, candidates: forecasters by the names they shall have, each a mapping with the key
            `forecaster` and the constructor's arguments. The best candidate is registered; it
            becomes champion if it beats all baselines.
        backtest: the folds.
        gate: what earns the promotion.
        register: the registered model.
        output: the folder for forecasts and pictures.
        store: the embedded MLflow store's folder, where `MLFLOW_TRACKING_URI` is not set.
    """

    name: str
    data: DataSection
    baselines: dict[str, dict[str, Any]]
    candidates: dict[str, dict[str, Any]] = Field(min_length=1)
    backtest: BacktestSection
    gate: GateSection = GateSection()
    register_: RegisterSection = Field(alias="register")
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
        if config.data.columns is not None:
            PanelSchema.from_dict(config.data.columns)
        config.forecasters()
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
    arguments = dict(spec)
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


_SECTIONS: dict[str, type[_Section]] = {
    "data": DataSection, "backtest": BacktestSection, "gate": GateSection, "register": RegisterSection,
}  # fmt: skip


def _keys(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _tell(problem: Any) -> str:
    """One pydantic problem as a sentence that begins with its place."""
    place: Iterable[str] = [str(part) for part in problem["loc"]]
    where = ".".join(place) or "job"
    if problem["type"] == "extra_forbidden":
        parts = list(place)
        known = _keys(_SECTIONS[parts[0]] if len(parts) > 1 and parts[0] in _SECTIONS else JobConfig)
        return f"unknown key {where!r}; known are {', '.join(known)}.{nearest(parts[-1], known)}"
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    came = "" if problem["type"] == "value_error" else f", got {problem['input']!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{came}"
