"""What a job does: read, backtest, log, register, promote, forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

import forecast_kit.mlflow as fk_mlflow
from forecast_kit.core.forecaster import FitCallback, Forecaster
from forecast_kit.data.future import future_values
from forecast_kit.errors import ArtifactError, StoreError
from forecast_kit.evaluation import plots
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.comparable import groups_of
from forecast_kit.evaluation.report import write_report
from forecast_kit.evaluation.running import BacktestProgress, backtest
from forecast_kit.evaluation.scoring import check_metrics
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.console import FitBars, leaderboard_table
from forecast_kit.jobs.forecasting import replace_file, write_forecast
from forecast_kit.jobs.sources import Source, read_source
from forecast_kit.mlflow.describing import brief, parameters
from forecast_kit.mlflow.results import scores_of
from forecast_kit.mlflow.runs import Model, Run
from forecast_kit.mlflow.store import Store

_FOLD_CURVES = 20  # folds, candidates or both beyond which their curves would bury the page of a run


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job left behind.

    Attributes:
        backtest, leaderboard: of all forecasters.
        best: the candidate that was registered.
        decision: whether it became champion; None where the registry could not be asked.
        report, forecast, plot: files; the latter two are None where no version is champion.
        run: over by now.
        store: where it went.
        version: of the registered model; None where it has not arrived yet.
    """

    backtest: Backtest
    leaderboard: pd.DataFrame
    best: str
    decision: fk_mlflow.Decision | None
    report: Path
    forecast: Path | None
    plot: Path | None
    run: Run
    store: Store
    version: str | None


@dataclass(frozen=True, eq=False)
class _Job:
    """What the stages of a running job share."""

    config: JobConfig
    source: Source
    store: Store
    run: Run
    children: dict[str, Run]
    out: Console


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
    forecasters = config.forecasters()
    # All of this would otherwise fail only after hours of training.
    future_values(source.panel, source.future, config.backtest.horizon)
    config.backtest.splitter.check(source.panel)
    check_metrics([config.gate.metric], len(config.backtest.levels))
    if config.gate.group_by is not None:
        groups_of(source.panel, config.gate.group_by)
    out.print(f"data       {source.name}: {source.panel!r}, season {source.panel.season_length}")
    if len(source.panel.audit):
        out.print(f"repaired   {_indented(str(source.panel.audit))}")
    store = fk_mlflow.connect(config.store, offline=offline)
    with fk_mlflow.start_run(store, config.name, config.name) as run, ExitStack() as children:
        below = {name: children.enter_context(run.child(name)) for name in forecasters}
        job = _Job(config, source, store, run, below, out)
        _log_inputs(job, forecasters)
        result, board, report = _judge(job, forecasters)
        best = next(name for name in board["model"] if name in config.candidates)
        model = _register(job, best, forecasters[best], board)
        version, decision = _promote(job, best, forecasters, model, result)
        run.describe(decision.reason if decision else "The registry was not asked.", brief(board, config.gate.metric))
        forecast_path, plot_path = _forecast(job) if decision else (None, None)
    return JobResult(result, board, best, decision, report, forecast_path, plot_path, run, store, version)


def _log_inputs(job: _Job, forecasters: Mapping[str, Forecaster]) -> None:
    """What the job begins with: data, its flaws, settings, environment, and the arguments of each forecaster."""
    run, source = job.run, job.source
    run.log_environment()
    run.log_json(job.config.model_dump(mode="json", by_alias=True), "job.json")
    run.log_dataset(source.panel, source.name, source.origin)
    run.log_parameters({f"backtest.{key}": value for key, value in job.config.backtest.model_dump(mode="json").items()})
    if len(source.panel.audit):
        run.log_table(source.panel.audit.frame, "audit.json")
    for name, forecaster in forecasters.items():
        job.children[name].log_parameters(parameters(forecaster))
        job.children[name].set_tags({"role": "candidate" if name in job.config.candidates else "baseline"})


def _judge(job: _Job, forecasters: dict[str, Forecaster]) -> tuple[Backtest, pd.DataFrame, Path]:
    """The backtest of all forecasters on the same folds, its leaderboard and its report, shown and logged."""
    config, panel, splitter = job.config, job.source.panel, job.config.backtest.splitter
    job.out.print(f"backtest   {len(forecasters)} forecasters, {splitter.folds} folds, horizon {splitter.horizon}")
    bars = FitBars(job.out)
    drawn = _fold_curves(job) if len(config.candidates) * splitter.folds <= _FOLD_CURVES else lambda event: None

    def progress(event: BacktestProgress) -> None:
        bars.backtest(event)
        drawn(event)

    with bars.running():
        result = backtest(
            forecasters, panel, splitter, levels=config.backtest.levels, refit=config.backtest.refit, progress=progress
        )
    report = write_report(
        result, config.output / f"{config.name}-backtest.html", baseline=_reference(config), metric=config.gate.metric,
        title=f"{config.name}: backtest",
    )  # fmt: skip
    for child in job.children.values():
        child.log_dataset(panel, job.source.name, job.source.origin, context="backtest")
    board = fk_mlflow.log_backtest(
        job.run, result, baseline=_reference(config), metric=config.gate.metric, children=job.children, panel=panel,
        report=report,
    )  # fmt: skip
    job.out.print(leaderboard_table(board, f"leaderboard: means over {len(panel)} series and {splitter.folds} folds"))
    return result, board, report


