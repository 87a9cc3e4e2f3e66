"""What `validate` tells of a job, against what the job then does."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from batches import feed, write_feed, write_job
from typer.testing import CliRunner

from forecast_kit.errors import DataError, SchemaError
from forecast_kit.jobs import inspecting
from forecast_kit.jobs.cli import app
from forecast_kit.jobs.config import read_job
from forecast_kit.jobs.inspecting import lines_of, plan_of
from forecast_kit.jobs.sources import read_source


def frame() -> pd.DataFrame:
    """Two days of three series, of which one begins later."""
    rows = [("b", 12), ("a", 0), ("c", 0)]
    return pd.concat([
        pd.DataFrame({"unique_id": name, "ds": pd.date_range("2024-06-01", "2024-06-02 23:00", freq="h")[first:]})
        for name, first in rows
    ], ignore_index=True).assign(y=1.0, note="none")  # fmt: skip


def written(kind: str, folder: Path) -> str:
    """The section `data` for those rows."""
    rows, schema = frame(), "schema: {freq: h}"
    if kind == "parquet":
        write_feed(folder, rows)
        return f"{{path: '{folder}/feed/*.parquet', {schema}}}"
    if kind == "parquet without statistics":
        pq.write_table(pa.Table.from_pandas(rows), folder / "a.parquet", write_statistics=False)
        return f"{{path: {folder}/a.parquet, {schema}}}"
    if kind == "zoned parquet at a url":
        path = f"memory://{uuid.uuid4().hex}/a.parquet"
        rows.assign(ds=rows["ds"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")).to_parquet(path)
        return f"{{path: '{path}', {schema}}}"
    if kind == "csv":
        rows.to_csv(folder / "a.csv", index=False)
        return f"{{path: {folder}/a.csv, {schema}}}"
    with sa.create_engine(f"sqlite:///{folder / 'a.db'}").begin() as connection:
        rows.assign(ds=rows["ds"].astype(str)).to_sql("sales", connection, index=False)
    return f"{{sql: {{url: 'sqlite:///{folder}/a.db', query: 'select * from sales where ds < :as_of;'}}, {schema}}}"


KINDS = ["parquet", "parquet without statistics", "zoned parquet at a url", "csv", "sql"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_are_told_as_they_are(kind: str, tmp_path: Path) -> None:
    job = write_job(tmp_path, data=written(kind, tmp_path), backtest="{horizon: 6, folds: 2, step: 3}")
    plan = plan_of(read_job(job))
    told = plan["data"]
    assert (told["rows"], told["series"], told["taken"]) == (len(frame()), 3, 3)
    assert (told["first"], told["last"]) == ("2024-06-01 00:00:00", "2024-06-02 23:00:00")
    assert told.get("files") == {"parquet": 2, "sql": None}.get(kind, 1)
    if kind != "sql":  # which asks for an as-of
        config = read_job(job)
        panel = read_source(config.data).panel
        folds = [fold.train.axis.stamps(fold.train.last)[0] for fold in config.backtest.splitter.split(panel)]
        assert plan["backtest"]["cutoffs"] == [str(pd.Timestamp(stamp)) for stamp in folds]


def test_parquet_is_told_by_its_metadata_and_its_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = write_job(tmp_path, data=written("parquet", tmp_path), backtest="{horizon: 6}")
    asked: list[Any] = []
    usual = pq.ParquetFile.iter_batches

    def watched(self: pq.ParquetFile, *words: Any, **options: Any) -> Any:
        asked.append(options["columns"])
        return usual(self, *words, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_: pytest.fail("rows were read"))
    assert plan_of(read_job(job))["data"]["rows"] == len(frame())
    assert asked == [["unique_id"]] * 2


def test_numbered_time_and_a_bundled_set(tmp_path: Path) -> None:
    rows = pd.DataFrame({"unique_id": np.repeat([1, 2], 30), "ds": np.tile(np.arange(5, 65, 2), 2), "y": 1.0})
    rows.to_parquet(tmp_path / "a.parquet")
    data = f"{{path: {tmp_path}/a.parquet, schema: {{freq: 2}}}}"
    plan = plan_of(read_job(write_job(tmp_path, data=data, backtest="{horizon: 2, folds: 2}")))
    assert (plan["data"]["first"], plan["data"]["last"], plan["next"]["as_of"]) == (5, 63, None)
    assert plan["backtest"]["cutoffs"] == ["55", "59"]
    told = plan_of(read_job(write_job(tmp_path, data="{dataset: hospital, series: 10}")))["data"]
    assert (told["series"], told["taken"], told["last"]) == (767, 10, "2006-12-01 00:00:00")


def test_what_is_wrong_with_the_data_is_told(tmp_path: Path) -> None:
    job = read_job(write_job(tmp_path, data=written("parquet", tmp_path).replace("{freq: h}", "{freq: h, past: [z]}")))
    with pytest.raises(SchemaError, match="column 'z' is missing"):
        plan_of(job)
    for file in (tmp_path / "feed").iterdir():
        frame().iloc[:0].to_parquet(file)
    with pytest.raises(DataError, match="the frame has no rows"):
        plan_of(read_job(write_job(tmp_path)))
    next((tmp_path / "feed").iterdir()).write_text("no Parquet")
    with pytest.raises(DataError, match=r"cannot read .*\.parquet"):
        plan_of(read_job(write_job(tmp_path)))
    assert plan_of(read_job(write_job(tmp_path)), data=False)["data"] is None


def test_the_command_tells_people_and_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_feed(tmp_path, feed())
    job = write_job(tmp_path)
    done = CliRunner().invoke(app, ["validate", str(job)])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == f"{job} is valid: 1 baselines, 1 candidates"
    shown = {line.split()[0]: line for line in lines[1:]}
    assert f"{tmp_path}/feed/*.parquet, 28 files: 4 series, 2688 rows, 2024-06-01 00:00:00 .." in shown["reads"]
    assert "2 folds of 24 steps, cutoffs 2024-06-26 23:00:00 .. 2024-06-27 23:00:00" in shown["judges"]
    assert shown["candidates"].endswith("average (SeasonalNaive)")
    assert "searches" not in shown
    assert f"{tmp_path}/out (parquet)" in shown["writes"]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "store").exists()
    told = json.loads(CliRunner().invoke(app, ["validate", str(job), "--json"]).output)
    assert (told["valid"], told["job"], told["data"]["files"]) == (True, "nightly", 28)
    assert told["next"]["as_of"] == f"{pd.Timestamp.now('UTC'):%Y-%m-%d}"
    monkeypatch.setattr(inspecting, "open_source", lambda *_, **__: pytest.fail("data were looked at"))
    assert "reads" not in CliRunner().invoke(app, ["validate", str(job), "--no-data"]).output
    job.write_text("name: a/b")
    done = CliRunner().invoke(app, ["validate", str(job), "--json"])
    assert done.exit_code == 2
    told = json.loads(done.output)
    assert told["valid"] is False
    assert "takes no slash" in told["error"]


def days(folder: Path, policies: str = "", freq: str = "h") -> str:
    """The section `data` for two months of four series with a row a day."""
    rows = pd.DataFrame({"ds": pd.date_range("2024-05-01", periods=60)}).assign(y=1.0)
    frame = pd.concat([rows.assign(unique_id=name) for name in "abcd"], ignore_index=True)
    frame.to_parquet(folder / "days.parquet")
    return f"{{path: {folder}/days.parquet, schema: {{freq: {freq}{policies}}}}}"


@pytest.mark.parametrize(
    ("data", "backtest", "named"),
    [
        ("", "{horizon: 24, folds: 200}", "200 folds with horizon 24 take more than 4800 steps .* there are 672"),
        (", gaps: mask", "{horizon: 24, folds: 60}", "take more than 1440 steps .* there are 1417"),
        (", duplicates: last", "{horizon: 7, folds: 9}", "240 rows of 4 series are 60 each; lower folds or horizon"),
        ("", "{horizon: 24}", "freq='h' has 1417 steps from 2024-05-01 .* 'a' has 60 rows there; state the frequency"),
        (", timezone: Europe/Berlin", "{horizon: 24}", "freq='h' has 1417 steps from 2024-05-01 .* 'a' has 60 rows"),
    ],
)
def test_folds_and_frequencies_that_must_fail_are_refused(data: str, backtest: str, named: str, tmp_path: Path) -> None:
    """What is refused here is refused by the run, too."""
    if "200" in backtest:
        write_feed(tmp_path, feed())
        job = write_job(tmp_path, backtest=backtest)
    else:
        job = write_job(tmp_path, data=days(tmp_path, data), backtest=backtest)
    refused(job, named)
    config = read_job(job)
    with pytest.raises(DataError):
        config.backtest.splitter.check(read_source(config.data).panel)


def refused(job: Path, named: str) -> None:
    done = CliRunner().invoke(app, ["validate", str(job), "--json"])
    assert done.exit_code == 2
    assert re.search(named, json.loads(done.output)["error"]), done.output


def test_stamps_between_the_steps_are_refused(tmp_path: Path) -> None:
    rows = frame()
    rows.to_csv(tmp_path / "a.csv", index=False)
    data = f"{{path: {tmp_path}/a.csv, schema: {{freq: D}}}}"
    refused(write_job(tmp_path, data=data), "do not lie on the grid freq='D'")


def test_a_time_that_the_clock_skips_is_refused_before_it_is_scheduled(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    job.write_text(job.read_text() + "schedule: {at: '02:30', timezone: Europe/Berlin}\n")
    refused(job, "schedule.at: the clock of Europe/Berlin skips 02:30 on 20")


def test_what_is_odd_is_a_warning(tmp_path: Path) -> None:
    job = write_job(tmp_path, data=days(tmp_path, ", gaps: mask"))
    done = CliRunner().invoke(app, ["validate", str(job)])
    assert done.exit_code == 0
    assert "warning    freq='h' has 1417 steps from 2024-05-01" in done.output
    # A panel of which few series are long is not odd.
    rows = frame()
    few = pd.concat([rows, *(rows[-3:].assign(unique_id=f"new {k}") for k in range(20))])
    few.to_csv(tmp_path / "a.csv", index=False)
    data = f"{{path: {tmp_path}/a.csv, schema: {{freq: h, gaps: mask}}}}"
    plan = plan_of(read_job(write_job(tmp_path, data=data, backtest="{horizon: 1}")))
    assert plan["warnings"] == []
    assert plan["data"]["rows"] * 2 < 48 * plan["data"]["series"]


def test_the_store_is_the_one_that_will_be_registered_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:seven@mlflow.example.com")
    told = plan_of(read_job(write_job(tmp_path)), data=False)
    assert told["writes"]["store"] == f"{tmp_path}/store"  # which the job names, so that the variable is not asked
    job = read_job(write_job(tmp_path, store="null"))
    assert "registers  nightly, in https://***@mlflow.example.com" in lines_of(plan_of(job, data=False))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "registers  nightly, in the default store" in lines_of(plan_of(job, data=False))
