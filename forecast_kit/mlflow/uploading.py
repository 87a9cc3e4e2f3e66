"""A model that lies in a local folder as a logged model of a run, in steps that may be tried again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from mlflow.tracking import MlflowClient

from forecast_kit.errors import ArtifactError, StoreError

_ORIGIN = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def upload_model(
    client: MlflowClient,
    folder: str | Path,
    run_id: str,
    *,
    name: str = "model",
    tags: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """What MLflow knows of the model (`model_id`, `model_uri`, ...), once it lies in the store, ready to load.

    The logged model gets the run's parameters and a copy of its metrics of step 0, as MLflow's own `log_model` gives
    them. Its id is written into the folder's `MLmodel` as soon as there is one: called again for the same folder, after
    a server went away, this goes on with that model and makes no second one.

    Args:
        client: of the store.
        folder: which `save_model` wrote.
        run_id: the run that made the model.
        name: of the logged model.
        tags: of the logged model.

    Raises:
        ArtifactError: there is no model in the folder.
        StoreError: the store refused, or did not answer.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, load_model, save_model
    >>> store = connect()
    >>> save_model(Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers"))), "naive", history=True)
    >>> run = store.client.create_run(store.experiment("passengers"))
    >>> info = upload_model(store.client, "naive", run.info.run_id)
    >>> load_model(info.model_uri).predict().mean
    array([[432., 432.]])
    """
    path = Path(folder)
    if not (path / MLMODEL_FILE_NAME).is_file():
        raise ArtifactError(f"{path} holds no MLflow model: {MLMODEL_FILE_NAME} is missing; write it with save_model")
    model = Model.load(str(path))
    try:
        run = client.get_run(run_id)
        logged = _known(client, model, run)
        if logged is None:
            logged = client.create_logged_model(
                run.info.experiment_id, name=name, source_run_id=run_id, params=run.data.params,
                tags=_made_by(run) | {key: str(value) for key, value in (tags or {}).items()},
            )  # fmt: skip
            model.run_id, model.model_id, model.model_uuid = run_id, logged.model_id, logged.model_id
            model.artifact_path = logged.artifact_location
            model.save(path / MLMODEL_FILE_NAME)
        _link(client, run, logged.model_id)
        if str(logged.status) != "READY":
            client.log_model_artifacts(logged.model_id, str(path))
            logged = client.finalize_logged_model(logged.model_id, "READY")
    except MlflowException as error:
        raise StoreError(f"the store did not take the model in {path}: {error.message}; call upload_model again, it "
                         f"goes on where it was") from error  # fmt: skip
    return model.get_model_info(logged)


def _made_by(run: Run) -> dict[str, str]:
    """The run's tags that tell who made it from what: MLflow's pages of models show them."""
    return {key: run.data.tags[key] for key in _ORIGIN if key in run.data.tags}


def _known(client: MlflowClient, model: Model, run: Run) -> LoggedModel | None:
    """The logged model that an earlier try made of the folder for this run; None where there is none in this store."""
    if model.model_id is None or model.run_id != run.info.run_id:
        return None
    try:
        return client.get_logged_model(model.model_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _link(client: MlflowClient, run: Run, model_id: str) -> None:
    """Makes the model an output of the run, and the run's metrics of step 0 the model's, unless they are already."""
    outputs = run.outputs.model_outputs if run.outputs else []
    if all(output.model_id != model_id for output in outputs):
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=0)])
    copies = [
        Metric(
            point.key, point.value, point.timestamp, point.step, model_id=model_id, run_id=run.info.run_id,
            dataset_name=point.dataset_name, dataset_digest=point.dataset_digest,
        )
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
        if point.step == 0 and point.model_id is None
    ]  # fmt: skip
    if copies:
        client.log_batch(run.info.run_id, metrics=copies)
