"""What a job does: read, backtest, log, register, promote, forecast."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

import forecast_kit.mlflow as fk_mlflow
from forecast_kit.core.forecast import Forecast
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.data.datasets import load as load_dataset
from forecast_kit.data.future import future_values, split_future
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.sources import read_frame
from forecast_kit.errors import ArgumentError, DataError
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.plots import plot_forecast
from forecast_kit.evaluation.report import write_report
from forecast_kit.evaluation.running import backtest
from forecast_kit.jobs.config import DataSection, JobConfig
from forecast_kit.jobs.console import FitBars, leaderboard_table
from forecast_kit.mlflow import runs
from forecast_kit.mlflow.registry import Decision, Gate, champion, promote, register
from forecast_kit.mlflow.store import Store


@dataclass(frozen=True, eq=False)
class Source:
    """A job's data: the panel, the rows after it that carry known-future covariates, and its name."""

    panel: Panel
    future: pd.DataFrame | None
    name: str
    origin: str


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job left behind."""

    backtest: Backtest
    leaderboard: pd.DataFrame
    decision: Decision
    best: str
    report: Path
    forecast: Path | None
    plot: Path | None
    run_id: str
    experiment_id: str
    store: Store


@dataclass(frozen=True, eq=False)
class _Job:
    """What the stages of a running job share."""

    config: JobConfig
    source: Source
    store: Store
    experiment_id: str
    run_id: str
    out: Console


def run_job(config: JobConfig, out: Console) -> JobResult:
    """Runs the whole job: backtest everything, register the best candidate, promote it if it earned it, forecast.

    Raises:
        DataError, ConfigError: before anything was fitted.
        StoreError: the store or the registry refused.
    """
    source = read_source(config.data)
    forecasters = config.forecasters()
    # Both would otherwise fail only after hours of training.
    future_values(source.panel, source.future, config.backtest.horizon)
    config.backtest.splitter.check(source.panel)
    out.print(f"data       {source.name}: {source.panel!r}, season {source.panel.season_length}")
    if len(source.panel.audit):
        out.print(f"repaired   {_indented(str(source.panel.audit))}")
    store = fk_mlflow.connect(config.store)
    experiment_id = store.experiment(config.name)
    with runs.run(store.client, experiment_id, config.name) as run_id:
        job = _Job(config, source, store, experiment_id, run_id, out)
        runs.log_json(store.client, run_id, config.model_dump(mode="json", by_alias=True), "job.json")
        runs.log_dataset(store.client, run_id, source.panel, source.name, source.origin)
        if len(source.panel.audit):
            runs.log_table(store.client, run_id, source.panel.audit.frame, "audit.json")
        result, board = _judge(job, forecasters)
        report = _report(job, result)
        best = next(name for name in board["model"] if name in config.candidates)
        version = _register(job, best, forecasters, result, board)
        decision = _promote(job, best, version, board)
        runs.describe(store.client, run_id, decision.reason, board)
        forecast_path, plot_path = _forecast(job)
    return JobResult(
        result, board, decision, best, report, forecast_path, plot_path, run_id, experiment_id, store
    )  # fmt: skip


def _judge(job: _Job, forecasters: dict[str, Forecaster]) -> tuple[Backtest, pd.DataFrame]:
    """The backtest of all forecasters on the same folds, and its leaderboard, shown and logged."""
    config, panel, splitter = job.config, job.source.panel, job.config.backtest.splitter
    job.out.print(f"backtest   {len(forecasters)} forecasters, {splitter.folds} folds, horizon {splitter.horizon}")
    bars = FitBars(job.out)
    with bars.running():
        result = backtest(
            forecasters, panel, splitter, levels=config.backtest.levels, refit=config.backtest.refit,
            progress=bars.backtest,
        )  # fmt: skip
    board = result.leaderboard(_reference(config), metric=config.gate.metric)
    job.out.print(leaderboard_table(board, f"leaderboard: means over {len(panel)} series and {splitter.folds} folds"))
    runs.log_table(job.store.client, job.run_id, board, "leaderboard.json")
    runs.log_table(job.store.client, job.run_id, result.frame, "backtest/forecasts.parquet")
    runs.log_table(job.store.client, job.run_id, result.scores, "backtest/scores.parquet")
    return result, board


def _report(job: _Job, result: Backtest) -> Path:
    """The backtest as a page to read, beside the forecasts and with the run."""
    config = job.config
    path = write_report(
        result, config.output / f"{config.name}-backtest.html", baseline=_reference(config), metric=config.gate.metric,
        title=f"{config.name}: backtest",
    )  # fmt: skip
    job.store.client.log_artifact(job.run_id, str(path), "backtest")
    return path


def _register(job: _Job, best: str, forecasters: dict[str, Forecaster], result: Backtest, board: pd.DataFrame) -> str:
    """The version that the best candidate, fitted on all data, becomes; every forecaster gets a run of its own."""
    client, config, panel = job.store.client, job.config, job.source.panel
    info = None
    for name, forecaster in forecasters.items():
        with runs.run(client, job.experiment_id, name, parent=job.run_id) as run_id:
            _log_candidate(job.store, run_id, name, forecaster, result, board)
            if name != best:
                continue
            curve, bars = runs.Curve(), FitBars(job.out)
            with bars.running():
                final = forecaster.clone().fit(panel, callbacks=(bars.fit(f"{best}, all data"), curve))
            curve.write(client, run_id)
            runs.log_metrics(client, run_id, {f"final_{key}": value for key, value in final.costs.items()})
            if final.fit_report:
                job.out.print(f"windows    {_indented(final.fit_report)}")
                client.log_text(run_id, final.fit_report, "fit.txt")
            info = fk_mlflow.log_model(
                final, run_id=run_id, horizon=config.backtest.horizon, levels=config.backtest.levels,
                history=config.register_.history,
            )  # fmt: skip
    assert info is not None  # best is one of the forecasters
    return register(client, info, config.register_.name)


def _promote(job: _Job, best: str, version: str, board: pd.DataFrame) -> Decision:
    """The gate's decision on the new version, shown and written into the registry."""
    config = job.config
    scores = dict(zip(board["model"].tolist(), board[config.gate.metric].astype(float).tolist(), strict=True))
    decision = promote(
        job.store.client, config.register_.name, version, challenger=best,
        scores={name: scores[name] for name in (best, *config.baselines)},
        gate=Gate(config.gate.metric, config.gate.min_skill), trial=_trial(job.source.panel.digest, config),
    )  # fmt: skip
    job.out.print(f"registry   {config.register_.name} version {decision.version}. {decision.reason}")
    return decision


