"""`forecast-kit serve`: which version, how many workers, what it tells, and that it ends with all it has started."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from stores import prepared
from typer.testing import CliRunner

from forecast_kit import Forecaster, Naive, Panel
from forecast_kit.core.extensions import IMPORTS
from forecast_kit.core.known import KNOWN
from forecast_kit.core.saving import FORMAT_VERSION
from forecast_kit.errors import ArgumentError, ArtifactError, StoreError
from forecast_kit.jobs import serving
from forecast_kit.jobs.operations_cli import operations_app
from forecast_kit.jobs.serving import Service
from forecast_kit.mlflow import Store, connect, log_model, save_model

GOLDEN = Path(__file__).parents[1] / "golden" / f"format{FORMAT_VERSION}"
JOB = """
name: demand
data: {{dataset: hospital}}
baselines: {{naive: {{forecaster: Naive}}}}
candidates: {{snaive: {{forecaster: SeasonalNaive}}}}
backtest: {{horizon: 6}}
register: {{name: demand}}
store: {store}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield connect(prepared(tmp_path / "store"))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def register(store: Store, name: str, **options: Any) -> None:
    """One more version of the model `demand`, which is champion then."""
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    info = log_model(Forecaster.load(GOLDEN / name), run_id=run_id, registered_model_name="demand", **options)
    store.client.set_registered_model_alias("demand", "champion", str(info.registered_model_version))


def service(folder: Path, **changes: Any) -> Service:
    values = {"model": "models:/demand/1", "folder": folder, "forecaster": "Theta", "network": False,
              "host": "127.0.0.1", "port": 5001, "workers": 2, "timeout": 60, **changes}  # fmt: skip
    return Service(**values)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- what it tells


@pytest.mark.parametrize("history", [True, False])
def test_the_example_is_a_request_that_the_model_answers(history: bool, tmp_path: Path) -> None:
    fitted = Forecaster.load(GOLDEN / "theta")
    folder = tmp_path / "it's a model"
    save_model(fitted, folder, history=history, horizon=5, levels=(0.1, 0.9))
    example = serving.example(service(folder, host="0.0.0.0"))
    assert example is not None
    words = shlex.split(example)
    assert (words[0], words[-1]) == ("curl", "http://127.0.0.1:5001/invocations")
    data = words[words.index("-d") + 1]
    request = json.loads(Path(data[1:]).read_text() if data.startswith("@") else data)
    assert data.startswith("@") != history
    frame = pd.DataFrame(**request["dataframe_split"])
    frame["ds"] = pd.to_datetime(frame["ds"])
    answer = mlflow.pyfunc.load_model(str(folder)).predict(frame, params=request["params"])
    assert answer.groupby("unique_id").size().tolist() == [5, 5]
    assert {"q10", "q90"} <= {*answer.columns}
    if history:
        np.testing.assert_allclose(answer["q90"], fitted.predict(5, levels=(0.1, 0.9)).to_frame()["q90"], rtol=1e-9)


def test_a_model_without_example_is_served_without(tmp_path: Path) -> None:
    fitted = Forecaster.load(GOLDEN / "theta")
    save_model(fitted, tmp_path / "model")
    (tmp_path / "model" / "serving_input_example.json").unlink()
    assert serving.example(service(tmp_path / "model")) is None


def test_networks_get_a_worker_for_two_cores_and_their_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("theta", "lstm"):
        save_model(Forecaster.load(GOLDEN / name), tmp_path / name)
    assert [serving.is_network(tmp_path / name) for name in ("theta", "lstm")] == [False, True]
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    network = serving.environment(service(tmp_path, network=True))
    assert network["TF_NUM_INTRAOP_THREADS"] == network["TF_NUM_INTEROP_THREADS"] == "2"
    # MLflow starts uvicorn by its bare name, which a scheduler's PATH does not know.
    assert shutil.which("uvicorn", path=network["PATH"]) == str(Path(sys.executable).with_name("uvicorn"))
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    assert serving.environment(service(tmp_path, network=True))["TF_NUM_INTRAOP_THREADS"] == "7"
    assert "TF_NUM_INTEROP_THREADS" not in serving.environment(service(tmp_path, network=True, workers=1))


# ---- what it refuses


