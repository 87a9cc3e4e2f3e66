"""Searches of job files: refused early where they cannot be, blind to the folds that judge, and the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from batches import feed, run, write_feed, write_job
from mlflow.tracking import MlflowClient
from stores import prepared

from forecast_kit import Panel, RollingOrigin, WindowAverage, search
from forecast_kit.errors import ConfigError, TooShortError
from forecast_kit.jobs import searching
from forecast_kit.jobs.config import read_job
from forecast_kit.jobs.inspecting import lines_of, plan_of

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'forecast_kit[search]'")

DAY = "2024-06-20"
CANDIDATES = """
  mean:
    forecaster: WindowAverage
    window: 1
    season_length: 24
    search: {{space: {space}, trials: 4, folds: 2, seed: 1}}
"""
SPACE = "{window: [1, 2, 7]}"


pytestmark = pytest.mark.usefixtures("same_store_afterwards")


def job_in(root: Path, space: str = SPACE, **changes: str) -> Path:
    write_feed(root, feed())
    prepared(root / "store")
    return write_job(root, candidates=CANDIDATES.format(space=space), **changes)


def known(day: str) -> pd.DataFrame:
    rows = feed()
    return rows[rows["ds"] < pd.Timestamp(day)]


def test_what_is_found_is_what_a_search_before_the_folds_finds(tmp_path: Path) -> None:
    summary = run(job_in(tmp_path), DAY)
    assert summary.training is not None
    assert summary.training["decision"] == "promoted"
    # By hand: two folds of a day are the backtest's, the two days before them are the search's.
    before = Panel.from_frame(known("2024-06-18"), freq="h")
    scores = {
        window: search(WindowAverage(window, season_length=24), {"window": [window]}, before,
                       RollingOrigin(24, folds=2), trials=1).score
        for window in (1, 2, 7)
    }  # fmt: skip
    best = min(scores, key=lambda window: scores[window])
    client = MlflowClient(f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (mine,) = [one for one in runs if one.data.params.get("best.window")]
    assert mine.data.params["best.window"] == mine.data.params["window"] == str(best)
    assert mine.data.metrics["best_mase"] == pytest.approx(scores[best])
    trials = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == mine.info.run_id]
    assert {one.data.params["window"] for one in trials} <= {"1", "2", "7"}
    assert 1 <= len(trials) <= 4
    rows = pd.read_parquet(tmp_path / "out" / "forecasts")
    expected = WindowAverage(best, season_length=24, horizon=24).fit(Panel.from_frame(known(DAY), freq="h")).predict()
    assert rows.sort_values(["unique_id", "ds"])["mean"].to_numpy() == pytest.approx(expected.mean.ravel())
    assert not list((tmp_path / "store" / "searches").iterdir())


def test_a_search_that_was_cut_short_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_in(tmp_path)
    whole: list[Any] = []
    usual = searching.search

    def cut(*words: Any, **options: Any) -> Any:
        def stop(trial: Any) -> None:
            if trial.number == 1:
                raise KeyboardInterrupt

        return usual(*words, **{**options, "on_trial": (*options["on_trial"], stop)})

    def watched(*words: Any, **options: Any) -> Any:
        return usual(*words, **{**options, "on_trial": (*options["on_trial"], whole.append)})

    monkeypatch.setattr(searching, "search", cut)
    assert "searches   arguments of mean first, in 4 trials" in lines_of(plan_of(read_job(job), data=False))
    with pytest.raises(KeyboardInterrupt):
        run(job, DAY)
    monkeypatch.setattr(searching, "search", watched)
    assert run(job, DAY).training is not None
    assert [trial.number for trial in whole] == [2, 3]
    assert not list((tmp_path / "store" / "searches").iterdir())


@pytest.mark.parametrize(
    ("search", "complaint"),
    [
        ("{space: {windw: [1, 2]}}", r"candidates.mean.search.space: .*'windw'.*"),
        ("{space: {window: [int, 7]}}", "candidates.mean.search: .*window"),
        ("{space: {}}", "candidates.mean.search: space: "),
        ("{space: {window: [1]}, trails: 3}", "unknown key 'trails'; known are space, trials.*Did you mean 'trials'"),
        ("{space: {window: [1]}, trials: 0}", "trials: .*greater than or equal to 1"),
        ("{space: {window: [1]}, timeout: soon}", "write a lapse of time such as"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_file(search: str, complaint: str, tmp_path: Path) -> None:
    candidates = f"\n  mean: {{forecaster: WindowAverage, window: 1, search: {search}}}\n"
    with pytest.raises(ConfigError, match=complaint):
        read_job(write_job(tmp_path, candidates=candidates))


def test_baselines_have_no_search_and_short_data_are_told_before_anything_is_fitted(tmp_path: Path) -> None:
    baselines = f"\n  mean: {{forecaster: WindowAverage, window: 1, search: {{space: {SPACE}}}}}\n"
    with pytest.raises(ConfigError, match="baselines.mean: unknown key 'search'"):
        read_job(write_job(tmp_path, baselines=baselines))
    job = job_in(tmp_path, backtest="{horizon: 24, folds: 17, levels: [0.1, 0.9]}")
    with pytest.raises(TooShortError, match="candidates.mean.search has what lies before the backtest's folds"):
        run(job, DAY)
    assert not (tmp_path / "store" / "searches").exists()
