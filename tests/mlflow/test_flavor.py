"""The flavour: one artefact that plain MLflow loads, in processes that know nothing of how it was made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

import forecast_kit.mlflow as flavor
from forecast_kit import ETS, STL, Conformal, Ensemble, NeuralForecaster, Panel, SeasonalNaive, Theta
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, NotFittedError, SchemaError
from forecast_kit.mlflow import Store

TINY = NeuralForecaster(
    {"cell": "lstm", "units": 4, "hidden": 8, "segment": 24}, horizon=24, input_length=48,
    training={"steps": 4, "batch_size": 8},
)  # fmt: skip
COMBINED = Conformal(Ensemble({"theta": Theta(), "stl": STL("ARIMA")}, combine="median"), folds=2, horizon=24)
FORECASTERS = {
    "seasonal_naive": SeasonalNaive(horizon=24), "ets": ETS(horizon=24), "combined": COMBINED, "lstm": TINY,
}  # fmt: skip

# What a consumer runs: it imports mlflow and pandas, and nothing of ours.
CONSUMER = """
import json, sys
import mlflow, pandas as pd
if {without_tensorflow}:
    sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them fails from here on
mlflow.set_tracking_uri({uri!r})
model = mlflow.pyfunc.load_model({model!r})
frame = pd.read_parquet({data!r})
out = model.predict(frame, params={{"horizon": 12, "levels": [0.1, 0.9]}})
kept = model.predict(frame.iloc[:0])
out.to_parquet({out!r})
print(json.dumps([len(out), len(kept), sorted(m for m in ("keras", "tensorflow") if sys.modules.get(m))]))
"""


def consume(tmp_path: Path, store: Store, model: str, frame: pd.DataFrame, *, without_tensorflow: bool = False):
    frame.to_parquet(tmp_path / "history.parquet")
    code = CONSUMER.format(
        uri=store.uri, model=model, data=str(tmp_path / "history.parquet"), out=str(tmp_path / "out.parquet"),
        without_tensorflow=without_tensorflow,
    )  # fmt: skip
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(tmp_path / "out.parquet"), json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_fresh_process_forecasts_the_same_numbers_through_pyfunc_alone(
    name: str, store: Store, seasonal_panel: Panel, seasonal_frame: pd.DataFrame, tmp_path: Path
) -> None:
    fitted = FORECASTERS[name].clone().fit(seasonal_panel)
    store.client.create_registered_model("demand")
    with mlflow.start_run(experiment_id=store.experiment("e")):
        flavor.log_model(fitted, registered_model_name="demand", history=True)
    store.client.set_registered_model_alias("demand", "champion", "1")
    statistical = name != "lstm"
    got, (rows, kept, heavy) = consume(
        tmp_path, store, "models:/demand@champion", seasonal_frame, without_tensorflow=statistical
    )
    expected = fitted.predict(12, levels=(0.1, 0.9)).to_frame()
    assert (rows, kept) == (6 * 12, 6 * 24)
    assert bool(heavy) != statistical
    assert got.columns.tolist() == expected.columns.tolist()
    for column in ("mean", "q10", "q90"):
        np.testing.assert_allclose(got[column], expected[column], rtol=0, atol=1e-9 if statistical else 1e-4)
    assert (got["ds"].to_numpy() == expected["ds"].to_numpy()).all()


@pytest.fixture
def saved(seasonal_panel: Panel, tmp_path: Path) -> Path:
    flavor.save_model(SeasonalNaive(horizon=6).fit(seasonal_panel), tmp_path / "model", levels=(0.2,))
    return tmp_path / "model"


def test_the_signature_has_typed_columns_and_both_parameters(saved: Path) -> None:
    signature = mlflow.models.get_model_info(str(saved)).signature
    assert [(c.name, c.type.name) for c in signature.inputs] == [
        ("unique_id", "string"), ("ds", "datetime"), ("y", "double"),
    ]  # fmt: skip
    assert {p.name: p.default for p in signature.params} == {"horizon": 6, "levels": [0.2]}


def test_horizon_and_levels_default_to_what_was_logged(saved: Path, seasonal_frame: pd.DataFrame) -> None:
    out = mlflow.pyfunc.load_model(str(saved)).predict(seasonal_frame)
    assert out.groupby("unique_id").size().unique().tolist() == [6]
    assert out.columns.tolist() == ["unique_id", "ds", "cutoff", "model", "mean", "q20"]


def test_requirements_are_exact_and_name_tensorflow_only_where_it_is_needed(
    seasonal_panel: Panel, saved: Path, tmp_path: Path
) -> None:
    flavor.save_model(TINY.clone().fit(seasonal_panel), tmp_path / "neural")
    plain, neural = ((p / "requirements.txt").read_text().split() for p in (saved, tmp_path / "neural"))
    assert all("==" in line for line in plain + neural)
    names = [{line.split("==")[0] for line in lines} for lines in (plain, neural)]
    assert "tensorflow" not in names[0]
    assert {"tensorflow", "keras", "forecast_kit", "mlflow"} <= names[1]
    assert yaml.safe_load((saved / "MLmodel").read_text())["flavors"]["python_function"]["loader_module"] == (
        "forecast_kit.mlflow"
    )


def test_no_training_row_is_in_the_artefact_unless_asked(
    saved: Path, seasonal_panel: Panel, seasonal_frame: pd.DataFrame, tmp_path: Path
) -> None:
    assert not list(saved.rglob("history*"))
    with pytest.raises(NotFittedError, match="saved without data rows"):
        mlflow.pyfunc.load_model(str(saved)).predict(seasonal_frame.iloc[:0])
    flavor.save_model(SeasonalNaive(horizon=6).fit(seasonal_panel), tmp_path / "kept", history=True)
    kept = np.load(next((tmp_path / "kept").rglob("history.npz")))
    assert len(kept["y"]) == 6 * 24  # a season of each series, no more


def test_rows_after_the_last_target_are_the_known_future(seasonal_frame: pd.DataFrame, tmp_path: Path) -> None:
    frame = seasonal_frame.assign(holiday=0.0)
    panel = Panel.from_frame(frame, freq="h", future=("holiday",))
    flavor.save_model(TINY.clone().fit(panel), tmp_path / "model", history=True)
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    ahead = panel.future_frame(24).assign(holiday=1.0, y=np.nan)
    both = model.predict(pd.concat([frame, ahead]))
    alone = model.predict(ahead)  # the history that the artefact keeps
    np.testing.assert_allclose(both["mean"], alone["mean"], rtol=1e-5)
    with pytest.raises(SchemaError, match="'holiday' are needed"):
        model.predict(frame)


def test_a_frame_that_does_not_fit_is_refused_by_name(saved: Path, seasonal_frame: pd.DataFrame) -> None:
    model = mlflow.pyfunc.load_model(str(saved))
    with pytest.raises(mlflow.MlflowException, match="missing inputs.*ds"):
        model.predict(seasonal_frame.drop(columns="ds"))
    with pytest.raises(DataError, match="s3 at 2024-01-01 05:00:00"):
        model.predict(seasonal_frame.drop(seasonal_frame.query("unique_id == 's3'").index[5]))


def test_a_model_without_a_horizon_must_be_told_one(seasonal_panel: Panel, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="has no horizon of its own: pass horizon="):
        flavor.save_model(SeasonalNaive().fit(seasonal_panel), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_model_lies_in_the_experiment_of_its_run_whether_that_is_active_or_not(
    store: Store, seasonal_panel: Panel, tmp_path: Path
) -> None:
    run = store.client.create_run(store.experiment("e")).info
    store.client.log_param(run.run_id, "lag", 24)
    info = flavor.log_model(SeasonalNaive(horizon=6).fit(seasonal_panel), run_id=run.run_id, tags={"team": "a"})
    model = store.client.get_logged_model(info.model_id)
    assert (model.experiment_id, model.source_run_id) == (run.experiment_id, run.run_id)
    assert (str(model.status), model.tags["team"], model.params) == ("READY", "a", {"lag": "24"})
    assert model.artifact_location.startswith((tmp_path / "store" / "artifacts" / "e").as_uri())
    assert store.client.get_run(run.run_id).outputs.model_outputs[0].model_id == info.model_id


def test_load_model_gives_the_forecaster_and_leaves_no_temporary_folder(
    store: Store, seasonal_panel: Panel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with mlflow.start_run(experiment_id=store.experiment("e")):
        info = flavor.log_model(SeasonalNaive(horizon=6).fit(seasonal_panel), history=True)
    before = set(scratch.iterdir())
    forecaster = flavor.load_model(info.model_uri)
    assert isinstance(forecaster, SeasonalNaive)
    assert forecaster.predict().mean.shape == (6, 6)
    assert set(scratch.iterdir()) == before


def test_a_foreign_model_is_refused(tmp_path: Path) -> None:
    class Foreign(mlflow.pyfunc.PythonModel):
        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    mlflow.pyfunc.save_model(tmp_path / "foreign", python_model=Foreign(), pip_requirements=["mlflow"])
    with pytest.raises(ArtifactError, match="is no forecast_kit model; its flavours are python_function"):
        flavor.load_model(str(tmp_path / "foreign"))


def test_a_damaged_artefact_is_refused(saved: Path) -> None:
    file = next(saved.rglob("arrays.npz"))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="damaged or foreign"):
        flavor.load_model(str(saved))
