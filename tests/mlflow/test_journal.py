"""The journal: nothing that was logged is lost or said twice, whatever dies in between."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from servers import TrackingServer, free_port

from forecast_kit import Panel, SeasonalNaive
from forecast_kit.core.forecaster import FitProgress
from forecast_kit.errors import ArgumentError, StoreError
from forecast_kit.mlflow import Store, connect, start_run, sync, waiting
from forecast_kit.mlflow.journal import Journal
from forecast_kit.mlflow.sending import Replay


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float, int]]:
    return sorted((point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, key))


def offline(store: Store) -> Store:
    return Store(store.uri, store.folder, store.home, offline=True)


# ---- the file


def test_entries_come_back_in_order_from_where_one_left_off(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "a b/c")
    for k in range(5):
        journal.append({"do": "log", "k": k})
    reached = [offset for _, offset in journal.waiting()]
    journal.advance(reached[2])
    journal.close()
    (folder,) = Journal.find(tmp_path)
    again = Journal(folder)
    assert [entry["k"] for entry, _ in again.waiting()] == [3, 4]
    assert not again.done
    again.advance(reached[4])
    assert again.done
    again.close()
    assert Journal.find(tmp_path) == []


def test_what_a_killed_process_was_writing_is_no_entry_and_spoils_no_later_one(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.append({"do": "log", "k": 0})
    journal.close()
    with (journal.folder / "entries.jsonl").open("ab") as file:
        file.write(b'{"do":"log","k":')
    again = Journal(journal.folder)
    again.append({"do": "log", "k": 1})
    assert [entry["k"] for entry, _ in again.waiting()] == [0, 1]
    again.close()


def test_a_journal_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")
    journal.append({"do": "log"})
    assert Journal.in_use(journal.folder)
    with pytest.raises(StoreError, match="in use by a process that is still running"):
        Journal(journal.folder)
    journal.close()
    assert not Journal.in_use(journal.folder)
    Journal(journal.folder).close()


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "run")

    def write(name: int) -> None:
        for k in range(200):
            journal.append({"do": "log", "who": name, "k": k, "text": "x" * 300})

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen: dict[int, list[int]] = {}
    for entry, _ in journal.waiting():
        seen.setdefault(entry["who"], []).append(entry["k"])
    assert seen == {name: list(range(200)) for name in range(4)}
    journal.close()


# ---- what arrives


def talk(run: Any, panel: Panel, seed: int = 0) -> dict[str, list[tuple[int, float]]]:
    """Logs a bit of everything, and returns the points."""
    rng = np.random.default_rng(seed)
    points: dict[str, list[tuple[int, float]]] = {"loss": [], "fold_1/loss": []}
    run.log_parameters({"units": 64, "transform": "x" * 7000})
    run.log_dataset(panel, "demand", "demand.csv")
    for step in range(2500):
        key = "loss" if step % 3 else "fold_1/loss"
        value = float(rng.normal())
        run.log_metrics({key: value, "undefined": float("nan")}, step=step)
        points[key].append((step, value))
    run.log_table(pd.DataFrame({"model": ["a"], "q10": [0.5], "p": [np.nan]}), "tables/board.json")
    run.log_table(panel.to_frame(), "panel.parquet")
    run.describe("A sentence.", pd.DataFrame({"model": ["a"]}))
    return points


def check(client: MlflowClient, run_id: str, points: dict[str, list[tuple[int, float]]], tmp_path: Path) -> None:
    run = client.get_run(run_id)
    for key, expected in points.items():
        assert [(step, value) for step, value, _ in history(client, run_id, key)] == expected
    assert set(run.data.metrics) == set(points)
    assert run.data.params == {"units": "64", "transform": "x" * 6000}
    assert run.data.tags["mlflow.note.content"] == "A sentence.\n\n| model |\n| --- |\n| a |"
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "tables/board.json", "type": "table"}]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, json.loads(used.dataset.profile)["series"]) == ("demand", 6)
    local = client.download_artifacts(run_id, "tables/board.json", str(tmp_path))
    assert json.loads(Path(local).read_text()) == {"columns": ["model", "q10", "p"], "data": [["a", 0.5, None]]}
    assert len(pd.read_parquet(client.download_artifacts(run_id, "panel.parquet", str(tmp_path)))) > 1000


def test_everything_that_is_said_arrives_and_the_journal_is_gone(
    store: Store, seasonal_panel: Panel, tmp_path: Path
) -> None:
    before = time.time() * 1000
    with start_run(store, "e", "parent") as run:
        points = talk(run, seasonal_panel)
        with run.child("gru") as child:
            child.log_metrics({"mase": 0.5})
    assert run.id is not None
    assert child.id is not None
    check(store.client, run.id, points, tmp_path)
    told = store.client.get_run(child.id)
    assert (told.data.tags["mlflow.parentRunId"], told.data.metrics) == (run.id, {"mase": 0.5})
    assert (told.info.run_name, told.info.status) == ("gru", "FINISHED")
    assert all(before <= at <= time.time() * 1000 for _, _, at in history(store.client, run.id, "loss"))
    assert run.waiting is None
    assert not list(store.journal.iterdir())


def test_offline_asks_nobody_and_sync_sends_all(store: Store, seasonal_panel: Panel, tmp_path: Path) -> None:
    with start_run(offline(store), "e", "night") as run:
        points = talk(run, seasonal_panel)
        assert waiting(store) == []  # it belongs to a run that goes on
    assert run.id is None
    assert run.waiting is not None
    assert waiting(store) == [run.waiting]
    assert store.client.get_experiment_by_name("e") is None
    (told,) = sync(store)
    assert (told.left, told.refused, told.trouble) == (0, 0, "")
    (sent,) = store.client.search_runs([store.experiment("e")])
    check(store.client, sent.info.run_id, points, tmp_path)
    assert sent.info.status == "FINISHED"
    assert sync(store) == []


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_error_ends_the_run_as_what_it_is(store: Store, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), start_run(store, "e", "run") as run, run.child("part") as child:
        raise error
    for one in (run, child):
        assert one.id is not None
        assert store.client.get_run(one.id).info.status == status


def once(journal: Journal, store: Store) -> None:
    """Sends what one call can carry, as a new process would."""
    stops = iter([False, False, True])  # asked before and after each call
    Replay(journal, store, resumed=True).some(lambda: next(stops))


def test_each_entry_may_be_sent_twice(store: Store, seasonal_panel: Panel, tmp_path: Path) -> None:
    """As after a crash, or a lost answer, between the store's deed and our note of it: at every entry once."""
    fitted = SeasonalNaive(horizon=6).fit(seasonal_panel)
    with start_run(offline(store), "e", "night") as run:
        points = talk(run, seasonal_panel)
        with run.child("naive") as child:
            model = child.log_model(fitted, tags={"team": "a"})
            child.log_metrics({"mase": 1.0}, model=model)
            child.register(model, "demand")
    assert run.waiting is not None
    journal, entries = Journal(run.waiting), 0
    while not journal.done:
        before = copy.deepcopy(journal.state)
        once(journal, store)
        journal.state = before
        once(journal, store)
        entries += 1
    journal.close()
    assert entries >= 10
    runs = store.client.search_runs([store.experiment("e")])
    parent = next(one for one in runs if one.info.run_name == "night")
    assert len(runs) == 2
    check(store.client, parent.info.run_id, points, tmp_path)
    assert len(store.client.search_model_versions("name='demand'")) == 1
    assert len(store.client.search_logged_models([store.experiment("e")])) == 1


