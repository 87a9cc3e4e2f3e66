"""The flavour: one artefact with typed columns, an example, a card and a digest, uploaded once however often tried."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.pyfunc import scoring_server
from servers import TrackingServer

import forecast_kit.mlflow as flavor
from forecast_kit import Drift, Forecaster, NeuralForecaster, Panel, RollingOrigin, SeasonalNaive
from forecast_kit.core.saving import FORMAT_VERSION, seal
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, NotFittedError, SchemaError, StoreError
from forecast_kit.mlflow import Store
from forecast_kit.mlflow.cards import model_card
from forecast_kit.mlflow.flavor import artifact_digest, load_served, pinned
from forecast_kit.mlflow.registry import register
from forecast_kit.mlflow.uploading import upload_model

TINY = NeuralForecaster(
    {"cell": "lstm", "units": 4, "hidden": 8, "segment": 24}, horizon=24, input_length=48,
    training={"steps": 4, "batch_size": 8},
)  # fmt: skip


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


# ---- the artefact is what was saved, and nothing runs from it


def turn(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("load", [flavor.load_model, mlflow.pyfunc.load_model], ids=["ours", "pyfunc"])
def test_a_changed_cut_or_replaced_artefact_is_refused_by_both_ways_of_loading(
    load: Any, saved: Path, seasonal_panel: Panel
) -> None:
    arrays = saved / "forecaster" / "arrays.npz"
    whole = arrays.read_bytes()
    for broken in (whole[:-40], b"", whole[:50] + b"x" + whole[51:]):
        arrays.write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"cut or changed since it was saved.*arrays\.npz"):
            load(str(saved))
    arrays.write_bytes(whole)
    document = saved / "forecaster" / "forecaster.json"
    document.write_text(document.read_text().replace('"season_length": 24', '"season_length": 25'))
    seal(saved / "forecaster")  # whoever did this knew of the digests beside it, and not of those elsewhere
    with pytest.raises(ArtifactError, match="its MLmodel tells of an artefact with the digest"):
        load(str(saved))


def test_the_mlmodel_tells_digest_format_and_until_when_it_learned(saved: Path, seasonal_frame: pd.DataFrame) -> None:
    section = yaml.safe_load((saved / "MLmodel").read_text())["flavors"]["forecast_kit"]
    assert section["digest"] == artifact_digest(saved) == load_served(str(saved)).digest
    assert section["format_version"] == FORMAT_VERSION
    assert section["trained_until"] == str(seasonal_frame["ds"].max())
    with pytest.raises(ArtifactError, match="there is no folder"):
        artifact_digest(saved.parent)


def test_tags_of_yaml_in_an_mlmodel_construct_nothing(saved: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with (saved / "MLmodel").open("a") as file:
        file.write(
            f"metadata: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{marker}]]\n"
        )
    with pytest.raises(ArtifactError, match="MLmodel cannot be read .*could not determine a constructor"):
        flavor.load_model(str(saved))
    assert not marker.exists()
    for text in ("[1, 2]", "a: b: c", "\x00"):
        (saved / "MLmodel").write_text(text)
        with pytest.raises(ArtifactError, match="its MLmodel cannot be read"):
            flavor.load_model(str(saved))


def test_a_model_of_format_1_that_was_logged_before_is_loaded(saved: Path, seasonal_panel: Panel) -> None:
    """Its MLmodel has no digest, and its forecaster no list of them."""
    shutil.rmtree(saved / "forecaster")
    shutil.copytree(Path(__file__).parents[1] / "golden" / "format1" / "seasonal_naive", saved / "forecaster")
    document = yaml.safe_load((saved / "MLmodel").read_text())
    for key in ("digest", "trained_until", "trained_on"):
        del document["flavors"]["forecast_kit"][key]
    (saved / "MLmodel").write_text(yaml.safe_dump(document))
    served = load_served(str(saved))
    assert (served.digest, served.horizon, served.levels) == ("", 6, (0.2,))
    assert len(mlflow.pyfunc.load_model(str(saved)).predict(pd.DataFrame(columns=["unique_id", "ds", "y"]))) == 2 * 6


# ---- columns and example


COVARIATES = {
    "static": ("area", "region"), "past": ("sold", "shelf"), "future": ("price", "promo", "open"),
    "categorical": ("region", "shelf", "promo", "open"), "calendar": ("hour",),
}  # fmt: skip


def with_covariates(frame: pd.DataFrame) -> pd.DataFrame:
    hour = frame["ds"].dt.hour
    return frame.assign(
        area=frame["unique_id"].str[1:].astype(float), region="north", sold=hour * 0.5, shelf=hour % 3,
        price=hour * 0.1, promo=hour % 2, open=hour > 6,
    )  # fmt: skip


def numbered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(unique_id=frame["unique_id"].str[1:].astype(int) + 7, ds=frame.groupby("unique_id").cumcount())


SCHEMAS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (lambda frame: frame, {"freq": "h"}),
    "covariates of every kind": (with_covariates, {"freq": "h", **COVARIATES}),
    "numbers for ids and time": (numbered, {"freq": 1, "season_length": 24}),
    "a time zone": (lambda frame: frame, {"freq": "h", "timezone": "Europe/Berlin"}),
    "other names": (
        lambda frame: frame.rename(columns={"unique_id": "store", "ds": "at", "y": "sales"}),
        {"freq": "h", "id_col": "store", "time_col": "at", "target_col": "sales"},
    ),
}  # fmt: skip
MODELS: dict[str, Forecaster] = {"naive": SeasonalNaive(horizon=6), "single series": Drift(horizon=6), "network": TINY}


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("model", ["naive", "single series"])
def test_the_example_request_is_taken_in_python_and_as_json_and_holds_no_training_value(
    model: str, schema: str, seasonal_frame: pd.DataFrame, tmp_path: Path
) -> None:
    check_example(MODELS[model], schema, seasonal_frame, tmp_path)


def test_the_example_request_is_taken_by_a_network_with_covariates_of_every_kind(
    seasonal_frame: pd.DataFrame, tmp_path: Path
) -> None:
    check_example(TINY, "covariates of every kind", seasonal_frame, tmp_path)


def request(model: mlflow.pyfunc.PyFuncModel, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What the scoring server's own function answers to the JSON."""
    schema = model.metadata.get_input_schema()
    response = scoring_server.invocations(json.dumps(body), "application/json", model, schema)
    assert response.status == 200
    return json.loads(response.response)["predictions"]


