"""A whole job, a network in it, whose server dies in the middle of the training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from servers import TrackingServer

pytestmark = pytest.mark.slow

JOB = """
name: shop
data: {path: sales.csv, schema: {freq: h}}
baselines: {naive: {forecaster: Naive}}
candidates:
  gru:
    forecaster: NeuralForecaster
    network: {cell: gru, units: 8, segment: 24}
    input_length: 48
    training: {steps: 400, batch_size: 16, validation: 1}
backtest: {horizon: 24, folds: 1}
register: {name: shop-sales, history: true}
"""


def test_the_job_goes_on_and_sync_tells_the_server_all_of_it(tmp_path: Path, seasonal_frame: pd.DataFrame) -> None:
    server = TrackingServer(tmp_path / "server")
    server.start()
    seasonal_frame.to_csv(tmp_path / "sales.csv", index=False)
    (tmp_path / "job.yaml").write_text(JOB)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "forecast_kit.jobs.cli"]
    try:
        job = subprocess.Popen(
            [*command, "run", "job.yaml"], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert job.stdout is not None
        for line in job.stdout:
            if line.startswith("  naive, fold 1 of 1: done"):  # the network's training begins
                server.kill()
                break
        rest, errors = job.communicate(timeout=280)
        assert job.returncode == 1, errors
        assert "registry   shop-sales has not heard of the new version yet" in rest
        assert "the tracking server went away (" in rest
        assert "); forecast-kit sync sends what is there" in rest
        assert errors == ""
        server.start()
        done = subprocess.run([*command, "sync"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 0 wait, 0 refused" in done.stdout
        client = MlflowClient(server.uri)
        (parent,) = client.search_runs(["1"], "attributes.run_name = 'shop'")
        (child,) = client.search_runs(["1"], "attributes.run_name = 'gru'")
        assert {parent.info.status, child.info.status} == {"FINISHED"}
        losses = [point.step for point in client.get_metric_history(child.info.run_id, "fold_1/loss")]
        assert sorted(losses)[-1] == 400
        assert len(losses) >= 20
        assert child.info.end_time - child.info.start_time < 120_000  # its own times, not those of the sync
        assert client.get_model_version_by_alias("shop-sales", "challenger").version == "1"
        names = {file.path for file in client.list_artifacts(parent.info.run_id)}
        assert {"leaderboard.json", "job.json", "environment.json", "backtest", "figures"} <= names
    finally:
        server.kill()
