"""Trials of a search as runs: each a child of the search's own run, so that the UI compares them."""

from __future__ import annotations

import math

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from forecast_kit.evaluation.search import OnTrial, Search, Trial
from forecast_kit.mlflow import runs

# MLflow has no word for a run that was stopped early because it was not worth its time.
_STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


def log_trials(client: MlflowClient, run_id: str) -> OnTrial:
    """What to pass on, `search(..., on_trial=[log_trials(client, run_id)])`, so that each trial is a child of this run.

    A child is called `trial 0`, has the arguments that were drawn as parameters, under their own names, and as
    metrics the score, where it was finished, the score of each fold (`mase_by_fold`, the step is the fold) and its
    `seconds`. The tags `trial.state` and `trial.reason` tell how it ended. Its times are the trial's.

    Args:
        client: of the store.
        run_id: the parent, which stays open.
    """
    experiment_id = client.get_run(run_id).info.experiment_id

    def log(trial: Trial) -> None:
        started, ended = (int(1000 * moment) for moment in (trial.started, trial.started + trial.seconds))
        tags = {
            "mlflow.parentRunId": run_id, "mlflow.source.name": "forecast_kit", "mlflow.source.type": "JOB",
            "trial.state": trial.state,
        }  # fmt: skip
        if trial.reason:
            tags |= {"trial.reason": trial.reason[:5000], "mlflow.note.content": trial.reason[:5000]}
        child = client.create_run(experiment_id, started, tags, f"trial {trial.number}").info.run_id
        points = [Metric("seconds", trial.seconds, ended, 0)]
        points += [Metric(f"{trial.metric}_by_fold", score, ended, fold) for fold, score in trial.folds.items()]
        if not math.isnan(trial.score):
            points.append(Metric(trial.metric, trial.score, ended, 0))
        drawn = [Param(name, str(value)[:6000]) for name, value in trial.arguments.items()]
        client.log_batch(child, metrics=points, params=drawn)
        client.set_terminated(child, _STATUS[trial.state], ended)

    return log


def log_search(client: MlflowClient, run_id: str, found: Search) -> None:
    """Writes into a run what a search found: the best arguments and their score, and the table of trials."""
    runs.log_parameters(client, run_id, {f"best.{name}": str(value) for name, value in found.arguments.items()})
    runs.log_metrics(client, run_id, {f"best_{found.metric}": found.score})
    runs.log_table(client, run_id, found.trials, "trials.json")
