"""A job at one go: read, train, forecast with whoever is champion then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import forecast_kit.mlflow as fk_mlflow
from forecast_kit.evaluation import plots
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.forecasting import replace_file, write_forecast
from forecast_kit.jobs.sources import Source, read_source
from forecast_kit.jobs.training import Trained, check_training, train
from forecast_kit.mlflow.runs import Run
from forecast_kit.mlflow.store import Store


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job left behind.

    Attributes:
        trained: leaderboard, registered version, decision, report.
        forecast, plot: files; None where no version is champion.
        run: over by now.
        store: where it went.
    """

    trained: Trained
    forecast: Path | None
    plot: Path | None
    run: Run
    store: Store


def run_job(config: JobConfig, out: Console, *, offline: bool = False) -> JobResult:
    """Runs the whole job: backtest everything, register the best candidate, promote it if it earned it, forecast.

    A tracking server that goes away meanwhile stops nothing: what it has not heard waits in the journal.

    Args:
        config: from `read_job`.
        out: what to tell goes there.
        offline: asks the store for nothing. The version will be registered by `forecast-kit sync`, and nothing is
            promoted or forecast.

    Raises:
        DataError, ConfigError: before anything was fitted.
        StoreError: the store does not answer at the start.
    """
    source = read_source(config.data)
    check_training(config, source)
    out.print(f"data       {source.name}: {source.panel!r}, season {source.panel.season_length}")
    if len(source.panel.audit):
        out.print(f"repaired   {source.panel.audit}".replace("\n", "\n" + " " * 11))
    store = fk_mlflow.connect(config.store, offline=offline)
    with fk_mlflow.start_run(store, config.name, config.name) as run:
        trained = train(config, source, run, store, out=out)
        forecast, plot = _forecast(config, source, store, run) if trained.decision else (None, None)
    return JobResult(trained, forecast, plot, run, store)


def _forecast(config: JobConfig, source: Source, store: Store, run: Run) -> tuple[Path | None, Path | None]:
    """The champion's forecast and its picture, written whole; None where no version is champion yet."""
    if fk_mlflow.champion(store.client, config.register_.name) is None:
        return None, None
    deployed = fk_mlflow.load_model(f"models:/{config.register_.name}@champion")
    forecast = deployed.predict(
        config.backtest.horizon, levels=config.backtest.levels, history=source.panel, future=source.future
    )
    path = config.output / f"{config.name}.parquet"
    write_forecast(forecast, path)
    figure = plots.plot_forecast(forecast, source.panel)
    replace_file(path.with_suffix(".png"), lambda target: figure.savefig(target, dpi=110, format="png"))
    run.log_figure(figure, "figures/forecast.png")
    return path, path.with_suffix(".png")
