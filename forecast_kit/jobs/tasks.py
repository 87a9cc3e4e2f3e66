"""A job at one go: read, train, forecast with whoever is champion then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import forecast_kit.mlflow as fk_mlflow
from forecast_kit.evaluation import plots
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.forecasting import replace_file, write_forecast
from forecast_kit.jobs.sources import Source, read_source
from forecast_kit.jobs.training import Trained, check_training, train
from forecast_kit.mlflow.runs import Run
from forecast_kit.mlflow.store import Store

__all__ = ["run_job", "JobResult"]


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job left behind.

    Attributes:
        trained: what the training made: `backtest` and `leaderboard` of all forecasters, the `best` candidate, the
            registered `version`, the gate's `decision`, and the `report`'s file.
        forecast, plot: files, `<output>/<name>.parquet` and `.png`; None where no version is champion.
        run: over by now.
        store: where it went.

    >>> from rich.console import Console
    >>> from forecast_kit.jobs.config import JobConfig
    >>> job = JobConfig.model_validate({
    ...     "name": "passengers",
    ...     "data": {"dataset": "air_passengers"},
    ...     "baselines": {"seasonal_naive": {"forecaster": "SeasonalNaive"}},
    ...     "candidates": {"theta": {"forecaster": "Theta"}},
    ...     "backtest": {"horizon": 12},
    ...     "gate": {"min_skill": 0.9},
    ...     "register": {"name": "passengers"},
    ... })
    >>> result = run_job(job, Console(quiet=True))
    >>> result.trained.best, result.trained.version, result.trained.decision.promoted
    ('theta', '1', False)
    >>> print(result.forecast)  # a skill of 0.9 was too much to ask, so nobody is champion
    None
    """

    trained: Trained
    forecast: Path | None
    plot: Path | None
    run: Run
    store: Store


def run_job(config: JobConfig, out: Console, *, offline: bool = False, as_of: AsOf | None = None) -> JobResult:
    """What the whole job left: a backtest of everything, the best candidate registered, and a champion's forecast.

    The candidate is promoted if it passes the job's gate; whoever is champion then forecasts. A tracking server that
    goes away meanwhile stops nothing: what it has not heard waits in the journal.

    Args:
        config: from `read_job`.
        out: what to tell goes there.
        offline: asks the store for nothing. The version will be registered by `forecast-kit sync`, and nothing is
            promoted or forecast.
        as_of: leaves out what was not known then; by default all is known.

    Raises:
        DataError, ConfigError: before anything was fitted.
        StoreError: the store does not answer at the start.

    >>> from pathlib import Path
    >>> from rich.console import Console
    >>> from forecast_kit.jobs.config import read_job
    >>> written = Path("job.yaml").write_text('''
    ... name: passengers
    ... data: {dataset: air_passengers}
    ... baselines: {seasonal_naive: {forecaster: SeasonalNaive}}
    ... candidates: {theta: {forecaster: Theta}}
    ... backtest: {horizon: 12}
    ... register: {name: passengers}
    ... ''')
    >>> result = run_job(read_job("job.yaml"), Console(quiet=True))
    >>> result.trained.best, result.trained.decision.promoted
    ('theta', True)
    >>> result.forecast.name, result.plot.name
    ('passengers.parquet', 'passengers.png')
    """
    source = read_source(config.data, as_of=as_of)
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
