"""What a run holds beside what it was told: where it took place, and nothing that MLflow adds by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from forecast_kit import Panel, SeasonalNaive
from forecast_kit.errors import ArgumentError
from forecast_kit.mlflow import Store, start_run

AUTOLOGGED = """
import sys
import mlflow, pandas as pd
from forecast_kit import ETS, NeuralForecaster, Panel
from forecast_kit.mlflow import connect, start_run
panel = Panel.from_frame(pd.read_parquet(sys.argv[2]), freq="h")
store = connect(sys.argv[1])
mlflow.autolog()
gru = NeuralForecaster({"cell": "gru", "units": 4}, horizon=6, input_length=24, training={"steps": 2})
with start_run(store, "e", "run") as run:
    for model in (gru, ETS(horizon=6, jobs=1)):
        model.fit(panel)
print(len(store.client.search_runs([store.experiment("e"), "0"])), sorted(store.client.get_run(run.id).data.params))
"""


@pytest.mark.slow
def test_autologging_that_somebody_has_switched_on_is_silent_inside(
    store: Store, seasonal_frame: pd.DataFrame, tmp_path: Path
) -> None:
    """It breaks Keras's `fit` where TensorBoard is not installed, and adds parameters of its own."""
    seasonal_frame.to_parquet(tmp_path / "data.parquet")
    done = subprocess.run(
        [sys.executable, "-c", AUTOLOGGED, str(store.folder), str(tmp_path / "data.parquet")], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 []"


def test_a_run_tells_where_it_took_place(store: Store, tmp_path: Path) -> None:
    with start_run(store, "e", "run") as run:
        run.log_environment()
    assert run.id is not None
    found = json.loads(Path(store.client.download_artifacts(run.id, "environment.json", str(tmp_path))).read_text())
    assert found["packages"]["pandas"] == version("pandas") == pd.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    tags = store.client.get_run(run.id).data.tags
    assert tags.get("mlflow.source.git.commit", "") == head == found["git"].get("commit", "")
    assert tags["device"] == ", ".join(found["devices"])


def test_a_table_is_json_or_parquet(store: Store) -> None:
    with start_run(store, "e", "run") as run, pytest.raises(ArgumentError, match="or as .parquet; got 'board.csv'"):
        run.log_table(pd.DataFrame({"a": [1]}), "board.csv")


def test_scores_of_a_model_are_linked_to_the_data_that_they_were_found_on(store: Store, seasonal_panel: Panel) -> None:
    with start_run(store, "e", "run") as run:
        run.log_dataset(seasonal_panel, "demand", "demand.csv", context="backtest")
        model = run.log_model(SeasonalNaive(horizon=6).fit(seasonal_panel))
        run.log_metrics({"mase": 0.75}, model=model, panel=seasonal_panel)
    model_id = run.model_id(model)
    assert model_id is not None
    (metric,) = store.client.get_logged_model(model_id).metrics or []
    assert (metric.key, metric.value, metric.dataset_name, metric.dataset_digest) == (
        "mase", 0.75, "demand", seasonal_panel.digest,
    )  # fmt: skip
    assert store.client.get_run(run.id or "").data.metrics == {"mase": 0.75}
