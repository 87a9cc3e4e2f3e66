"""The training of a job: backtest all forecasters, log, register the best candidate, promote it if it earned it."""

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
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.comparable import groups_of
from forecast_kit.evaluation.report import write_report
from forecast_kit.evaluation.running import BacktestProgress, backtest
from forecast_kit.evaluation.scoring import check_metrics
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.console import FitBars, leaderboard_table
from forecast_kit.jobs.searching import check_searches, forget, searched
from forecast_kit.jobs.sources import Source
from forecast_kit.mlflow.describing import brief, parameters
from forecast_kit.mlflow.results import scores_of
from forecast_kit.mlflow.runs import Run
from forecast_kit.mlflow.store import Store

_FOLD_CURVES = 20  # folds, candidates or both beyond which their curves would bury the page of a run


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training left behind.

    Attributes:
        backtest, leaderboard: of all forecasters.
        best: the candidate that was registered.
        report: the page that shows the backtest; None where it could not be written.
        version: of the registered model; None where it has not arrived in the registry yet.
        decision: whether it became champion; None where the registry could not be asked.
    """

    backtest: Backtest
    leaderboard: pd.DataFrame
    best: str
    report: Path | None
    version: str | None
    decision: fk_mlflow.Decision | None


@dataclass(frozen=True, eq=False)
class _Work:
    """What the steps of a training share."""

    config: JobConfig
    source: Source
    store: Store
    run: Run
    children: dict[str, Run]
    out: Console


def check_training(config: JobConfig, source: Source) -> None:
    """Refuses what would otherwise fail only after hours of training.

    Raises:
        DataError, ArgumentError: the data are too short for the folds, a metric or column is unknown, ...
    """
    future_values(source.panel, source.future, config.backtest.horizon)
    config.backtest.splitter.check(source.panel)
    check_searches(config, source.panel)
    check_metrics([config.gate.metric], len(config.backtest.levels))
    if config.gate.group_by is not None:
        groups_of(source.panel, config.gate.group_by)


def train(
    config: JobConfig,
    source: Source,
    run: Run,
    store: Store,
    *,
    out: Console,
    tags: Mapping[str, str] | None = None,
    known: str | None = None,
) -> Trained:
    """The best candidate of a backtest, registered, and judged by the gate.

    Args:
        config: of the job.
        source: the data.
        run: open; each forecaster gets a run below it.
        store: where the registry is.
        out: what to tell goes there.
        tags: of the registered version.
        known: the version that an earlier attempt at the same training registered; no other one is registered then.

    Raises:
        DataError, TrainingError, ...: as `backtest` and `Forecaster.fit`.
    """
    forecasters = config.forecasters()
    with ExitStack() as children:
        below = {name: children.enter_context(run.child(name)) for name in forecasters}
        work = _Work(config, source, store, run, below, out)
        forecasters |= searched(config, forecasters, source.panel, runs=below, home=store.home, out=out)
        _log_inputs(work, forecasters)
        result, board, report = _judge(work, forecasters)
        best = next(name for name in board["model"] if name in config.candidates)
        version = known or _register(work, best, forecasters[best], board, tags or {})
        decision = None if version is None else _promote(work, best, forecasters, version, result)
        run.describe(decision.reason if decision else "The registry was not asked.", brief(board, config.gate.metric))
    forget(config, source.panel, store.home)
    return Trained(result, board, best, report, version, decision)


def _log_inputs(work: _Work, forecasters: Mapping[str, Forecaster]) -> None:
    """What a training begins with: data, its flaws, settings, environment, and the arguments of each forecaster."""
    run, source = work.run, work.source
    run.log_environment()
    run.log_json(work.config.model_dump(mode="json", by_alias=True), "job.json")
    run.log_dataset(source.panel, source.name, source.origin)
    run.log_parameters(
        {f"backtest.{key}": value for key, value in work.config.backtest.model_dump(mode="json").items()}
    )
    if len(source.panel.audit):
        run.log_table(source.panel.audit.frame, "audit.json")
    for name, forecaster in forecasters.items():
        work.children[name].log_parameters(parameters(forecaster))
        work.children[name].set_tags({"role": "candidate" if name in work.config.candidates else "baseline"})


def _judge(work: _Work, forecasters: dict[str, Forecaster]) -> tuple[Backtest, pd.DataFrame, Path | None]:
    """The backtest of all forecasters on the same folds, its leaderboard and its report, shown and logged."""
    config, panel, splitter = work.config, work.source.panel, work.config.backtest.splitter
    work.out.print(f"backtest   {len(forecasters)} forecasters, {splitter.folds} folds, horizon {splitter.horizon}")
    bars = FitBars(work.out)
    drawn = _fold_curves(work) if len(config.candidates) * splitter.folds <= _FOLD_CURVES else lambda event: None

    def progress(event: BacktestProgress) -> None:
        bars.backtest(event)
        drawn(event)

    with bars.running():
        result = backtest(
            forecasters, panel, splitter, levels=config.backtest.levels, refit=config.backtest.refit, progress=progress
        )
    report = _report(work, result)
    for child in work.children.values():
        child.log_dataset(panel, work.source.name, work.source.origin, context="backtest")
    board = fk_mlflow.log_backtest(
        work.run, result, baseline=_reference(config), metric=config.gate.metric, children=work.children, panel=panel,
        report=report,
    )  # fmt: skip
    work.out.print(leaderboard_table(board, f"leaderboard: means over {len(panel)} series and {splitter.folds} folds"))
    return result, board, report


def _report(work: _Work, result: Backtest) -> Path | None:
    """The page that shows the backtest; None where it cannot be written, for which hours of training are not lost."""
    config = work.config
    try:
        return write_report(
            result, config.output / f"{config.name}-backtest.html", baseline=_reference(config),
            metric=config.gate.metric, title=f"{config.name}: backtest",
        )  # fmt: skip
    except OSError as error:
        work.out.print(f"report     none in {config.output}, for it cannot be written: {error}", markup=False)
        return None


def _fold_curves(work: _Work) -> Callable[[BacktestProgress], None]:
    """Draws the losses of each fold's fit into the run of its forecaster, while it goes on."""
    curves: dict[tuple[str, int], FitCallback] = {}

    def draw(event: BacktestProgress) -> None:
        if event.fit is not None:
            key = event.model, event.fold
            curves.setdefault(key, work.children[event.model].curve(f"fold_{event.fold}/"))(event.fit)

    return draw


