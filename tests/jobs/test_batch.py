"""Batch jobs: the same however often they run, honest about what was known, and never without a forecast."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batches import FIRST, SERIES, feed, run, trained_job, write_feed, write_job
from mlflow.tracking import MlflowClient
from stores import prepared

from forecast_kit.errors import ArgumentError, BusyError, ConfigError, DataError, StoreError, TooShortError
from forecast_kit.jobs.batch import only_one
from forecast_kit.jobs.cli import main
from forecast_kit.mlflow import connect

DAY = "2024-06-20"


pytestmark = pytest.mark.usefixtures("same_store_afterwards")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that has run for one day: trained, promoted, forecast."""
    return trained_job(tmp_path_factory)


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """The same, to be changed; the store stays where it was made, as its artefacts have absolute places."""
    for name in ("feed", "out"):
        shutil.copytree(trained / name, tmp_path / name)
    return tmp_path


def tables(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted((root / "out").rglob("*.parquet"))}


def job_of(root: Path, trained: Path, **changes: str) -> Path:
    return write_job(root, store=str(trained / "store"), **changes)


def forecasts(root: Path, day: str = DAY) -> pd.DataFrame:
    return pd.read_parquet(root / "out" / "forecasts" / f"as_of={day}" / "forecasts.parquet")


def test_the_rows_of_a_run_are_one_forecast_for_each_series_and_step(trained: Path) -> None:
    rows = forecasts(trained)
    assert list(rows.columns) == [
        "unique_id", "ds", "cutoff", "model", "model_version", "mean", "q10", "q90", "fallback", "reason",
    ]  # fmt: skip
    assert set(pd.read_parquet(trained / "out" / "forecasts")["as_of"].astype(str)) == {DAY}
    stamps = pd.date_range(DAY, periods=24, freq="h")
    assert [(name, stamp) for name in SERIES for stamp in stamps] == list(
        zip(rows["unique_id"], rows["ds"], strict=True)
    )
    assert (rows["cutoff"] == pd.Timestamp(DAY) - pd.Timedelta(hours=1)).all()
    assert set(rows["model"] + "/" + rows["model_version"]) == {"nightly/1"}
    # What the champion says, by hand: the value of the week before.
    frame = feed().set_index(["unique_id", "ds"])["y"]
    before = [frame[name, stamp - pd.Timedelta(days=7)] for name in SERIES for stamp in stamps]
    np.testing.assert_allclose(rows["mean"], before)


def test_a_second_run_changes_nothing_and_trains_nothing(root: Path, trained: Path) -> None:
    before = tables(trained)
    again = run(write_job(trained), DAY)
    assert tables(trained) == before
    assert again.training == {
        "version": "1", "decision": "promoted", "reason": again.training["reason"] if again.training else ""
    }  # fmt: skip
    client = connect(trained / "store").client
    assert [str(one.version) for one in client.search_model_versions("name='nightly'")] == ["1"]


def test_the_next_day_scores_the_one_before(root: Path, trained: Path) -> None:
    summary = run(job_of(root, trained), "2024-06-21")
    assert summary.training is None
    assert summary.sentence == (
        "As of 2024-06-21: 4 series forecast by nightly version 1, 0 fell back; 1 runs scored, no rule fired."
    )
    assert summary.monitor is not None
    assert (summary.monitor["scored_runs"], summary.monitor["retrain"]) == (1, False)
    scores = pd.read_parquet(root / "out" / "scores" / f"as_of={DAY}" / "scores.parquet")
    truth = forecasts(root).merge(feed(), on=["unique_id", "ds"])
    expected = (truth["y"] - truth["mean"]).abs().groupby(truth["unique_id"]).mean()
    np.testing.assert_allclose(scores.set_index("unique_id")["mae"], expected)
    assert (scores["observed"] == 24).all()
    assert json.loads((root / "reports" / "summaries" / "nightly-2024-06-21.json").read_text())["exit_code"] == 0


def test_late_data_do_not_move_the_forecast(root: Path, trained: Path) -> None:
    """One series has nothing of the last ten hours, another nothing of the last two days, a third nothing at all."""
    frame = feed()
    hours = (pd.Timestamp(DAY) - frame["ds"]) / pd.Timedelta(hours=1)
    late = ((frame["unique_id"] == "H1") & (hours <= 10)) | ((frame["unique_id"] == "H2") & (hours <= 48))
    frame = frame[~late].assign(y=lambda rows: rows["y"].mask(rows["unique_id"] == "H3"))
    shutil.rmtree(root / "feed")
    write_feed(root, frame)
    job = job_of(root, trained, data=f"{{path: '{root}/feed', schema: {{freq: h, gaps: mask, empty_series: drop}}}}")
    summary = run(job, DAY, tasks=["forecast"])
    rows = forecasts(root)
    assert rows.groupby("unique_id")["ds"].apply(list).map(len).to_dict() == {"H1": 24, "H2": 24, "H4": 24}
    assert rows["ds"].unique().tolist() == [*pd.date_range(DAY, periods=24, freq="h")]
    assert rows.groupby("unique_id")["fallback"].first().to_dict() == {"H1": "", "H2": "SeasonalNaive", "H4": ""}
    assert summary.forecast is not None
    assert summary.forecast["missing"] == 1
    assert summary.exit_code == 3  # two of four series, more than the allowed tenth
    kept = forecasts(trained)
    whole = kept[kept["unique_id"] == "H4"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows[rows["unique_id"] == "H4"].reset_index(drop=True), whole)


