"""A nightly job whose tracking server goes away, and comes back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from batches import SERIES, feed, run, write_feed, write_job
from mlflow.tracking import MlflowClient
from servers import TrackingServer

from forecast_kit.jobs.cli import main

DAYS = ("2024-06-20", "2024-06-21", "2024-06-22")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    """A server that jobs of this process are told of, and no other store."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    started = TrackingServer(tmp_path / "server")
    started.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", started.uri)
    yield started
    started.kill()
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def sync() -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["forecast-kit", "sync"])
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_night_without_the_server_is_forecast_by_the_copy_and_told_later(
    server: TrackingServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_feed(tmp_path, feed())
    job = write_job(tmp_path, monitor="{window: 1, retrain: {max_age: 1D}}")  # a rule that fires from the third day on
    lines = job.read_text().splitlines()
    job.write_text("\n".join(line for line in lines if not line.startswith("store:")))
    first = run(job, DAYS[0])
    assert (first.exit_code, first.model) == (0, {"name": "nightly", "version": "1"})
    assert first.training is not None
    assert first.training["decision"] == "promoted"

    server.kill()
    away = run(job, DAYS[2])
    assert (away.exit_code, away.model, away.training, away.link) == (0, first.model, None, None)
    assert any("does not answer" in text and "copy of the last champion" in text for text in away.warnings)
    assert any("this machine's copy of nightly version 1, fetched 20" in text for text in away.warnings)
    assert away.monitor is not None
    assert away.monitor["reason"] == "the registry could not be asked"  # so no rule is, and nothing is written down
    kept = pd.read_parquet(tmp_path / "out" / "forecasts" / f"as_of={DAYS[2]}")
    assert len(kept) == 24 * len(SERIES)
    assert set(kept["fallback"]) == {""}
    assert len(list((tmp_path / ".forecast_kit" / "journal").iterdir())) == 1
    assert sync() == 1
    assert "does not answer" in capsys.readouterr().err

    server.start()
    assert sync() == 0
    assert " 0 wait, 0 refused" in capsys.readouterr().out
    assert not list((tmp_path / ".forecast_kit" / "journal").iterdir())
    client = MlflowClient(server.uri, server.uri)
    experiment = client.get_experiment_by_name("nightly")
    assert experiment is not None
    (told,) = client.search_runs([experiment.experiment_id], f"tags.as_of = '{DAYS[2]}'")
    assert told.info.status == "FINISHED"
    assert told.data.metrics["forecast/rows"] == len(kept)

    again = run(job, DAYS[2])  # which the server being there changes in one thing alone: now the rule is asked
    assert again.exit_code == 0
    assert again.monitor is not None
    assert again.monitor["retrain"]
    assert again.training is not None