def _forecast(job: _Job) -> tuple[Path | None, Path | None]:
    """The champion's forecast and its picture, written whole; None where no version is champion yet."""
    config, source, client = job.config, job.source, job.store.client
    if champion(client, config.register_.name) is None:
        return None, None
    deployed = fk_mlflow.load_model(f"models:/{config.register_.name}@champion")
    forecast = deployed.predict(
        config.backtest.horizon, levels=config.backtest.levels, history=source.panel, future=source.future
    )
    path = config.output / f"{config.name}.parquet"
    write_forecast(forecast, path)
    figure = plot_forecast(forecast, source.panel)
    _replace(path.with_suffix(".png"), lambda target: figure.savefig(target, dpi=110, format="png"))
    runs.log_figure(client, job.run_id, figure, "forecast.png")
    return path, path.with_suffix(".png")


def forecast_champion(
    model: str,
    out_path: Path,
    *,
    store: Path | None = None,
    data: Path | None = None,
    horizon: int | None = None,
    levels: Sequence[float] | None = None,
) -> Forecast:
    """The forecast of a registered model, written to a file; without data, from the history that the model keeps.

    Args:
        model: an MLflow model URI.
        out_path: `.parquet` or `.csv`; it appears whole or not at all.
        store: the embedded store's folder.
        data: CSV or Parquet with the history to forecast from, in the columns that the model was trained on.
        horizon: steps ahead; by default the model's.
        levels: quantile levels; by default those that the model was logged with.

    Raises:
        ArgumentError, DataError, ArtifactError, StoreError, NotFittedError.
    """
    if out_path.suffix not in (".parquet", ".csv"):
        raise ArgumentError(f"--out must end in .parquet or .csv, got {out_path}")
    fk_mlflow.connect(store)
    served = fk_mlflow.load_served(model)
    forecaster = served.forecaster
    history, future = None, None
    if data is not None:
        assert forecaster.schema_ is not None
        past, future = split_future(read_frame(data, forecaster.schema_), forecaster.schema_)
        history = Panel.from_frame(past, forecaster.schema_)
    asked = served.levels if levels is None else levels
    forecast = forecaster.predict(horizon or served.horizon, levels=asked, history=history, future=future)
    write_forecast(forecast, out_path)
    return forecast


