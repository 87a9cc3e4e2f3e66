"""Jobs whose tracking server is away: the work is done, and what was to be said is said later."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from batches import feed, run, write_feed, write_job
from stores import prepared

from forecast_kit.jobs import cli
from forecast_kit.mlflow import champion, connect, load_model, log_model, rollback

JOB = """
name: shop
data: {path: sales.csv, schema: {freq: h}}
baselines: {naive: {forecaster: Naive}}
candidates: {seasonal: {forecaster: SeasonalNaive}}
backtest: {horizon: 24, folds: 2}
register: {name: shop-sales, history: true}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seasonal_frame: pd.DataFrame) -> Path:
    seasonal_frame.to_csv(tmp_path / "sales.csv", index=False)
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def called(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["forecast-kit", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_a_job_offline_then_sync_then_promote_is_as_good_as_online(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("run", "job.yaml", "--offline", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "nothing was sent; forecast-kit sync sends what is there" in told
    assert "forecast   none: the registry was not asked" in told
    assert not (shop / ".forecast_kit" / "mlflow.db").exists()
    (model,) = shop.glob(".forecast_kit/journal/*/files/*/model")
    assert load_model(str(model)).predict(3).mean.shape == (6, 3)  # it can be used where it lies

    assert called("sync", monkeypatch=monkeypatch) == 0
    assert " 0 wait, 0 refused" in capsys.readouterr().out
    assert not list(shop.glob(".forecast_kit/journal/*"))
    client = connect().client
    (version,) = client.search_model_versions("name='shop-sales'")
    assert client.get_model_version_by_alias("shop-sales", "challenger").version == version.version
    assert champion(client, "shop-sales") is None

    assert called("promote", "job.yaml", monkeypatch=monkeypatch) == 0
    assert "Promoted: seasonal has MASE" in capsys.readouterr().out
    won = champion(client, "shop-sales")
    assert won is not None
    assert won.version == version.version
    assert called("sync", monkeypatch=monkeypatch) == 0
    assert "nothing waits in" in capsys.readouterr().out


def test_no_server_at_the_start_is_one_line_and_exit_code_1(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    assert called("run", "job.yaml", monkeypatch=monkeypatch) == 1
    assert time.monotonic() - began < 20  # MLflow itself takes four minutes
    error = capsys.readouterr().err
    assert "the tracking server http://127.0.0.1:9 does not answer" in error
    assert "--offline" in error
    assert len(error.strip().splitlines()) == 1
    assert not (shop / "forecasts").exists()


@pytest.mark.usefixtures("same_store_afterwards")
def test_a_version_that_was_rolled_back_forecasts_no_more_when_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_feed(tmp_path, feed())
    prepared(tmp_path / "store")
    job = write_job(tmp_path, monitor="{window: 1, retrain: {max_age: 1D, cooldown: 1D}}")
    assert run(job, "2024-06-20").model == {"name": "nightly", "version": "1"}
    client = connect(tmp_path / "store").client
    log_model(load_model("models:/nightly/1"), registered_model_name="nightly")
    rollback(client, "nightly", to="2")
    assert run(job, "2024-06-21", tasks=["forecast"]).model == {"name": "nightly", "version": "2"}  # its copy is made
    command = ["rollback", "nightly", "--store", str(tmp_path / "store")]
    assert called(*command, monkeypatch=monkeypatch) == 0
    assert "version 1 replaces version 2" in capsys.readouterr().out

    away = run(job, "2024-06-21", tasks=["forecast"], offline=True)
    assert away.model == {"name": "nightly", "version": "1"}
    assert any("this machine's copy of nightly version 1, fetched 20" in text for text in away.warnings)
    assert not (tmp_path / "store" / "champions" / "nightly" / "2").exists()

    night = run(job, "2024-06-22")  # the old version's age would have it trained away at once
    assert night.monitor is not None
    assert night.training is None
    assert "learned from data until 2024-06-19" in night.monitor["reason"]
    assert "a rollback made the champion what it is on 20" in night.monitor["reason"]
