"""Consumers that know nothing of this package: MLflow's own functions and commands, each in a process of its own.

The traps: stock flavours log models with custom layers that no other process can load; a served model that drags in
TensorFlow, or unpickles; an evaluation whose metrics belong to nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from contract.zoo import LEVELS, NEURAL, H

import forecast_kit
import forecast_kit.mlflow as flavor
from forecast_kit import Forecaster, Panel, RollingOrigin, SeasonalNaive, backtest
from forecast_kit.core.saving import FORMAT_VERSION
from forecast_kit.mlflow import Store

GOLDEN = Path(__file__).parents[1] / "golden" / f"format{FORMAT_VERSION}"
NETWORKS = {name.replace(" ", "_") for name in NEURAL}
# Every class; networks are of one class, and how each of them is restored is the forecasters' contract.
NAMES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name not in NETWORKS - {"lstm"})

# Importing either fails from the first line on, in a process and in all that it starts.
WITHOUT_TENSORFLOW = "import sys\nsys.modules['tensorflow'] = sys.modules['keras'] = None\n"

# What a consumer runs: it imports mlflow and pandas, and nothing of ours.
CONSUMER = """
import json, sys
import mlflow, pandas as pd
mlflow.set_tracking_uri({uri!r})
params = {{"horizon": {horizon}, "levels": {levels!r}}}
for name, model in {models!r}.items():
    mlflow.pyfunc.load_model(model).predict(pd.{frame}, params=params).to_parquet(f"{{name}}.parquet")