def _fold_curves(job: _Job) -> Callable[[BacktestProgress], None]:
    """Draws the losses of each fold's fit into the run of its forecaster, while it goes on."""
    curves: dict[tuple[str, int], FitCallback] = {}

    def draw(event: BacktestProgress) -> None:
        if event.fit is not None:
            key = event.model, event.fold
            curves.setdefault(key, job.children[event.model].curve(f"fold_{event.fold}/"))(event.fit)

    return draw


def _register(job: _Job, best: str, forecaster: Forecaster, board: pd.DataFrame) -> Model:
    """The best candidate, fitted on all data, logged and on its way into the registry."""
    config, panel, child = job.config, job.source.panel, job.children[best]
    bars = FitBars(job.out)
    with bars.running():
        final = forecaster.clone().fit(panel, callbacks=(bars.fit(f"{best}, all data"), child.curve()))
    child.log_metrics({f"final_{key}": value for key, value in final.costs.items()})
    if final.fit_report:
        job.out.print(f"windows    {_indented(final.fit_report)}")
        child.log_text(final.fit_report, "fit.txt")
    child.log_dataset(panel, job.source.name, job.source.origin)
    card = fk_mlflow.model_card(
        final, horizon=config.backtest.horizon, levels=config.backtest.levels, panel=panel,
        folds=config.backtest.splitter, leaderboard=brief(board, config.gate.metric),
    )  # fmt: skip
    model = child.log_model(
        final, horizon=config.backtest.horizon, levels=config.backtest.levels, history=config.register_.history,
        card=card, tags={"forecaster": best},
    )  # fmt: skip
    child.log_metrics(scores_of(board, best), model=model, panel=panel)
    child.register(model, config.register_.name, tags={"forecaster": best}, description=card)
    return model


def _promote(
    job: _Job, best: str, forecasters: dict[str, Forecaster], model: Model, result: Backtest
) -> tuple[str | None, fk_mlflow.Decision | None]:
    """The version that the best candidate became, and the gate's decision on it; None for what could not be asked."""
    config, out, name = job.config, job.out, job.config.register_.name
    version = job.children[best].version(model) if job.run.flush() else None
    if version is None:
        out.print(f"registry   {name} has not heard of the new version yet; it lies in {model.folder}")
        return None, None
    bars = FitBars(out)
    try:
        with bars.running():
            verdict, decision = fk_mlflow.challenge(
                job.store.client, name, version, job.source.panel, config.backtest.splitter, challenger=best,
                baselines={baseline: forecasters[baseline] for baseline in config.baselines}, gate=config.gate.gate,
                levels=config.backtest.levels, result=result, refit=config.backtest.refit, progress=bars.backtest,
            )  # fmt: skip
    except (
        StoreError,
        ArtifactError,
    ) as error:  # the training of a night is not lost because the registry is away at its end
        out.print(f"registry   {name} version {version} is registered and not judged: {error}")
        return version, None
    out.print(f"registry   {name} version {decision.version}. {decision.reason}")
    job.run.log_table(verdict.checks, "gate.json")
    job.run.log_table(verdict.board, "gate_scores.json")
    job.run.set_tags({"decision": "promoted" if decision.promoted else "refused", "registered_version": version})
    return version, decision


def _forecast(job: _Job) -> tuple[Path | None, Path | None]:
    """The champion's forecast and its picture, written whole; None where no version is champion yet."""
    config, source = job.config, job.source
    if fk_mlflow.champion(job.store.client, config.register_.name) is None:
        return None, None
    deployed = fk_mlflow.load_model(f"models:/{config.register_.name}@champion")
    forecast = deployed.predict(
        config.backtest.horizon, levels=config.backtest.levels, history=source.panel, future=source.future
    )
    path = config.output / f"{config.name}.parquet"
    write_forecast(forecast, path)
    figure = plots.plot_forecast(forecast, source.panel)
    replace_file(path.with_suffix(".png"), lambda target: figure.savefig(target, dpi=110, format="png"))
    job.run.log_figure(figure, "figures/forecast.png")
    return path, path.with_suffix(".png")


def _indented(text: str) -> str:
    """Lines under the column in which a stage's message begins."""
    return text.replace("\n", "\n" + " " * 11)


def _reference(config: JobConfig) -> str | None:
    """The baseline against which skill is told: the seasonal naive one if there is one, else the first."""
    for name, spec in config.baselines.items():
        if spec.get("forecaster") == "SeasonalNaive":
            return name
    return next(iter(config.baselines), None)
