"""The store: created once, wherever it is, however many processes start."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from forecast_kit.errors import StoreError
from forecast_kit.mlflow import Store, connect


def test_the_default_experiment_of_a_new_store_keeps_its_artifacts_in_it(store: Store, tmp_path: Path) -> None:
    assert (
        connect(tmp_path / "new")
        .client.get_experiment("0")
        .artifact_location.startswith(  # `store` puts back the URI
            (tmp_path / "new" / "artifacts").as_uri()
        )
    )


def test_the_embedded_store_has_absolute_places(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    experiment = store.client.get_experiment(store.experiment("a b/c"))
    assert experiment.artifact_location == (tmp_path / "store" / "artifacts" / "a_b_c").as_uri()
    monkeypatch.chdir("/")
    assert store.experiment("a b/c") == experiment.experiment_id


def test_the_environment_names_another_store(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{empty_store / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    found = connect()
    assert (found.uri, found.folder) == (uri, None)


def test_without_the_environment_the_store_is_in_the_current_folder(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.folder is not None
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store.folder.rename(store.folder.with_name(".forecast_kit"))
    monkeypatch.chdir(store.folder.parent)
    assert connect().folder == store.folder.with_name(".forecast_kit")


def test_a_deleted_experiment_is_named_with_its_cure(store: Store) -> None:
    store.client.delete_experiment(store.experiment("gone"))
    with pytest.raises(StoreError, match="experiment 'gone' was deleted; restore it"):
        store.experiment("gone")


def test_a_store_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot create the store's folder"):
        connect(tmp_path / "file" / "store")


def test_links_open_the_view_of_models_and_not_of_traces(store: Store) -> None:
    assert store.link("/models/demand") == "http://127.0.0.1:5000/#/models/demand?workflowType=machine_learning"
    server = Store("https://mlflow.example/", None, Path())
    assert server.link("/models/demand") == "https://mlflow.example/#/models/demand?workflowType=machine_learning"


def test_a_leftover_folder_of_mlflow_s_file_store_changes_nothing(
    empty_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mlruns" / "0").mkdir(parents=True)  # MLflow's own default turns to it, and then raises
    shutil.copytree(empty_store, tmp_path / ".forecast_kit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    try:
        assert connect().uri == mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / '.forecast_kit' / 'mlflow.db'}"
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    assert list((tmp_path / "mlruns").iterdir()) == [tmp_path / "mlruns" / "0"]