def test_a_sender_that_was_told_to_stop_leaves_the_journal_as_it_is(store: Store) -> None:
    """Its call may come back when another process has the journal."""
    with start_run(offline(store), "e", "night") as run:
        run.log_metrics({"mase": 1.0})
    assert run.waiting is not None
    journal = Journal(run.waiting)
    stops = iter([False, True])
    Replay(journal, store, resumed=True).some(lambda: next(stops))
    assert len(store.client.search_runs([store.experiment("e")])) == 1  # the call has arrived
    assert (journal.state.offset, (run.waiting / "state.json").exists()) == (0, False)
    journal.close()
    (told,) = sync(store)
    assert (told.left, told.refused) == (0, 0)
    (sent,) = store.client.search_runs([store.experiment("e")])
    assert sent.data.metrics == {"mase": 1.0}


def test_what_the_store_refuses_is_set_aside_with_the_reason_and_holds_nothing_up(store: Store) -> None:
    with start_run(store, "e", "run") as run:
        run.log_parameters({"lag": 1})
        run.flush()
        run.log_parameters({"lag": 2})  # parameters cannot change
        run.log_metrics({"after": 1.0})
    assert run.id is not None
    told = store.client.get_run(run.id)
    assert (told.data.params, told.data.metrics, told.info.status) == ({"lag": "1"}, {"after": 1.0}, "FINISHED")
    assert (run.refused, run.waiting is not None) == (1, True)
    assert run.waiting is not None
    (line,) = (run.waiting / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["entry"]["params"] == {"lag": "2"}
    assert "lag" in json.loads(line)["reason"]


def test_a_metric_name_that_mlflow_would_refuse_is_refused_at_once(store: Store) -> None:
    with start_run(offline(store), "e", "run") as run, pytest.raises(ArgumentError, match="got 'mase@48'"):
        run.log_metrics({"mase@48": 1.0})


def test_a_journal_that_went_half_to_one_store_does_not_go_on_to_another(store: Store, tmp_path: Path) -> None:
    journal = Journal.create(store.journal, "run")
    journal.append({"do": "log"})
    journal.state.uri = "http://elsewhere:5000"
    journal.advance(0)
    journal.close()
    (told,) = sync(store)
    assert "is in http://elsewhere:5000, the rest cannot go to" in told.trouble
    assert told.left == 1


# ---- processes and servers that die

KILLED = """
import os, signal, sys
from forecast_kit.mlflow import connect, start_run
store = connect(sys.argv[1])
with start_run(store, "e", "doomed") as run, run.child("gru") as child:
    for step in range(int(sys.argv[2])):
        child.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_loses_no_point_that_it_has_logged(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.folder), "700"], check=False, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (told,) = sync(store)
    assert (told.left, told.trouble) == (0, "")
    runs = {run.info.run_name: run for run in store.client.search_runs([store.experiment("e")])}
    assert {name: run.info.status for name, run in runs.items()} == {"doomed": "KILLED", "gru": "KILLED"}
    points = history(store.client, runs["gru"].info.run_id, "loss")
    assert [(step, value) for step, value, _ in points] == [(step, 1.0 / (step + 1)) for step in range(700)]
    assert runs["gru"].info.end_time == points[-1][2]  # it ended with its last word


def test_no_server_at_the_start_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with pytest.raises(StoreError, match="does not answer; start it, correct MLFLOW_TRACKING_URI, or work without"):
        connect()
    assert time.monotonic() - began < 10


def test_a_server_that_dies_and_comes_back_gets_every_point_at_its_own_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = TrackingServer(tmp_path / "server")
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.chdir(tmp_path)
    expected, slowest = [], 0.0
    try:
        with start_run(connect(), "e", "training", patience_s=60) as run:
            assert run.flush()
            curve = run.curve()
            for epoch in range(12):
                if epoch == 3:
                    server.kill()
                if epoch == 8:
                    server.begin()
                began = time.time()
                curve(FitProgress(epoch, 12, {"loss": 1.0 / (epoch + 1)}))
                slowest = max(slowest, time.time() - began)
                expected.append((epoch, 1.0 / (epoch + 1), began))
                time.sleep(0.4)
            server.wait()
        assert run.id is not None
        assert run.waiting is None
        client = MlflowClient(server.uri)
        got = history(client, run.id, "loss")
        assert [(step, value) for step, value, _ in got] == [(step, value) for step, value, _ in expected]
        for (_, _, at), (_, _, began) in zip(got, expected, strict=True):
            assert abs(at / 1000 - began) < 0.1
        assert client.get_run(run.id).info.status == "FINISHED"
    finally:
        server.kill()
    assert slowest < 0.5  # MLflow's own calls block for minutes
