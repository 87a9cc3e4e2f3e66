"""Trials of a search as runs: each a child of the search's own run, so that the UI compares them."""

from __future__ import annotations

import math

from forecast_kit.evaluation.search import OnTrial, Search, Trial
from forecast_kit.mlflow.runs import Run

# MLflow has no word for a run that was stopped early because it was not worth its time.
_STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


def log_trials(run: Run) -> OnTrial:
    """What to pass on, `search(..., on_trial=[log_trials(run)])`, so that each trial is a child of this run.

    A child is called `trial 0`, has the arguments that were drawn as parameters, under their own names, and as
    metrics the score, where it was finished, the score of each fold (`mase_by_fold`, the step is the fold) and its
    `seconds`. The tags `trial.state` and `trial.reason` tell how it ended. Its times are the trial's.

    Args:
        run: the parent, which stays open.

    >>> from forecast_kit import Panel, RollingOrigin, WindowAverage, load, search
    >>> from forecast_kit.mlflow import connect, start_run
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> store = connect()
    >>> with start_run(store, "passengers", "search") as run:
    ...     space, told = {"window": [1, 2]}, [log_trials(run)]
    ...     found = search(WindowAverage(1), space, panel, RollingOrigin(12), trials=2, on_trial=told)
    >>> trials = store.client.search_runs([store.experiment("passengers")], order_by=["attributes.start_time"])
    >>> sorted(one.info.run_name for one in trials)
    ['search', 'trial 0', 'trial 1']
    """

    def log(trial: Trial) -> None:
        tags: dict[str, str] = {"trial.state": trial.state}
        if trial.reason:
            tags |= {"trial.reason": trial.reason[:5000], "mlflow.note.content": trial.reason[:5000]}
        points = [("seconds", trial.seconds, 0)]
        points += [(f"{trial.metric}_by_fold", score, fold) for fold, score in trial.folds.items()]
        if not math.isnan(trial.score):
            points.append((trial.metric, trial.score, 0))
        run.record_child(
            f"trial {trial.number}", started=trial.started, ended=trial.started + trial.seconds,
            status=_STATUS[trial.state], tags=tags, parameters=trial.arguments, points=points,
        )  # fmt: skip

    return log


def log_search(run: Run, found: Search) -> None:
    """Writes into a run what a search found: the best arguments and their score, and the table of trials.

    Args:
        run: open.
        found: of `forecast_kit.search`.

    >>> from forecast_kit import Panel, RollingOrigin, WindowAverage, load, search
    >>> from forecast_kit.mlflow import connect, start_run
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> store = connect()
    >>> with start_run(store, "passengers", "search") as run:
    ...     found = search(WindowAverage(1), {"window": [1, 2]}, panel, RollingOrigin(12), trials=2)
    ...     log_search(run, found)
    >>> store.client.get_run(run.id).data.params == {"best.window": str(found.best.window)}
    True
    """
    run.log_parameters({f"best.{name}": value for name, value in found.arguments.items()})
    run.log_metrics({f"best_{found.metric}": found.score})
    run.log_table(found.trials, "trials.json")