print(json.dumps(sorted(m for m in ("keras", "tensorflow", "forecast_kit") if sys.modules.get(m))))
"""
KEPT, SENT = 'DataFrame(columns=["unique_id", "ds", "y"])', 'read_parquet("../history.parquet")'


def environment(folder: Path, *, without_tensorflow: bool = False) -> dict[str, str]:
    """Of a process that may not unpickle, and where it is asked finds no TensorFlow either."""
    path = [str(Path(forecast_kit.__file__).parents[1])]
    if without_tensorflow:
        (folder / "site").mkdir(exist_ok=True)
        (folder / "site" / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
        path.insert(0, str(folder / "site"))
    return {
        **os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": os.pathsep.join(path),
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }  # fmt: skip


def consumer(
    folder: Path, models: dict[str, str], frame: str, uri: str = "sqlite://", **options: bool
) -> subprocess.Popen[str]:
    folder.mkdir()
    code = CONSUMER.format(uri=uri, models=models, frame=frame, horizon=H, levels=list(LEVELS))
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment(folder, **options), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def imported(process: subprocess.Popen[str]) -> list[str]:
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


@pytest.fixture
def golden_history(tmp_path: Path) -> pd.DataFrame:
    """The rows that all golden forecasters need, as a user has them."""
    panels = [Forecaster.load(GOLDEN / name).history_ for name in NAMES if name not in NETWORKS]
    longest = max((panel for panel in panels if panel is not None), key=lambda panel: len(panel.y))
    frame = longest.to_frame()
    frame.to_parquet(tmp_path / "history.parquet")
    return frame


def test_every_forecaster_gives_the_same_numbers_in_fresh_processes_and_statistical_ones_without_tensorflow(
    store: Store, tmp_path: Path, golden_history: pd.DataFrame
) -> None:
    """Two processes at once: one has every class forecast from its own history, the other the statistical ones from
    what it sends, one of them by its alias in the registry, where TensorFlow is not to be had.
    """
    models = {name: str(tmp_path / "models" / name) for name in NAMES}
    for name, folder in models.items():
        flavor.save_model(Forecaster.load(GOLDEN / name), folder, history=True)
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    flavor.log_model(Forecaster.load(GOLDEN / "theta"), run_id=run_id, registered_model_name="demand")
    store.client.set_registered_model_alias("demand", "champion", "1")
    statistical = {name: model for name, model in models.items() if name not in NETWORKS}
    statistical["theta"] = "models:/demand@champion"
    everything = consumer(tmp_path / "all", models, KEPT)
    light = consumer(tmp_path / "light", statistical, SENT, store.uri, without_tensorflow=True)
    assert imported(light) == ["forecast_kit"]
    assert imported(everything) == ["forecast_kit", "keras", "tensorflow"]
    for folder, names in (("all", NAMES), ("light", statistical)):
        for name in names:
            got = pd.read_parquet(tmp_path / folder / f"{name}.parquet")
            expected = pd.read_csv(GOLDEN / f"{name}.csv", parse_dates=["ds", "cutoff"])
            tolerance = 1e-4 if name in NETWORKS else 1e-9
            assert got.columns.tolist() == expected.columns.tolist()
            assert (got["ds"].to_numpy() == expected["ds"].to_numpy()).all()
            for column in expected.columns[4:]:
                np.testing.assert_allclose(got[column], expected[column], rtol=tolerance, err_msg=f"{folder} {name}")


# ---- commands


def body(frame: pd.DataFrame, **params: Any) -> bytes:
    columns = json.loads(frame.to_json(orient="split", index=False, date_format="iso"))
    return json.dumps({"dataframe_split": columns, "params": params}).encode()


def post(port: int, data: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


@pytest.mark.slow
def test_a_statistical_model_is_served_without_tensorflow_and_answers_json(
    tmp_path: Path, golden_history: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = Forecaster.load(GOLDEN / "theta")
    flavor.save_model(fitted, tmp_path / "model", history=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(tmp_path / "model"), "-p", str(port),
             "--env-manager", "local", "-h", "127.0.0.1"],
            cwd=tmp_path, env=environment(tmp_path, without_tensorflow=True), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            ready = wait_for(port, server, started)
            assert ready < 60.0, (tmp_path / "log").read_text()
            request = body(golden_history, horizon=6, levels=[0.1, 0.9])
            seconds = []
            for _ in range(10):
                before = time.perf_counter()
                status, answer = post(port, request)
                seconds.append(time.perf_counter() - before)
            expected = fitted.predict(6, levels=(0.1, 0.9)).to_frame()
            assert status == 200
            got = pd.DataFrame(answer["predictions"])
            for column in ("mean", "q10", "q90"):
                np.testing.assert_allclose(got[column], expected[column], rtol=1e-9)
            assert pd.to_datetime(got["ds"]).tolist() == expected["ds"].tolist()
            status, answer = post(port, body(golden_history.iloc[:0]))
            assert (status, len(answer["predictions"])) == (200, 2 * H)
            status, answer = post(port, body(golden_history.assign(unique_id=[7] * len(golden_history))))
            assert status == 400
            assert "named by text; send text" in json.dumps(answer)
        finally:
            os.killpg(server.pid, 15)  # the command has started another process, which outlives it
            server.wait(timeout=30)
    with capsys.disabled():
        print(f"\nserve: ready after {ready:.1f} s, a request {1000 * sorted(seconds)[5]:.0f} ms")
    assert sorted(seconds)[5] < 1.0


def wait_for(port: int, server: subprocess.Popen[Any], started: float) -> float:
    """Seconds until the server answers."""
    while time.perf_counter() - started < 60.0 and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1) as answer:
                if answer.status == 200:
                    return time.perf_counter() - started
        except OSError:
            time.sleep(0.1)
    return np.inf


@pytest.mark.slow
def test_the_predict_command_writes_the_forecast(tmp_path: Path, golden_history: pd.DataFrame) -> None:
    fitted = Forecaster.load(GOLDEN / "theta")
    flavor.save_model(fitted, tmp_path / "model")
    (tmp_path / "in.json").write_bytes(body(golden_history, horizon=3, levels=[0.5]))
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(tmp_path / "model"), "-i", "in.json", "-o",
         "out.json", "--env-manager", "local"],
        cwd=tmp_path, env=environment(tmp_path, without_tensorflow=True), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = pd.DataFrame(json.loads((tmp_path / "out.json").read_text())["predictions"])
    np.testing.assert_allclose(got["q50"], fitted.predict(3, levels=(0.5,)).to_frame()["q50"], rtol=1e-9)


# ---- evaluation


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # of MLflow's evaluator's own code
def test_an_evaluation_of_the_backtest_table_belongs_to_the_model_and_the_data_set(
    store: Store, seasonal_panel: Panel
) -> None:
    """`mlflow.models.evaluate` cannot run a forecaster over a history; it can judge what a backtest has forecast."""
    table = backtest({"naive": SeasonalNaive()}, seasonal_panel, RollingOrigin(6, folds=2)).frame
    table = table.astype(dict.fromkeys(table.select_dtypes("str"), object))
    with mlflow.start_run(experiment_id=store.experiment("e")):
        info = flavor.log_model(SeasonalNaive(horizon=6).fit(seasonal_panel))
        data = mlflow.data.from_pandas(table[["y", "mean"]], targets="y", predictions="mean", name="folds")
        result = mlflow.models.evaluate(
            data=data, model_type="regressor", model_id=info.model_id, evaluator_config={"log_explainer": False},
        )  # fmt: skip
    error = np.abs(table["y"] - table["mean"]).mean()
    assert result.metrics["mean_absolute_error"] == pytest.approx(error)
    found = {metric.key: metric for metric in store.client.get_logged_model(info.model_id).metrics}
    mae = found["mean_absolute_error"]
    assert mae.value == pytest.approx(error)
    assert (mae.dataset_name, mae.dataset_digest) == ("folds", data.digest)


# ---- Spark

SPARK_JOB = """
import os, sys
os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
import mlflow
from pyspark.sql import SparkSession
from forecast_kit.mlflow.spark import forecast_spark
mlflow.set_tracking_uri({uri!r})
settings = {{
    "spark.sql.session.timeZone": "UTC", "spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1", "spark.sql.execution.arrow.maxRecordsPerBatch": "50",
}}
spark = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
frame = spark.read.parquet("sent.parquet")
answer = forecast_spark(frame, {model!r}, horizon=12, levels=[0.1, 0.9], partitions=3, rows=300)
answer.toPandas().sort_values(["unique_id", "ds"], ignore_index=True).to_parquet("answer.parquet")
spark.stop()
"""


@pytest.mark.slow
def test_spark_forecasts_every_series_as_one_process_does(
    store: Store, seasonal_frame: pd.DataFrame, seasonal_panel: Panel, tmp_path: Path
) -> None:
    """Rows come shuffled, in batches that cut series into pieces; the alias is the registry's."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'forecast_kit[spark]'")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is no java on the path")
    fitted = SeasonalNaive(horizon=6).fit(seasonal_panel)
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    flavor.log_model(fitted, run_id=run_id, registered_model_name="demand")
    store.client.set_registered_model_alias("demand", "champion", "1")
    seasonal_frame.sample(frac=1.0, random_state=3).astype({"ds": "datetime64[us]"}).to_parquet(
        tmp_path / "sent.parquet", index=False
    )
    done = subprocess.run(
        [sys.executable, "-c", SPARK_JOB.format(uri=store.uri, model="models:/demand@champion")],
        cwd=tmp_path, env=environment(tmp_path, without_tensorflow=True), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = pd.read_parquet(tmp_path / "answer.parquet")
    expected = fitted.predict(12, levels=(0.1, 0.9)).to_frame()
    assert got.columns.tolist() == [*expected.columns, "fallback", "reason"]
    for column in expected.columns:
        assert got[column].tolist() == expected[column].tolist(), column
