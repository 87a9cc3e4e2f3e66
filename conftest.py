"""What tests and the examples in docstrings share: pytest finds this file from both."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "forecast_kit"
TRACKING = {PACKAGE / "mlflow", PACKAGE / "jobs"}  # whose examples use a store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised MLflow store without content: copying it is quicker than creating one."""
    from forecast_kit.mlflow import connect  # MLflow takes seconds to import, and most tests do without it

    folder = tmp_path_factory.mktemp("template") / "store"
    connect(folder)
    return folder


@pytest.fixture
def same_store_afterwards() -> Iterator[None]:
    """MLflow's stores are those of before when the test is over."""
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


@pytest.fixture(autouse=True)
def folder_of_examples(request: pytest.FixtureRequest) -> Path | None:
    """An example runs in a folder of its own, so that it may write files and reads as it would be typed."""
    if not isinstance(request.node, pytest.DoctestItem):
        return None
    folder: Path = request.getfixturevalue("tmp_path")
    request.getfixturevalue("monkeypatch").chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def store_of_examples(request: pytest.FixtureRequest, folder_of_examples: Path | None) -> Iterator[None]:
    """An example about MLflow has a store in its folder."""
    if folder_of_examples is None or TRACKING.isdisjoint(request.path.parents):
        yield
        return
    import mlflow

    folder = folder_of_examples
    shutil.copytree(request.getfixturevalue("empty_store"), folder / ".forecast_kit")
    request.getfixturevalue("same_store_afterwards")
    mlflow.set_tracking_uri(f"sqlite:///{folder / '.forecast_kit' / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id="0")  # a test before may have chosen one that is in another store
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it with the URI
    yield


@pytest.fixture(autouse=True)
def spark_of_examples(request: pytest.FixtureRequest) -> None:
    """An example that starts Spark is skipped where that is not installed, as tests are that do."""
    node = request.node
    if isinstance(node, pytest.DoctestItem) and any("import SparkSession" in one.source for one in node.dtest.examples):
        pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'forecast_kit[spark]'")
        if shutil.which("java") is None:
            pytest.skip("Spark needs Java, and there is no java on the path")
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        # Spark 4 says so of every pandas 3; of it we use `mapInPandas` alone, whose results tests compare.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