def check_example(model: Forecaster, schema: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    change, fields = SCHEMAS[schema]
    panel = Panel.from_frame(change(frame), **fields)
    flavor.save_model(model.clone().fit(panel), tmp_path / "model", levels=(0.1, 0.9))
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    example, params = (
        loaded.input_example,
        mlflow.models.Model.load(str(tmp_path / "model")).load_input_example_params(str(tmp_path / "model")),
    )
    answer = loaded.predict(example, params=params)
    served = json.loads((tmp_path / "model" / "serving_input_example.json").read_text())
    assert served["params"] == {"horizon": model.horizon, "levels": [0.1, 0.9]}
    as_json = pd.DataFrame(request(loaded, served))
    for got in (answer, as_json):
        assert len(got) == 2 * model.horizon
        assert {"mean", "q10", "q90"} <= set(got.columns)
        assert np.isfinite(got["mean"]).all()
    target = example[panel.schema.target_col].dropna().astype(float)
    assert not np.isin(target, panel.y).any()
    names = {column.name for column in loaded.metadata.signature.outputs.inputs}
    assert set(answer.columns) <= names
    assert {"fallback", "reason"} <= names


def test_outputs_tell_a_fallback_where_there_is_one(seasonal_frame: pd.DataFrame, tmp_path: Path) -> None:
    flavor.save_model(SeasonalNaive(horizon=6).fit(Panel.from_frame(seasonal_frame, freq="h")), tmp_path / "m")
    short = seasonal_frame.groupby("unique_id").tail(5)
    answer = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(short)
    assert answer.columns.tolist()[-2:] == ["fallback", "reason"]
    assert answer["fallback"].eq("Naive").all()


def test_numbered_categories_of_the_past_may_be_empty_in_future_rows(
    seasonal_frame: pd.DataFrame, tmp_path: Path
) -> None:
    """MLflow's long takes no empty values: history and future rows in one frame could not be sent at all."""
    panel = Panel.from_frame(with_covariates(seasonal_frame), freq="h", **COVARIATES)
    flavor.save_model(SeasonalNaive(horizon=6).fit(panel), tmp_path / "m")
    ahead = panel.future_frame(6).assign(price=1.0, promo=1, open=True, area=1.0, region="north")
    frame = pd.concat([panel.to_frame().merge(panel.static_frame()), ahead])
    answer = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(frame.assign(open=frame["open"].astype(bool)))
    assert len(answer) == 6 * 6


def test_known_future_rows_alone_need_no_static_and_no_past_columns(
    seasonal_frame: pd.DataFrame, tmp_path: Path
) -> None:
    panel = Panel.from_frame(with_covariates(seasonal_frame), freq="h", **COVARIATES)
    flavor.save_model(SeasonalNaive(horizon=6).fit(panel), tmp_path / "m", history=True)
    ahead = panel.future_frame(6).assign(price=1.0, promo=1, open=True, y=np.nan)
    assert len(mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(ahead)) == 6 * 6


# ---- the card


def test_a_forecaster_that_is_not_fitted_has_no_card() -> None:
    with pytest.raises(NotFittedError, match="SeasonalNaive is not fitted"):
        model_card(SeasonalNaive(), horizon=6)


def test_a_card_begins_with_a_plain_sentence_and_tells_what_a_reader_asks(seasonal_panel: Panel) -> None:
    board = pd.DataFrame({"rank": [1], "model": ["SeasonalNaive"], "mase": [0.91234567]})
    fitted = SeasonalNaive(horizon=6).fit(seasonal_panel)
    text = model_card(
        fitted, horizon=6, levels=(0.1, 0.975), panel=seasonal_panel, folds=RollingOrigin(6, folds=3, gap=2),
        leaderboard=board, intended_use="Staffing of the night shift.",
    )  # fmt: skip
    first, *rest = text.splitlines()
    assert first == (
        "SeasonalNaive forecasts 'y' of 6 series 6 steps ahead (freq 'h'), learned from data until 2024-01-13 23:00:00."
    )
    assert not set(first) & set("#*|`[")  # lists show the first line raw
    body = "\n".join(rest)
    for told in (
        "## Data", "- series: 6", f"- rows: {len(seasonal_panel.y)}", seasonal_panel.digest, "## Backtest",
        "3 folds of 6 steps, 6 steps apart, 2 steps after the cutoff.", "0.9123",
        "Staffing of the night shift.", "q97_5", "models:/NAME@champion",
        "unique_id, ds, y: at least the last 24 steps",
    ):  # fmt: skip
        assert told in body, told


def test_the_card_is_in_the_artefact_and_ones_own_replaces_it(seasonal_panel: Panel, tmp_path: Path) -> None:
    fitted = SeasonalNaive(horizon=6).fit(seasonal_panel)
    flavor.save_model(fitted, tmp_path / "own", card="Ours.\n")
    flavor.save_model(fitted, tmp_path / "default")
    assert (tmp_path / "own" / "model_card.md").read_text() == "Ours.\n"
    assert (tmp_path / "default" / "model_card.md").read_text() == model_card(fitted, horizon=6)
    fitted.save(tmp_path / "bare")
    old = Forecaster.load(tmp_path / "bare")  # knows no series, and no rows to make an example of
    flavor.save_model(old, tmp_path / "bare model")
    assert "SeasonalNaive forecasts 'y' 6 steps ahead" in (tmp_path / "bare model" / "model_card.md").read_text()
    assert not (tmp_path / "bare model" / "input_example.json").exists()


# ---- upload


class Flaky(mlflow.MlflowClient):
    """A server that goes away once, before the artefacts are there."""

    broken = True

    def log_model_artifacts(self, model_id: str, local_dir: str) -> None:
        if self.broken:
            Flaky.broken = False
            raise mlflow.MlflowException("connection refused")
        super().log_model_artifacts(model_id, local_dir)


def test_an_upload_that_failed_goes_on_with_the_same_model(store: Store, saved: Path, tmp_path: Path) -> None:
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    store.client.log_param(run_id, "lag", 24)
    store.client.log_metric(run_id, "mase", 0.5)
    client = Flaky(store.uri, store.uri)
    with pytest.raises(StoreError, match="connection refused; call upload_model again, it goes on where it was"):
        upload_model(client, saved, run_id, name="night", tags={"team": "a"})
    first = upload_model(client, saved, run_id, name="night", tags={"team": "a"})
    again = upload_model(client, saved, run_id, name="night", tags={"team": "a"})
    assert first.model_id == again.model_id
    found = store.client.search_logged_models([store.experiment("e")])
    assert [(model.model_id, str(model.status), model.name) for model in found] == [(first.model_id, "READY", "night")]
    assert (found[0].params, found[0].tags["team"]) == ({"lag": "24"}, "a")
    assert [(metric.key, metric.value) for metric in found[0].metrics] == [("mase", 0.5)]
    assert len(store.client.get_metric_history(run_id, "mase")) == 1
    assert [output.model_id for output in store.client.get_run(run_id).outputs.model_outputs] == [first.model_id]
    info = mlflow.models.get_model_info(first.model_uri)
    assert (info.run_id, info.model_id) == (run_id, first.model_id)
    assert info.flavors["forecast_kit"]["digest"] == artifact_digest(saved)
    assert flavor.load_model(first.model_uri).horizon == 6


def test_a_folder_that_another_run_uploaded_becomes_a_model_of_its_own(store: Store, saved: Path) -> None:
    ids = {
        upload_model(store.client, saved, store.client.create_run(store.experiment("e")).info.run_id).model_id
        for _ in range(2)
    }
    assert len(ids) == 2
    with pytest.raises(ArtifactError, match="holds no MLflow model: MLmodel is missing"):
        upload_model(store.client, saved / "forecaster", "0" * 32)
    with pytest.raises(StoreError, match="did not take the model"):
        upload_model(store.client, saved, "0" * 32)


def test_without_a_run_a_model_gets_one_of_its_own(store: Store, seasonal_panel: Panel) -> None:
    mlflow.set_experiment(experiment_id=store.experiment("e"))
    info = flavor.log_model(SeasonalNaive(horizon=6).fit(seasonal_panel), registered_model_name="demand")
    assert store.client.get_run(info.run_id).info.status == "FINISHED"
    assert mlflow.active_run() is None
    assert store.client.get_model_version("demand", "1").run_id == info.run_id
    assert info.registered_model_version == 1


@pytest.mark.slow
def test_a_model_goes_to_a_server_and_comes_back_and_leaves_no_folder_behind(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP, MLflow's own `load_model` leaves a temporary folder for every call."""
    server = TrackingServer(tmp_path / "server")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    server.start()
    try:
        mlflow.set_tracking_uri(server.uri)
        mlflow.set_registry_uri(server.uri)
        client = mlflow.MlflowClient(server.uri, server.uri)
        run_id = client.create_run(client.create_experiment("e")).info.run_id
        client.log_metric(run_id, "mase", 0.5)
        info = upload_model(client, saved, run_id)
        assert upload_model(client, saved, run_id).model_id == info.model_id
        register(client, info, "demand")
        client.set_registered_model_alias("demand", "champion", "1")
        client.set_model_version_tag("demand", "1", "forecast_kit.digest", artifact_digest(saved))
        assert [metric.key for metric in client.get_logged_model(info.model_id).metrics] == ["mase"]
        (tmp_path / "scratch").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
        for uri in ("models:/demand@champion", "models:/demand/1", "models:/demand/latest", info.model_uri):
            assert load_served(uri).horizon == 6
        assert list((tmp_path / "scratch").iterdir()) == []
        client.set_model_version_tag("demand", "1", "forecast_kit.digest", "f" * 64)
        with pytest.raises(ArtifactError, match="is not what was registered"):
            load_served("models:/demand@champion")
    finally:
        server.kill()
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


# ---- what was registered is what is loaded


def test_a_version_whose_artefact_is_another_than_its_tag_says_is_refused(
    store: Store, saved: Path, seasonal_panel: Panel, tmp_path: Path
) -> None:
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    register(store.client, upload_model(store.client, saved, run_id), "demand")
    store.client.set_model_version_tag("demand", "1", "forecast_kit.digest", artifact_digest(saved))
    store.client.set_registered_model_alias("demand", "champion", "1")
    for uri in ("models:/demand@champion", "models:/demand/1", "models:/demand/latest"):
        served = load_served(uri)
        assert (served.version, served.digest) == ("1", artifact_digest(saved))
        assert pinned(uri) == "models:/demand/1"
    assert pinned(str(saved)) == str(saved)
    store.client.set_model_version_tag("demand", "1", "forecast_kit.digest", "0" * 64)
    with pytest.raises(ArtifactError, match="models:/demand@champion is not what was registered: .* of version 1"):
        load_served("models:/demand@champion")
    for uri in ("models:/nothing@champion", "models:/nothing/1", "models:/nothing/latest", "models:/demand@nobody"):
        with pytest.raises(StoreError, match=f"cannot load {uri}"):
            load_served(uri)


# ---- what stock MLflow does, and we do not


def test_requirements_are_stated_and_never_inferred(
    seasonal_panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow infers them by loading the model in another process: six seconds, and wrong both ways."""
    monkeypatch.setattr("mlflow.utils.requirements_utils._infer_requirements", lambda *a, **k: pytest.fail("inferred"))
    started = time.perf_counter()
    flavor.save_model(SeasonalNaive(horizon=6).fit(seasonal_panel), tmp_path / "m")
    assert time.perf_counter() - started < 3.0


def test_loading_reads_no_pickle_even_where_mlflow_forbids_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own flavours for Keras and Python models unpickle; with this switch they cannot load at all."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setattr("pickle.load", lambda *a, **k: pytest.fail("unpickled"))
    monkeypatch.setattr("cloudpickle.load", lambda *a, **k: pytest.fail("unpickled"))
    assert mlflow.pyfunc.load_model(str(saved)).get_raw_model().horizon == 6
    assert not [file for file in saved.rglob("*") if file.suffix in (".pkl", ".pickle", ".joblib", ".bin")]
