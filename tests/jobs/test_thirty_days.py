"""A month of nights on real data with weather, with all that happens to a job in a month."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from batches import run, write_feed

from forecast_kit import load
from forecast_kit.mlflow import connect, history

JOB = """
name: bikes
data:
  path: {root}/feed/*.parquet
  schema:
    freq: h
    season_length: 168
    future: [temp, hum, windspeed, workingday]
    calendar: [hour, "week:1"]
    duplicates: last
    gaps: mask
    covariate_gaps: ffill
baselines:
  last_week: {{forecaster: SeasonalNaive}}
candidates:
  gru:
    forecaster: NeuralForecaster
    network: {{cell: gru, units: 24, segment: 24}}
    input_length: 336
    training: {{steps: {steps}, batch_size: 64, learning_rate: 0.01, seed: 1}}
backtest: {{horizon: 24, folds: 7, step: 24, refit: null, levels: [0.1, 0.5, 0.9]}}
register: {{name: bikes}}
sink: {{path: {root}/out}}
monitor:
  window: 7
  retrain: {{max_age: 13D, error_ratio: 4.0, cooldown: 7D}}
output: {root}/reports
store: {root}/store
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_month_of_nights_leaves_one_forecast_for_each_step_and_all_scores(tmp_path: Path) -> None:
    frame, _ = load("bike_sharing_hourly")
    frame = frame[["unique_id", "ds", "y", "temp", "hum", "windspeed", "workingday"]]
    nights = pd.date_range("2012-09-01", periods=30)
    job, log = tmp_path / "job.yaml", []
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    (tmp_path / "feed").mkdir()
    frame[frame["ds"] < nights[0]].to_parquet(tmp_path / "feed" / "history.parquet")
    for number, night in enumerate([*nights, nights[-1] + pd.Timedelta(days=1)], start=1):
        day = f"{night:%Y-%m-%d}"
        # A colleague tries out a cheaper training in the third week, and takes it back in the fourth.
        job.write_text(JOB.format(root=tmp_path, steps=8 if 14 <= number < 20 else 300))
        arrive(tmp_path, frame, night, number)
        if number == 12:
            killed(job, day)
        if number == 31:  # one more morning, to see how the last night's forecast did
            log.append(run(job, day, tasks=["monitor"]))
            break
        log.append(run(job, day))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])

    rows = pd.read_parquet(tmp_path / "out" / "forecasts").astype({"as_of": str})
    assert sorted(rows["as_of"].unique()) == [f"{night:%Y-%m-%d}" for night in nights]
    for night, part in rows.groupby("as_of"):
        assert part["ds"].tolist() == [*pd.date_range(night, periods=24, freq="h")]
        assert (part["fallback"] == "").all()
    late = rows[rows["as_of"] == "2012-09-05"]
    assert set(late["cutoff"]) == {pd.Timestamp("2012-09-03 23:00")}  # the day before had not come
    scores = pd.read_parquet(tmp_path / "out" / "scores").astype({"as_of": str})
    assert len(scores) == 30
    assert (scores["observed"] == 24).all()

    trained = [(one.as_of, one.training["decision"]) for one in log if one.training is not None]
    print(trained)
    assert trained[:2] == [("2012-09-01", "promoted"), ("2012-09-14", "refused")]  # 13 days later, and weaker
    assert [int(day[-2:]) - 14 for day, _ in trained[2:]] in ([7], [7, 14])  # a week apart, until one is promoted
    assert trained[-1][1] == "promoted"
    assert [one.exit_code for one in log] == [0] * 31
    champions = history(connect(tmp_path / "store").client, "bikes")
    assert champions["version"].tolist() == ["1", str(len(trained))]
    by_version = scores.groupby("model_version")[["mae", "naive_mae", "coverage"]].mean()
    print(by_version, scores[["mase", "mae", "naive_mae"]].mean(), sep="\n")
    assert scores["mae"].mean() < scores["naive_mae"].mean()


def arrive(root: Path, frame: pd.DataFrame, night: pd.Timestamp, number: int) -> None:
    """What a morning finds: the day before, the weather forecast of the day to come, now and then something else."""
    day = pd.Timedelta(days=1)
    coming = frame[(frame["ds"] >= night) & (frame["ds"] < night + day)].assign(y=float("nan"))
    write_feed(root, coming)
    if number > 1:
        yesterday = frame[(frame["ds"] >= night - day) & (frame["ds"] < night)]
        # The fifth morning nothing has come but the weather that was forecast for it; it comes a day later.
        if number != 5:
            write_feed(root, yesterday)
        if number == 6:
            write_feed(root, frame[(frame["ds"] >= night - 2 * day) & (frame["ds"] < night - day)])
    if number == 9:  # somebody copied a file
        file = root / "feed" / f"{night - 3 * day:%Y-%m-%d}.parquet"
        shutil.copyfile(file, file.with_name("copy of a file.parquet"))


def killed(job: Path, day: str) -> None:
    """The job for a day, killed while it is at its forecast."""
    command = [sys.executable, "-m", "forecast_kit.jobs.cli", "batch", "run", str(job), "--as-of", day]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "stage=monitor" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
