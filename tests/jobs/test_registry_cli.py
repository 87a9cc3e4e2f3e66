"""promote, rollback and history as commands: what they print, and the codes they end with."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from stores import prepared
from typer.testing import CliRunner, Result

from forecast_kit import Forecaster, Naive, Panel, SeasonalNaive, WindowAverage
from forecast_kit.errors import ArgumentError, StoreError
from forecast_kit.jobs.asof import now
from forecast_kit.jobs.config import read_job
from forecast_kit.jobs.registry_cli import REFUSED, moment_asked, registry_app
from forecast_kit.mlflow import Store, connect, log_model
from forecast_kit.mlflow.registry import champion, register

JOB = """
name: demand
data: {{path: {data}, schema: {{freq: h}}}}
baselines: {{naive: {{forecaster: Naive}}}}
candidates: {{snaive: {{forecaster: SeasonalNaive}}}}
backtest: {{horizon: 6, folds: 2, levels: [0.5]}}
register: {{name: demand}}
store: {store}
"""


@pytest.fixture
def job(tmp_path: Path, seasonal_frame: pd.DataFrame) -> Path:
    seasonal_frame.to_parquet(tmp_path / "data.parquet")
    file = tmp_path / "job.yaml"
    file.write_text(JOB.format(data=tmp_path / "data.parquet", store=tmp_path / "store"))
    return file


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield connect(prepared(tmp_path / "store"))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def enter(store: Store, forecaster: Forecaster, panel: Panel) -> None:
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    info = log_model(forecaster.fit(panel), run_id=run_id, levels=(0.5,))
    register(store.client, info, "demand", tags={"forecaster": type(forecaster).__name__})


def say(*words: str | Path, code: int = 0) -> str:
    result: Result = CliRunner().invoke(registry_app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_promote_refuse_roll_back_and_tell(store: Store, job: Path, seasonal_panel: Panel) -> None:
    folder = job.parent / "store"
    enter(store, SeasonalNaive(horizon=6), seasonal_panel)
    enter(store, WindowAverage(4, season_length=None, horizon=6), seasonal_panel)  # of the last four days
    assert "demand has had no champion yet" in say("history", "demand", "--store", folder)
    assert json.loads(say("history", "demand", "--store", folder, "--json")) == {"model": "demand", "champions": []}
    told = say("promote", job, "--model-version", "1")
    assert "registry demand version 1. Promoted: SeasonalNaive has MASE" in told
    assert "skill over the best baseline, naive" in told
    assert "/#/models/demand/versions/1?workflowType=machine_learning" in told
    assert "version 2. Promoted: WindowAverage has MASE" in say("promote", job)
    enter(store, Naive(horizon=6), seasonal_panel)
    told = say("promote", job, code=REFUSED)
    assert "version 3. Refused: Naive has MASE" in told
    assert "gain over champion version 2" in told
    told = say("rollback", "demand", "--reason", "the [night] of the storm", "--store", folder)
    assert told.startswith("demand: Rolled back: version 1 replaces version 2: the [night] of the storm. http://")
    found = champion(store.client, "demand")
    assert found is not None
    assert str(found.version) == "1"
    told = say("history", "demand", "--store", folder)
    assert "demand: champions, times in UTC" in told
    assert told.index("1 (SeasonalNaive)") < told.index("2 (WindowAverage)") < told.index("rollback")
    document = json.loads(say("history", "demand", "--store", folder, "--json"))
    assert document["model"] == "demand"
    rows = document["champions"]
    assert [(row["version"], row["replaced"], row["by"]) for row in rows] == [
        ("1", None, "promotion"), ("2", "1", "promotion"), ("1", "2", "rollback"),
    ]  # fmt: skip
    assert rows[-1]["reason"] == "the [night] of the storm"
    assert [row["until"] for row in rows] == [rows[1]["from"], rows[2]["from"], None]
    spans = [pd.Timestamp(row["from"]) for row in rows]
    assert spans == sorted(spans)
    assert abs(spans[-1] - pd.Timestamp.now("UTC")) < pd.Timedelta(minutes=5)


def test_a_query_that_asks_for_an_as_of_is_told_one(
    store: Store, job: Path, seasonal_frame: pd.DataFrame, seasonal_panel: Panel
) -> None:
    with closing(sqlite3.connect(job.parent / "sales.db")) as base:
        seasonal_frame.assign(ds=seasonal_frame["ds"].astype(str)).to_sql("sales", base, index=False)
    file = f"{{path: {job.parent}/data.parquet,"
    query = f"{{sql: {{url: 'sqlite:///{job.parent}/sales.db', query: 'select * from sales where ds < :as_of'}},"
    job.write_text(job.read_text().replace(file, query))
    enter(store, SeasonalNaive(horizon=6), seasonal_panel)
    enter(store, WindowAverage(4, season_length=None, horizon=6), seasonal_panel)
    assert ".. 2024-01-07 23:00" in say("promote", job, "--model-version", "1", "--as-of", "2024-01-08")
    assert ".. 2024-01-13 23:00" in say("promote", job)  # now, which is after all of them
    config = read_job(job)
    assert moment_asked(config, None) == now(config.schedule, config.data.panel_schema)
    job.write_text(job.read_text().replace(query, file))
    assert moment_asked(read_job(job), None) is None  # all that the file has


def test_what_cannot_be_done_is_an_error_with_its_cure(store: Store, job: Path, seasonal_panel: Panel) -> None:
    folder = job.parent / "store"
    with pytest.raises(StoreError, match="'demand' has no challenger; register a model, or name a version"):
        say("promote", job)
    with pytest.raises(StoreError, match="cannot read the history of 'demand'"):
        say("history", "demand", "--store", folder)
    enter(store, SeasonalNaive(horizon=6), seasonal_panel)
    with pytest.raises(StoreError, match="has no champion that could be rolled back"):
        say("rollback", "demand", "--store", folder)
    say("promote", job)
    with pytest.raises(ArgumentError, match="version 1 of 'demand' is the champion already"):
        say("promote", job, "--model-version", "1")