def test_a_day_before_the_training_is_refused_without_hindsight(root: Path, trained: Path) -> None:
    job = job_of(root, trained)
    with pytest.raises(ArgumentError, match="version 1, learned from data until .*pass --hindsight"):
        run(job, "2024-06-15", tasks=["forecast"])
    assert not (root / "out" / "forecasts" / "as_of=2024-06-15").exists()
    assert run(job, "2024-06-15", tasks=["forecast"], hindsight=True).exit_code == 0
    summary = run(job, "2024-06-14", tasks=["train"])  # which must not move the champion of today
    assert summary.training is None
    assert "learned from data until" in summary.warnings[0]


def test_nobody_is_champion_and_there_is_a_forecast_nevertheless(tmp_path: Path) -> None:
    write_feed(tmp_path, feed())
    prepared(tmp_path / "store")
    summary = run(write_job(tmp_path, gate="{min_skill: 0.9}"), DAY)
    assert summary.exit_code == 3
    assert summary.training is not None
    assert summary.training["decision"] == "refused"
    rows = forecasts(tmp_path)
    assert len(rows) == 24 * len(SERIES)
    assert set(rows["fallback"]) == {"SeasonalNaive"}
    assert set(rows["reason"]) == {"no version of nightly is champion"}


def test_a_training_that_fails_stops_no_forecast(root: Path, trained: Path) -> None:
    hopeless = job_of(root, trained, backtest="{horizon: 24, folds: 60, levels: [0.1, 0.9]}")
    with pytest.raises(TooShortError):
        run(hopeless, "2024-06-21", tasks=["train", "forecast"])
    rows = forecasts(root, "2024-06-21")
    assert len(rows) == 24 * len(SERIES)
    assert set(rows["model_version"]) == {"1"}
    told = json.loads((root / "reports" / "summaries" / "nightly-2024-06-21.json").read_text())
    assert (told["exit_code"], told["forecast"]["rows"]) == (2, len(rows))
    assert told["error"].startswith("TooShortError: ")
    assert any(text.startswith("the training failed, and the forecast is made without it") for text in told["warnings"])
    with pytest.raises(TooShortError):  # alone it fails at once
        run(hopeless, "2024-06-21", tasks=["train"])


def broken(root: Path, job: Path, day: str = DAY) -> dict:
    """The summary of a run that has to end with 1, as its store is broken."""
    with pytest.raises(StoreError):
        run(job, day)
    told = json.loads((root / "reports" / "summaries" / f"nightly-{day}.json").read_text())
    assert told["exit_code"] == 1
    assert told["error"].startswith("StoreError: ")
    return told


def test_a_store_that_cannot_be_opened_stops_no_forecast(root: Path, trained: Path) -> None:
    """The champion's copy on this machine makes it; what was logged waits, and nobody takes it for a good night."""
    for name in ("champions", "mlflow.db"):
        source = trained / "store" / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, _made(root / "store") / name)
    (root / "store" / "mlflow.db").write_bytes(b"no database at all" * 100)
    before = tables(root)
    told = broken(root, write_job(root))
    assert (told["model"]["version"], told["link"]) == ("1", None)
    assert any("copy of the last champion" in text for text in told["warnings"])
    asked = datetime.fromtimestamp((trained / "store" / "champions" / "nightly" / "line.json").stat().st_mtime, UTC)
    assert any(
        "by this machine's copy of nightly version 1, fetched 20" in text
        and f"the registry last told who is champion {asked:%Y-%m-%d %H:%M} UTC" in text
        for text in told["warnings"]
    )
    assert any(text.startswith("no training: the registry cannot be asked") for text in told["warnings"])
    assert {key: value for key, value in tables(root).items() if "forecasts" in key} == {
        key: value for key, value in before.items() if "forecasts" in key
    }
    assert len(list((root / "store" / "journal").iterdir())) == 1


