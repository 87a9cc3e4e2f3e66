"""The command, as users run it: real files, real processes, real exit codes."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stores import prepared

from forecast_kit.jobs import cli

JOB = """
name: shop
data: {path: sales.csv, schema: {freq: h, id_col: store, time_col: hour, target_col: sales}}
baselines:
  naive: {forecaster: Naive}
candidates:
  seasonal: {forecaster: SeasonalNaive}
  gru:
    forecaster: NeuralForecaster
    network: {cell: gru, units: 4, hidden: 8, segment: 24}
    input_length: 48
    training: {steps: 4, batch_size: 8}
backtest: {horizon: 24, folds: 2}
register: {name: shop-sales, history: true}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seasonal_frame: pd.DataFrame) -> Path:
    """A folder with a job and its data, being the current one."""
    frame = seasonal_frame.rename(columns={"unique_id": "store", "ds": "hour", "y": "sales"})
    frame.sample(frac=1.0, random_state=0).to_csv(tmp_path / "sales.csv", index=False)  # unsorted on purpose
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forecast_kit.jobs.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def called(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["forecast-kit", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_a_job_runs_from_a_messy_file_to_a_champion_that_another_process_forecasts_with(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "job.yaml").write_text(JOB.replace("folds: 2", "folds: 1"))  # one fit of the network less
    prepared(shop / ".forecast_kit")
    first = command("run", "job.yaml", folder=shop)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""  # no chatter of TensorFlow or MLflow
    assert "Promoted: gru has MASE" in first.stdout
    assert "?workflowType=machine_learning" in first.stdout
    out = pd.read_parquet(shop / "forecasts" / "shop.parquet")
    assert out.columns.tolist() == ["unique_id", "ds", "cutoff", "model", "mean", "q10", "q50", "q90"]
    assert out.groupby("unique_id").size().tolist() == [24] * 6
    assert (shop / "forecasts" / "shop.png").read_bytes().startswith(b"\x89PNG")
    assert "<h2>Leaderboard</h2>" in (shop / "forecasts" / "shop-backtest.html").read_text(encoding="utf-8")

    arguments = ("forecast", "--model", "models:/shop-sales@champion", "--out", "again.csv", "--level", "0.5")
    second = command(*arguments, folder=shop)
    assert second.returncode == 0, second.stderr
    again = pd.read_csv(shop / "again.csv")
    np.testing.assert_allclose(again["mean"], out["mean"], rtol=1e-6)
    assert again.columns.tolist() == ["unique_id", "ds", "cutoff", "model", "mean", "q50"]

    assert called(*arguments[:-2], "--data", "sales.csv", "--horizon", "3", monkeypatch=monkeypatch) == 0
    assert len(pd.read_csv(shop / "again.csv")) == 6 * 3


def spoil(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    frame = frame.sort_values(["store", "hour"], ignore_index=True)
    if how == "missing column":
        return frame.drop(columns="sales")
    if how == "duplicate":
        return pd.concat([frame, frame.iloc[[30]]])
    if how == "not numeric":
        return frame.astype({"sales": object}).replace({"sales": {frame["sales"][3]: "closed"}})
    if how == "gap":
        return frame.drop(index=10)
    if how == "too short":
        return frame[(frame["store"] != "s2") | (frame.groupby("store").cumcount() < 20)]
    if how == "empty":
        return frame.iloc[:0]
    if how == "missing value":
        frame.loc[7, "sales"] = np.nan
        return frame
    return frame.assign(hour="yesterday")


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing column", "column 'sales' is missing; the frame has store, hour"),
        ("duplicate", "1 duplicate time stamps: s0 at 2024-01-02 06:00:00"),
        ("not numeric", "column 'sales' must be numeric.*'closed'"),
        ("gap", "1 steps of freq='h' are missing in 1 gaps.*s0 at 2024-01-01 10:00:00"),
        ("too short", "1 series are too short for 2 folds with horizon 24.*'s2' \\(shortest: 20\\)"),
        ("empty", "the frame has no rows"),
        ("missing value", "column 'sales' has 1 missing values: s0 at 2024-01-01 07:00:00"),
        ("no date", "no ISO 8601 dates, such as 'yesterday'"),
    ],
)  # fmt: skip
def test_bad_data_ends_with_one_line_that_names_the_offender_and_exit_code_2(
    shop: Path, how: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(pd.read_csv(shop / "sales.csv"), how).to_csv(shop / "sales.csv", index=False)
    assert called("run", "job.yaml", monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.strip().splitlines()) == 1
    assert re.search(named, error), error
    assert not (shop / "forecasts").exists()


def test_an_unknown_key_of_the_job_ends_with_exit_code_2(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "job.yaml").write_text(JOB.replace("history: true", "histroy: true"))
    assert called("run", "job.yaml", monkeypatch=monkeypatch) == 2
    assert "unknown key 'register.histroy'; known are name, history. Did you mean 'history'?" in capsys.readouterr().err
    assert not (shop / ".forecast_kit").exists()


def test_validate_checks_and_runs_nothing(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("validate", "job.yaml", monkeypatch=monkeypatch) == 0
    assert "job.yaml is valid: 1 baselines, 2 candidates" in capsys.readouterr().out
    assert not (shop / ".forecast_kit").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("forecast", "--model", "models:/nobody@champion", "--out", "x.parquet"), 1, "nobody"),
        (("forecast", "--model", "models:/nobody@champion", "--out", "x.xlsx"), 2, "must end in .parquet or .csv"),
        (("run", "absent.yaml"), 2, "cannot read the job file absent.yaml"),
    ],
)
def test_what_is_not_there_is_told(
    shop: Path, arguments: tuple[str, ...], code: int, named: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert called(*arguments, monkeypatch=monkeypatch) == code
    assert named in capsys.readouterr().err
    assert not (shop / "x.parquet").exists()


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from forecast_kit import __version__

    assert called("--version", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_what_a_policy_repairs_is_shown_and_logged(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(shop / "sales.csv").sort_values(["store", "hour"], ignore_index=True)
    pd.concat([frame.drop(index=[10, 11]), frame.iloc[[30]]]).to_csv(shop / "sales.csv", index=False)
    job = JOB.replace("target_col: sales}", "target_col: sales, gaps: interpolate, duplicates: mean}")
    (shop / "job.yaml").write_text(job[: job.index("  gru:")] + job[job.index("backtest:") :])
    assert called("run", "job.yaml", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "duplicates combined by mean: 1 rows in 1 series ('s0' 1)" in told
    assert "missing targets interpolated: 2 rows in 1 series ('s0' 2)" in told
    (audit,) = shop.glob(".forecast_kit/artifacts/shop/*/artifacts/audit.json")
    assert "missing targets interpolated" in audit.read_text()


def test_a_run_by_hand_may_be_that_of_another_day(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(shop / ".forecast_kit")
    with closing(sqlite3.connect(shop / "shop.db")) as base:
        pd.read_csv(shop / "sales.csv").to_sql("sales", base, index=False)
    query = "sql: {url: 'sqlite:///shop.db', query: 'select * from sales where hour < :as_of'}"
    job = JOB.replace("path: sales.csv", query)
    (shop / "job.yaml").write_text(job[: job.index("  gru:")] + job[job.index("backtest:") :])
    assert called("run", "job.yaml", "--as-of", "2024-01-08", monkeypatch=monkeypatch) == 0, capsys.readouterr().err
    assert str(pd.read_parquet(shop / "forecasts" / "shop.parquet")["ds"].min()) == "2024-01-08 00:00:00"


WEATHER_JOB = """
name: shop
data:
  path: sales.csv
  schema:
    freq: h
    timezone: Europe/Berlin
    gaps: mask
    past: [footfall]
    future: [temp, sky]
    categorical: [sky]
    calendar: ["hour", "week:2", "holiday:DE-BE"]
baselines: {naive: {forecaster: Naive}}
candidates:
  gru:
    forecaster: NeuralForecaster
    network: {cell: gru, units: 4, hidden: 8, segment: 24}
    transform: [log1p, {stage: difference, lag: season}, {stage: sklearn, transformer: RobustScaler}]
    input_length: 48
    training: {steps: 4, batch_size: 8}
backtest: {horizon: 24, folds: 1}
gate: {min_skill: -1000}
register: {name: weather, history: true}
"""


def test_a_job_with_weather_categories_calendar_and_wall_clock_time(
    shop: Path, seasonal_frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    utc = (seasonal_frame["ds"] + pd.Timedelta(days=82)).dt.tz_localize("UTC")  # the clock changes on 31 March 2024
    frame = seasonal_frame.assign(ds=utc.dt.tz_convert("Europe/Berlin").dt.tz_localize(None))
    frame["temp"], frame["sky"] = rng.normal(size=len(frame)), rng.choice(["sun", "rain"], len(frame))
    frame["footfall"] = frame["y"] * 2
    ahead = frame.groupby("unique_id").cumcount(ascending=False) < 24  # the last day's sales are still to come
    frame.loc[ahead, ["y", "footfall"]] = np.nan
    frame.loc[ahead.idxmax(), "sky"] = "hail"  # never seen in training
    frame.to_csv(shop / "sales.csv", index=False)
    (shop / "job.yaml").write_text(WEATHER_JOB)
    assert called("run", "job.yaml", monkeypatch=monkeypatch) == 0, capsys.readouterr().err
    assert "windows of 6 series, " in capsys.readouterr().out
    (report,) = shop.glob(".forecast_kit/artifacts/shop/*/artifacts/fit.txt")
    assert "dropped, fewer than 24 steps before the cutoff" in report.read_text()
    with closing(sqlite3.connect(shop / ".forecast_kit" / "mlflow.db")) as store:
        costs = dict(store.execute("select key, value from metrics where key like 'final_%'").fetchall())
        metrics = {key for (key,) in store.execute("select distinct key from metrics")}
        linked = store.execute("select metric_name, dataset_name from logged_model_metrics").fetchall()
        tags = dict(store.execute("select key, value from tags where key in ('decision', 'device')").fetchall())
        roles = store.execute("select value from tags where key = 'role' order by value").fetchall()
        (text,) = store.execute("select value from tags where key = 'mlflow.note.content'").fetchone()
        (card,) = store.execute("select description from model_versions").fetchone()
    assert set(costs) >= {"final_parameters", "final_fit_s", "final_weights_mb"}
    assert all(value > 0 for value in costs.values())
    assert {"mase/gru", "mase/naive", "skill/gru", "mae_by_step", "mase_by_fold", "fold_1/loss", "loss"} <= metrics
    assert ("mase", "sales") in linked
    assert tags == {"decision": "promoted", "device": "CPU"}
    assert roles == [("baseline",), ("candidate",)]
    assert text.startswith("Promoted: gru has MASE")
    assert "naive" in text
    assert "## How to call it" in card
    out = pd.read_parquet(shop / "forecasts" / "shop.parquet")
    expected = frame.loc[ahead, ["unique_id", "ds"]].sort_values(["unique_id", "ds"], ignore_index=True)
    wall = out["ds"].dt.tz_localize(None)
    pd.testing.assert_series_equal(wall, expected["ds"], check_dtype=False)
    assert str(out["ds"].dt.tz) == "Europe/Berlin"

    arguments = ("forecast", "--model", "models:/weather@champion", "--data", "sales.csv", "--out", "again.parquet")
    assert called(*arguments, monkeypatch=monkeypatch) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(shop / "again.parquet"), out)
    frame.drop(index=ahead.idxmax()).to_csv(shop / "sales.csv", index=False)
    assert called(*arguments, monkeypatch=monkeypatch) == 2
    assert "the future frame lacks 1 values of 'temp': s0 from" in capsys.readouterr().err