def _register(
    work: _Work, best: str, forecaster: Forecaster, board: pd.DataFrame, tags: Mapping[str, str]
) -> str | None:
    """The version that the best candidate became, fitted on all data and logged; None where it waits to be sent."""
    config, panel, child = work.config, work.source.panel, work.children[best]
    bars = FitBars(work.out)
    with bars.running():
        final = forecaster.clone().fit(panel, callbacks=(bars.fit(f"{best}, all data"), child.curve()))
    child.log_metrics({f"final_{key}": value for key, value in final.costs.items()})
    if final.fit_report:
        work.out.print(f"windows    {_indented(final.fit_report)}")
        child.log_text(final.fit_report, "fit.txt")
    child.log_dataset(panel, work.source.name, work.source.origin)
    card = fk_mlflow.model_card(
        final, horizon=config.backtest.horizon, levels=config.backtest.levels, panel=panel,
        folds=config.backtest.splitter, leaderboard=brief(board, config.gate.metric),
    )  # fmt: skip
    model = child.log_model(
        final, horizon=config.backtest.horizon, levels=config.backtest.levels, history=config.register_.history,
        card=card, tags={"forecaster": best},
    )  # fmt: skip
    child.log_metrics(scores_of(board, best), model=model, panel=panel)
    child.register(model, config.register_.name, tags={"forecaster": best, **tags}, description=card)
    version = child.version(model) if work.run.flush() else None
    if version is None:
        work.out.print(f"registry   {config.register_.name} has not heard of the new version yet; it lies in "
                       f"{model.folder}")  # fmt: skip
    return version


def _promote(
    work: _Work, best: str, forecasters: dict[str, Forecaster], version: str, result: Backtest
) -> fk_mlflow.Decision | None:
    """The gate's decision on the version; None where the registry could not be asked."""
    config, out, name = work.config, work.out, work.config.register_.name
    bars = FitBars(out)
    try:
        with bars.running():
            verdict, decision = fk_mlflow.challenge(
                work.store.client, name, version, work.source.panel, config.backtest.splitter, challenger=best,
                baselines={baseline: forecasters[baseline] for baseline in config.baselines}, gate=config.gate.gate,
                levels=config.backtest.levels, result=result, refit=config.backtest.refit, progress=bars.backtest,
            )  # fmt: skip
    except (StoreError, ArtifactError) as error:
        # The training of a night is not lost because the registry is away at its end.
        out.print(f"registry   {name} version {version} is registered and not judged: {error}")
        return None
    out.print(f"registry   {name} version {decision.version}. {decision.reason}")
    work.run.log_table(verdict.checks, "gate.json")
    work.run.log_table(verdict.board, "gate_scores.json")
    work.run.set_tags({"decision": "promoted" if decision.promoted else "refused", "registered_version": version})
    return decision


def _indented(text: str) -> str:
    """Lines under the column in which a stage's message begins."""
    return text.replace("\n", "\n" + " " * 11)


def _reference(config: JobConfig) -> str | None:
    """The baseline against which skill is told: the seasonal naive one if there is one, else the first."""
    for name, spec in config.baselines.items():
        if spec.get("forecaster") == "SeasonalNaive":
            return name
    return next(iter(config.baselines), None)
