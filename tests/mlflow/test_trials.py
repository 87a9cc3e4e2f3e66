"""Trials as child runs, read back from a real store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from forecast_kit import Panel, RollingOrigin, WindowAverage, search
from forecast_kit.evaluation.search import Search, Trial
from forecast_kit.mlflow import Store, start_run
from forecast_kit.mlflow.trials import log_search, log_trials

SPLITTER = RollingOrigin(4, folds=3)


@pytest.fixture
def logged(store: Store, seasonal_panel: Panel) -> tuple[str, list[Trial], Search, list[Run]]:
    """A search in which trials finish, fail and are pruned, and what the store holds of it."""
    seen = list[Trial]()
    with start_run(store, "search", "nightly search") as parent:
        found = search(
            WindowAverage(1), {"window": ("int", -3, 60), "season_length": [1, 24]}, seasonal_panel, SPLITTER,
            trials=16, on_trial=[seen.append, log_trials(parent)],
        )  # fmt: skip
        log_search(parent, found)
    children = store.client.search_runs(
        [store.experiment("search")],
        f"tags.`mlflow.parentRunId` = '{parent.id}'",
        order_by=["attributes.start_time ASC"],
    )
    return parent.id, seen, found, sorted(children, key=lambda run: int(run.info.run_name.removeprefix("trial ")))


def test_each_trial_is_a_child_with_its_arguments_score_and_folds(store: Store, logged: Any) -> None:
    parent, seen, found, children = logged
    assert {trial.state for trial in seen} == {"finished", "failed", "pruned"}
    assert [run.info.run_name for run in children] == [f"trial {k}" for k in range(16)]
    for trial, run in zip(seen, children, strict=True):
        assert run.data.params == {name: str(value) for name, value in trial.arguments.items()}
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert run.data.tags["trial.state"] == trial.state
        assert run.data.tags.get("trial.reason", "") == trial.reason
        status = {"finished": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}[trial.state]
        assert run.info.status == status
        assert run.data.metrics.get("mase") == (trial.score if trial.state == "finished" else None)
        history = store.client.get_metric_history(run.info.run_id, "mase_by_fold")
        assert {point.step: point.value for point in history} == trial.folds
        took = (run.info.end_time - run.info.start_time) / 1000
        assert took == pytest.approx(trial.seconds, abs=0.01)
        assert run.data.metrics["seconds"] == trial.seconds
    failed = next(run for run in children if run.info.status == "FAILED")
    assert failed.data.tags["trial.reason"].startswith("window must be a whole number")
    assert failed.data.metrics.keys() == {"seconds"}
    assert found.score == min(run.data.metrics["mase"] for run in children if "mase" in run.data.metrics)


def test_the_search_itself_tells_the_best_and_all_trials(store: Store, logged: Any, tmp_path: Path) -> None:
    parent, _, found, _ = logged
    run = store.client.get_run(parent)
    assert run.info.status == "FINISHED"
    assert run.data.params == {f"best.{name}": str(value) for name, value in found.arguments.items()}
    assert run.data.metrics == {"best_mase": found.score}
    table = json.loads(Path(store.client.download_artifacts(parent, "trials.json", str(tmp_path))).read_text())
    assert table["columns"] == ["trial", "state", "score", "folds_done", "seconds", "reason", "window", "season_length"]
    assert [row[0] for row in table["data"]] == list(range(16))


def test_a_resumed_search_logs_new_trials_alone(store: Store, seasonal_panel: Panel, tmp_path: Path) -> None:
    for trials in (1, 3):
        with start_run(store, "search", "part") as parent:
            search(
                WindowAverage(1), {"window": ("int", 1, 60)}, seasonal_panel, SPLITTER, trials=trials,
                study=tmp_path / "study.db", on_trial=[log_trials(parent)],
            )  # fmt: skip
    children = store.client.search_runs([store.experiment("search")], f"tags.`mlflow.parentRunId` = '{parent.id}'")
    assert sorted(run.info.run_name for run in children) == ["trial 1", "trial 2"]