def test_what_cannot_be_served_is_told_before_anything_starts(store: Store, tmp_path: Path) -> None:
    def tell(service: Service) -> None:
        raise AssertionError("it would be served")

    register(store, "theta")
    with pytest.raises(StoreError, match="nobody"):
        serving.serve("models:/nobody@champion", tell=tell, port=free_port())
    store.client.set_model_version_tag("demand", "1", "forecast_kit.digest", "0" * 64)
    with pytest.raises(ArtifactError, match="is not what was registered"):
        serving.serve("models:/demand@champion", tell=tell, port=free_port())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "MLmodel").write_text("flavors: {sklearn: {}}\n")
    with pytest.raises(ArtifactError, match="no forecast_kit model"):
        serving.serve(str(tmp_path / "other"), tell=tell, port=free_port())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ArgumentError, match="Address already in use; choose another --port"):
            serving.serve("models:/demand@champion", tell=tell, port=taken.getsockname()[1])


def test_a_class_that_the_server_does_not_know_is_told_in_one_line(store: Store, seasonal_panel: Panel) -> None:
    class NaiveOfThisTest(Naive):
        """Forecasts the last value, as `Naive` does."""

    def tell(service: Service) -> None:
        raise AssertionError("it would be served")

    try:
        run_id = store.client.create_run(store.experiment("e")).info.run_id
        log_model(NaiveOfThisTest(horizon=2).fit(seasonal_panel), run_id=run_id, registered_model_name="demand")
    finally:
        del KNOWN["NaiveOfThisTest"]
    with pytest.raises(ArtifactError, match=f"models:/demand/1 cannot be loaded: .*unknown forecaster .*{IMPORTS}"):
        serving.serve("models:/demand/1", tell=tell, port=free_port())


def test_the_command_wants_one_model(tmp_path: Path) -> None:
    for words in (["serve"], ["serve", str(tmp_path / "job.yaml"), "--model", "models:/demand@champion"]):
        with pytest.raises(ArgumentError, match="either a job file or --model"):
            CliRunner().invoke(operations_app, words, catch_exceptions=False)


# ---- its end

STUBBORN = """
import pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
time.sleep(600)
"""
SERVER = """
import sys
from forecast_kit.jobs import serving
sys.exit(serving._run([sys.executable, "-c", {code!r}], None))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_told_to_end_it_leaves_no_process_behind(number: int, tmp_path: Path) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER.format(code=STUBBORN)], cwd=tmp_path)
    try:
        child = int(waited_for(tmp_path / "child"))
        os.kill(child, 0)  # it lives
        server.send_signal(number)
        assert server.wait(timeout=30) == 0
        for _ in range(100):
            if not Path(f"/proc/{child}").exists():
                break
            time.sleep(0.05)
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    finally:
        server.kill()


def test_a_server_that_ends_by_itself_is_a_failure() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert serving._run([sys.executable, "-c", "raise SystemExit(5)"], {**os.environ}) == 5
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def waited_for(file: Path) -> str:
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        if file.exists() and file.read_text():
            return file.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{file} never came")


# ---- the whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["theta", "lstm"])
def test_the_champion_answers_the_printed_request_and_stays_itself_until_the_end(
    name: str, store: Store, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("the printed request is for curl, which is not installed")
    register(store, name, history=True, levels=(0.1, 0.9))
    expected = Forecaster.load(GOLDEN / name).predict(levels=(0.1, 0.9)).to_frame()
    (tmp_path / "job.yaml").write_text(JOB.format(store=tmp_path / "store"))
    port = free_port()
    # As a scheduler would start it: by its absolute path, with next to nothing in the environment.
    with (tmp_path / "out").open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "forecast_kit.jobs.cli", "serve", "job.yaml", "--port", str(port), "--workers", "2"],
            cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        wait_until_ready(port, server, tmp_path / "out")
        told = dict(line.split(maxsplit=1) for line in (tmp_path / "out").read_text().splitlines()[:4])
        assert told["model"].startswith("models:/demand/1, models:/demand@champion at the moment: ")
        register(store, "naive")  # a new champion, which this service does not turn to
        done = subprocess.run(["/bin/sh", "-c", told["example"]], capture_output=True, text=True, check=True)
        answer = pd.DataFrame(json.loads(done.stdout)["predictions"])
        for column in ("mean", "q10", "q90"):
            np.testing.assert_allclose(answer[column], expected[column], rtol=1e-4)
        assert pd.to_datetime(answer["ds"]).tolist() == expected["ds"].tolist()
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1)


def wait_until_ready(port: int, server: subprocess.Popen[Any], log: Path) -> None:
    started = time.perf_counter()
    while time.perf_counter() - started < 120 and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())
