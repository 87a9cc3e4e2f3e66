"""A backtest as a run shows it: tables, charts by model, curves by lead time, pictures, the whole report."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from forecast_kit.data.panel import Panel
from forecast_kit.evaluation import plots
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.report import write_report
from forecast_kit.mlflow.runs import Run

_DRAWN = 6  # models in one picture


def log_backtest(
    run: Run,
    result: Backtest,
    *,
    baseline: str | None = None,
    metric: str = "mase",
    children: Mapping[str, Run] | None = None,
    panel: Panel | None = None,
    report: str | Path | None = None,
) -> pd.DataFrame:
    """The leaderboard, after the backtest was logged.

    Into the run: the leaderboard as a table that the UI shows and as metrics `mase/gru`, which it draws as one chart;
    every forecast and the scores of every series and fold as Parquet; error by lead time and calibration as pictures;
    the report. Into each child: its row of the leaderboard as metrics, `mae_by_step` over the lead time and
    `mase_by_fold`.

    Args:
        run: open.
        result: of `forecast_kit.backtest`.
        baseline, metric: see `Backtest.leaderboard`.
        children: the runs of the models, by their names in the backtest; none by default.
        panel: what the backtest was made of, logged with the run as a data set before; its metrics are linked to it.
        report: the page that `write_report` wrote, where there is one already.

    Raises:
        ArgumentError: the baseline or the metric is not there, or the panel was not logged.

    >>> from forecast_kit import Naive, Panel, RollingOrigin, SeasonalNaive, backtest, load
    >>> from forecast_kit.mlflow import connect, log_backtest, start_run
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> found = backtest({"naive": Naive(), "last year": SeasonalNaive()}, panel, RollingOrigin(12, folds=2))
    >>> store = connect(offline=True)  # without offline it is all there when the block ends
    >>> with start_run(store, "passengers", "first try") as run:
    ...     log_backtest(run, found, baseline="naive")["model"].tolist()
    ['last year', 'naive']
    """
    board = result.leaderboard(baseline, metric=metric)
    run.log_table(board, "leaderboard.json")
    run.log_table(result.frame, "backtest/forecasts.parquet")
    run.log_table(result.scores, "backtest/scores.parquet")
    for row in board.to_dict("records"):
        named = {f"{key}/{metric_name(str(row['model']))}": float(row[key]) for key in (metric, "skill") if key in row}
        run.log_metrics(named, panel=panel)
    by_step, by_fold = result.by_step(("mae",)), result.summary((metric,), by="fold").reset_index()
    for name, child in (children or {}).items():
        child.log_metrics(scores_of(board, name), panel=panel)
        child.log_steps("mae_by_step", _curve(by_step, name, "step", "mae"))
        child.log_steps(f"{metric}_by_fold", _curve(by_fold, name, "fold", metric))
    drawn = board["model"].tolist()[:_DRAWN]
    run.log_figure(plots.plot_error_by_step(result.frame, models=drawn), "figures/error_by_step.png")
    if len(result.levels) > 1:
        run.log_figure(plots.plot_reliability(result.frame, models=drawn), "figures/calibration.png")
    if report is not None:
        run.log_file(report, "backtest")
    else:
        with tempfile.TemporaryDirectory() as folder:
            page = write_report(result, Path(folder) / "report.html", baseline=baseline, metric=metric, title=run.name)
            run.log_file(page, "backtest")
    return board


def scores_of(board: pd.DataFrame, name: str) -> dict[str, float]:
    """A model's row of the leaderboard as metrics."""
    (row,) = board[board["model"] == name].drop(columns=["rank", "model"]).to_dict("records")
    return {str(key): float(value) for key, value in row.items()}


def metric_name(name: str) -> str:
    """A forecaster's name with nothing that MLflow refuses in a metric's.

    >>> metric_name("gru @ 48%")
    'gru _ 48_'
    """
    return re.sub(r"[^\w.\- :]", "_", name)


def _curve(table: pd.DataFrame, name: str, step: str, value: str) -> dict[int, float]:
    mine = table[table["model"] == name]
    return dict(zip(mine[step].tolist(), mine[value].tolist(), strict=True))
