"""The recipe for Spark, run in local mode: the rows of `forecast-kit batch forecast`, whoever computed them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from rich.console import Console

from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.batch import run_batch
from forecast_kit.jobs.config import read_job
from forecast_kit.jobs.reporting import Reporter

RECIPE = Path(__file__).parents[2] / "pipelines" / "spark_job.py"
JOB = """
name: {name}
data:
  path: {root}/sales
  schema: {{freq: h, id_col: store, timezone: Europe/Berlin, gaps: mask, empty_series: drop}}
baselines: {{naive: {{forecaster: Naive}}}}
candidates: {{snaive: {{forecaster: SeasonalNaive}}}}
backtest: {{horizon: 24, folds: 2, levels: [0.1, 0.9]}}
gate: {{min_skill: -9}}
register: {{name: shop}}
forecast: {{max_fallback: {share}}}
sink: {{path: {root}/{name}}}
output: {root}/reports
store: {root}/store
"""
DAY = "2024-03-31"  # a day of 23 hours


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_spark_writes_the_rows_that_one_machine_writes(tmp_path: Path, seasonal_frame: pd.DataFrame) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'forecast_kit[spark]'")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is no java on the path")
    frame = seasonal_frame.rename(columns={"unique_id": "store"})
    ends = frame.groupby("store")["ds"].transform("max")
    shift = pd.Timestamp(DAY) - pd.Timedelta(hours=1) - ends
    frame["ds"] = (frame["ds"] + shift).astype("datetime64[us]")
    frame = frame[(frame["store"] != "s1") | (frame["ds"] < pd.Timestamp(DAY) - pd.Timedelta(days=3))]  # is late
    frame["y"] = frame["y"].mask(frame["store"] == "s4")  # has no value at all
    (tmp_path / "sales").mkdir()
    mixed = frame.sample(frac=1.0, random_state=1)
    for k in range(3):
        mixed.iloc[k::3].to_parquet(tmp_path / "sales" / f"{k}.parquet", index=False)
    jobs = {}
    for name, share in (("here", 0.9), ("there", 0.1)):
        jobs[name] = tmp_path / f"{name}.yaml"
        jobs[name].write_text(JOB.format(name=name, root=tmp_path, share=share))
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    summary = run_batch(read_job(jobs["here"]), AsOf.read(DAY), out=Reporter(quiet(), quiet=True))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])
    assert summary.forecast is not None

    done = spark_submit(jobs["there"], "--as-of", DAY)
    assert done.returncode == 3, done.stderr  # two of six series, more than the allowed tenth
    told = json.loads(done.stdout.splitlines()[-1])
    expected = {key: summary.forecast[key] for key in ("rows", "series", "fallbacks", "missing")}
    assert (told["rows"], told["fallbacks"], told["missing"]) == (5 * 24, 1, 1)
    assert told["rows"] == expected["rows"]
    assert told["model"] == "shop/1"
    file = Path("forecasts") / f"as_of={DAY}" / "forecasts.parquet"
    here, there = (pd.read_parquet(tmp_path / name / file).sort_values(["unique_id", "ds"], ignore_index=True)
                   for name in ("here", "there"))  # fmt: skip
    pd.testing.assert_frame_equal(there, here)
    assert str(there["ds"].dt.tz) == "Europe/Berlin"

    early = spark_submit(jobs["there"], "--as-of", "2024-03-20")
    assert early.returncode == 2
    assert "error: the champion, version 1, learned from data until" in early.stderr
    assert "Traceback" not in early.stderr


def quiet() -> Console:
    return Console(quiet=True)


def spark_submit(job: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The recipe in a process of its own, on two workers of this machine."""
    settings = {
        "spark.master": "local[2]", "spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1", "spark.sql.execution.arrow.maxRecordsPerBatch": "50",
        "spark.sql.shuffle.partitions": "3",
    }  # fmt: skip
    words = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable,
                   "PYSPARK_SUBMIT_ARGS": " ".join([*words, "pyspark-shell"]),
                   "PYTHONPATH": str(RECIPE.parents[1])}  # fmt: skip
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        [sys.executable, str(RECIPE), str(job), *arguments], cwd=job.parent, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
