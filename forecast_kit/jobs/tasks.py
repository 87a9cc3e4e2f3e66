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
from forecast_kit.data.io import read_frame
from forecast_kit.data.panel import Panel, split_future
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, DataError
from forecast_kit.evaluation.backtest import Backtest, backtest
from forecast_kit.evaluation.plots import plot_forecast
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
    forecast: Path | None
    plot: Path | None
    run_id: str
    experiment_id: str
    store: Store


def run_job(config: JobConfig, out: Console) -> JobResult:
    """Runs the whole job: backtest everything, register the best candidate, promote it if it earned it, forecast.

    Raises:
        DataError, ConfigError, StoreError: nothing was registered or written then.
    """
    source = read_source(config.data)
    panel = source.panel
    forecasters = config.forecasters()
    baseline = _reference(config)
    out.print(f"data       {source.name}: {panel!r}, season {panel.season_length}")
    store = fk_mlflow.connect(config.store)
    experiment_id = store.experiment(config.name)
    client = store.client

    with runs.run(client, experiment_id, config.name) as run_id:
        runs.log_json(client, run_id, config.model_dump(mode="json", by_alias=True), "job.json")
        runs.log_dataset(client, run_id, panel, source.name, source.origin)
        bars = FitBars(out)
        splitter = config.backtest.splitter
        out.print(f"backtest   {len(forecasters)} forecasters, {splitter.folds} folds, horizon {splitter.horizon}")
        with bars.running():
            result = backtest(forecasters, panel, splitter, levels=config.backtest.levels, progress=bars.backtest)
        board = result.leaderboard(baseline, metric=config.gate.metric)
        out.print(leaderboard_table(board, f"leaderboard: means over {len(panel)} series and {splitter.folds} folds"))
        _log_backtest(store, run_id, result, board)

        best = next(name for name in board["model"] if name in config.candidates)
        for name, forecaster in forecasters.items():
            if name != best:
                with runs.run(client, experiment_id, name, parent=run_id) as child:
                    _log_candidate(store, child, name, forecaster, result, board)
        with runs.run(client, experiment_id, best, parent=run_id) as child:
            _log_candidate(store, child, best, forecasters[best], result, board)
            curve = runs.Curve()
            with bars.running():
                final = forecasters[best].clone().fit(panel, callbacks=(bars.fit(f"{best}, all data"), curve))
            curve.write(client, child)
            info = fk_mlflow.log_model(
                final, run_id=child, horizon=splitter.horizon, levels=config.backtest.levels,
                history=config.register_.history,
            )  # fmt: skip
        version = register(client, info, config.register_.name)
        scores = board.set_index("model")[config.gate.metric]
        decision = promote(
            client, config.register_.name, version, challenger=best,
            scores={name: float(scores[name]) for name in (best, *config.baselines)},
            gate=Gate(config.gate.metric, config.gate.min_skill), trial=_trial(panel.digest, config),
        )  # fmt: skip
        out.print(f"registry   {config.register_.name} version {decision.version}. {decision.reason}")
        forecast_path, plot_path = None, None
        current = champion(client, config.register_.name)
        if current is not None:
            deployed = fk_mlflow.load_model(f"models:/{config.register_.name}@champion")
            forecast = deployed.predict(
                splitter.horizon, levels=config.backtest.levels, history=panel, future=source.future
            )
            forecast_path = config.output / f"{config.name}.parquet"
            plot_path = forecast_path.with_suffix(".png")
            write_forecast(forecast, forecast_path)
            figure = plot_forecast(forecast, panel)
            _replace(plot_path, lambda path: figure.savefig(path, dpi=110, format="png"))
            runs.log_figure(client, run_id, figure, "forecast.png")
        runs.describe(client, run_id, decision.reason, board)
    return JobResult(result, board, decision, best, forecast_path, plot_path, run_id, experiment_id, store)


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
        levels: quantile levels; by default 0.1, 0.5 and 0.9.

    Raises:
        ArgumentError, DataError, ArtifactError, StoreError, NotFittedError.
    """
    if out_path.suffix not in (".parquet", ".csv"):
        raise ArgumentError(f"--out must end in .parquet or .csv, got {out_path}")
    fk_mlflow.connect(store)
    forecaster = fk_mlflow.load_model(model)
    history, future = None, None
    if data is not None:
        assert forecaster.schema_ is not None
        past, future = split_future(read_frame(data, forecaster.schema_), forecaster.schema_)
        history = Panel.from_frame(past, forecaster.schema_)
    forecast = forecaster.predict(horizon, levels=levels or (0.1, 0.5, 0.9), history=history, future=future)
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


def _log_backtest(store: Store, run_id: str, result: Backtest, board: pd.DataFrame) -> None:
    runs.log_table(store.client, run_id, board, "leaderboard.json")
    runs.log_table(store.client, run_id, result.frame, "backtest/forecasts.parquet")
    runs.log_table(store.client, run_id, result.scores, "backtest/scores.parquet")


def _log_candidate(
    store: Store, run_id: str, name: str, forecaster: Forecaster, result: Backtest, board: pd.DataFrame
) -> None:
    runs.log_parameters(store.client, run_id, runs.parameters(forecaster))
    (row,) = board[board["model"] == name].drop(columns=["rank", "model"]).to_dict("records")
    runs.log_metrics(store.client, run_id, {str(key): value for key, value in row.items()})
    mine = result.frame[result.frame["model"] == name]
    error = (mine["y"] - mine["mean"]).abs().groupby(mine["step"]).mean()
    runs.log_steps(store.client, run_id, "mae_by_step", dict(zip(error.index.tolist(), error.tolist(), strict=True)))