def read_source(section: DataSection) -> Source:
    """The data that a job names.

    Raises:
        DataError: see `read_frame` and `Panel.from_frame`.
    """
    if section.dataset is not None:
        frame, schema = load_dataset(section.dataset)
        if section.columns is not None:
            schema = PanelSchema.from_dict({**schema.to_dict(), **section.columns})
        name = origin = section.dataset
    else:
        assert section.path is not None  # the config has checked that one of the two is there
        schema = PanelSchema.from_dict(section.columns or {})
        frame, name, origin = read_frame(section.path, schema), section.path.stem, str(section.path)
    static = read_frame(section.static, schema) if section.static is not None else None
    past, future = split_future(frame, schema)
    panel = Panel.from_frame(past, schema, static=static)
    if section.series is not None:
        if section.series > len(panel):
            raise DataError(f"data.series asks for {section.series} series, but {name} has {len(panel)}")
        step = len(panel) / section.series
        panel = panel.take(panel.ids[[int(k * step) for k in range(section.series)]])
    return Source(panel, future, name, origin)


def _indented(text: str) -> str:
    """Lines under the column in which a stage's message begins."""
    return text.replace("\n", "\n" + " " * 11)


def write_forecast(forecast: Forecast, path: Path) -> None:
    """Writes the forecast frame as Parquet or CSV, so that a reader sees the old file or the new one."""
    frame = forecast.to_frame()
    if path.suffix == ".csv":
        _replace(path, lambda target: frame.to_csv(target, index=False))
    else:
        _replace(path, lambda target: frame.to_parquet(target, index=False))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        write(staging)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _reference(config: JobConfig) -> str | None:
    """The baseline against which skill is told: the seasonal naive one if there is one, else the first."""
    for name, spec in config.baselines.items():
        if spec.get("forecaster") == "SeasonalNaive":
            return name
    return next(iter(config.baselines), None)


def _trial(digest: str, config: JobConfig) -> str:
    """What two scores must have in common to be comparable: data, folds and metric."""
    text = json.dumps([digest, config.backtest.model_dump(mode="json"), config.gate.metric])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _log_candidate(
    store: Store, run_id: str, name: str, forecaster: Forecaster, result: Backtest, board: pd.DataFrame
) -> None:
    runs.log_parameters(store.client, run_id, runs.parameters(forecaster))
    (row,) = board[board["model"] == name].drop(columns=["rank", "model"]).to_dict("records")
    runs.log_metrics(store.client, run_id, {str(key): value for key, value in row.items()})
    mine = result.frame[result.frame["model"] == name]
    error = (mine["y"] - mine["mean"]).abs().groupby(mine["step"]).mean()
    runs.log_steps(store.client, run_id, "mae_by_step", dict(zip(error.index.tolist(), error.tolist(), strict=True)))