@contextmanager
def full_disk(kilobytes: int) -> Iterator[None]:
    """No file can grow beyond so much, as on a disk that is full: small ones are still written, a database is not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_below_the_store_at_the_first_run_is_a_failure_and_not_a_server_that_is_away(
    tmp_path: Path,
) -> None:
    write_feed(tmp_path, feed())
    job = write_job(tmp_path)
    with full_disk(100):
        told = broken(tmp_path, job)
        with pytest.raises(StoreError):
            run(job, DAY, tasks=["train"])  # without a forecast to make it fails at once
    assert "cannot open the tracking store" in told["error"]
    rows = forecasts(tmp_path)
    assert len(rows) == 24 * len(SERIES)
    assert set(rows["reason"]) == {
        "the registry was not asked, and no copy of a champion of nightly is on this machine"
    }  # fmt: skip


def test_a_store_that_takes_nothing_more_fails_the_night_and_stops_no_forecast(root: Path, trained: Path) -> None:
    prepared(root / "store")
    for name in ("mlflow.db", "champions"):
        source = trained / "store" / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, root / "store" / name)
    with full_disk(100):
        told = broken(root, write_job(root), "2024-06-21")  # by reading or by writing, whichever it tries first
    assert told["model"] == {"name": "nightly", "version": "1"}
    assert len(forecasts(root, "2024-06-21")) == 24 * len(SERIES)
    assert run(write_job(root), "2024-06-21").exit_code == 0  # there is room again


@pytest.mark.slow
def test_a_store_that_can_be_read_and_not_written_to_fails_the_night_too(root: Path, trained: Path) -> None:
    shutil.copyfile(trained / "store" / "mlflow.db", prepared(root / "store") / "mlflow.db")
    with closing(sqlite3.connect(root / "store" / "mlflow.db")) as other:
        other.execute("BEGIN IMMEDIATE")  # readers pass, writers wait in vain
        told = broken(root, write_job(root), "2024-06-21")
    assert "the tracking store has not taken everything" in told["error"]
    assert len(forecasts(root, "2024-06-21")) == 24 * len(SERIES)


def test_an_as_of_in_the_future_is_told(root: Path, trained: Path) -> None:
    far = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
    summary = run(job_of(root, trained), far, tasks=["monitor"])
    assert any(f"the as-of {far} lies in the future" in text for text in summary.warnings)
    assert run(job_of(root, trained), "2024-06-21", tasks=["monitor"]).warnings == []


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_an_empty_source_takes_no_forecast_away(root: Path, trained: Path) -> None:
    before = tables(root)
    with pytest.raises(DataError, match="holds no series to forecast as of 2024-05-30"):
        run(job_of(root, trained), "2024-05-30", tasks=["forecast"], hindsight=True)
    shutil.rmtree(root / "feed")
    with pytest.raises(DataError, match="feed"):
        run(job_of(root, trained), DAY, tasks=["forecast"])
    assert tables(root) == before
    told = json.loads((root / "reports" / "summaries" / "nightly-2024-06-20.json").read_text())
    assert told["exit_code"] == 2
    assert told["error"].startswith("DataError: ")


def test_a_job_runs_once_at_a_time(root: Path, trained: Path) -> None:
    with only_one(trained / "store", "nightly"), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        run(job_of(root, trained), DAY)
    assert run(job_of(root, trained), DAY, tasks=["monitor"]).exit_code == 0


def test_a_job_without_a_sink_and_unknown_tasks_are_refused(root: Path, trained: Path) -> None:
    job = job_of(root, trained)
    with pytest.raises(ArgumentError, match="tasks are monitor, train, forecast; got sing"):
        run(job, DAY, tasks=["sing"])
    text = job.read_text().splitlines()
    job.write_text("\n".join(line for line in text if not line.startswith("sink:")))
    with pytest.raises(ConfigError, match="has no 'sink'"):
        run(job, DAY)


def command(*arguments: object) -> int:
    """What the command line ends with, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["forecast-kit", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0)


def test_a_range_of_days_fills_what_is_missing(root: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = job_of(root, trained)
    asked = ["batch", "backfill", job, "--from", DAY, "--to", "2024-06-22", "--missing", "--json", "--task", "forecast"]
    assert command(*asked) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["as_of"] for one in told] == ["2024-06-21", "2024-06-22"]
    assert all(one["forecast"]["rows"] == 24 * len(SERIES) for one in told)
    assert command(*asked) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert command("batch", "backfill", job, "--from", "2024-06-22", "--to", DAY) == 2


def test_machines_get_one_document_also_of_failures(
    root: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of(root, trained)
    assert command("batch", "forecast", job, "--as-of", "2024-06-15", "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 2
    assert "--hindsight" in told["error"]
    assert command("batch", "forecast", root / "none.yaml", "--json") == 2
    assert "cannot read the job file" in json.loads(capsys.readouterr().out)["error"]
    assert command("batch", "forecast", job, "--as-of", DAY, "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert command("batch", "forecast", job, "--as-of", DAY) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert "stage=forecast" in line
    assert "rows=96" in line


def test_runs_and_versions_tell_the_job_and_the_day(trained: Path) -> None:
    uri = f"sqlite:///{trained / 'store' / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("nightly")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.as_of = '2024-06-20'")
    assert {run.data.tags["job"] for run in runs} == {"nightly"}
    assert max(run.data.metrics.get("forecast/rows", 0) for run in runs) == 24 * len(SERIES)
    version = client.get_model_version("nightly", "1")
    assert version.tags["as_of"] == DAY
    assert pd.Timestamp(FIRST) < pd.Timestamp(DAY)
