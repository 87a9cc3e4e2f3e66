"""The MLflow flavour: any fitted forecaster as one pickle-free artefact that `mlflow.pyfunc` loads anywhere."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from mlflow.models.utils import _save_example
from mlflow.tracking import MlflowClient
from mlflow.utils.environment import _mlflow_conda_env, _process_pip_requirements, _PythonEnv

import forecast_kit
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.core.saving import FORMAT_VERSION, folder_digest
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, ArtifactError, StoreError
from forecast_kit.mlflow.cards import model_card
from forecast_kit.mlflow.served import PyfuncForecaster
from forecast_kit.mlflow.served import ServedModel as ServedModel
from forecast_kit.mlflow.signatures import input_example, requirements, signature
from forecast_kit.mlflow.uploading import upload_model as upload_model

FLAVOR_NAME = "forecast_kit"
CARD = "model_card.md"
DIGEST_TAG = "forecast_kit.digest"  # of a registered version: what its artefact must be
_DATA = "forecaster"
_REGISTERED = re.compile(r"models:/+(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+|latest))")


def save_model(
    forecaster: Forecaster,
    path: str | Path,
    *,
    horizon: int | None = None,
    levels: Sequence[float] = (),
    history: bool | Panel = False,
    card: str | None = None,
    mlflow_model: Model | None = None,
    metadata: Mapping[str, Any] | None = None,
    pip_requirements: Sequence[str] | None = None,
) -> None:
    """Writes a fitted forecaster as an MLflow model into a folder that does not exist yet.

    Args:
        forecaster: fitted.
        path: the folder.
        horizon: steps ahead that `predict` takes when it is not told; by default the forecaster's.
        levels: quantile levels that `predict` gives when it is not told.
        history: whether to keep the rows that a forecast needs, so that an empty frame means
            "forecast from the end of the training data"; or the panel whose last rows to keep.
            By default the artefact holds no data row.
        card: the model card, in Markdown, by default what `forecast_kit.mlflow.model_card` tells of it.
        mlflow_model: filled in by MLflow, where it calls this.
        metadata: shown with the model.
        pip_requirements: by default the installed versions of what the forecaster needs.

    Raises:
        NotFittedError: the forecaster is not fitted.
        ArgumentError: it has no horizon, and none was given.
        ArtifactError: the folder is not empty.

    >>> from forecast_kit import Naive, load
    >>> forecaster = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> save_model(forecaster, "passengers", history=True)
    >>> load_model("passengers").predict().mean
    array([[432., 432.]])
    """
    steps = horizon or forecaster.horizon
    if steps is None:
        raise ArgumentError(
            f"{forecaster.name} has no horizon of its own: pass horizon= for the requests that name none"
        )
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise ArtifactError(f"{folder} exists and is not empty; choose another path")
    folder.mkdir(parents=True, exist_ok=True)
    forecaster.save(folder / _DATA, history=history)
    text = model_card(forecaster, horizon=steps, levels=levels) if card is None else card
    (folder / CARD).write_text(text, encoding="utf-8")

    model = mlflow_model or Model()
    model.signature = signature(forecaster, horizon=steps, levels=levels)
    if metadata is not None:
        model.metadata = dict(metadata)
    rows = history if isinstance(history, Panel) else forecaster.history_
    if rows is not None:  # one that was loaded without rows knows no series to make an example of
        parameters = {"horizon": steps, "levels": [float(q) for q in levels]}
        _save_example(model, (input_example(forecaster, rows, horizon=steps), parameters), str(folder))
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="forecast_kit.mlflow",
        data=_DATA,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
    )
    model.add_flavor(
        FLAVOR_NAME, version=forecast_kit.__version__, format_version=FORMAT_VERSION, forecaster=forecaster.name,
        data=_DATA, horizon=steps, levels=[float(q) for q in levels], has_history=bool(history),
        digest=folder_digest(folder / _DATA), trained_until=forecaster.trained_until_,
        trained_on=forecaster.trained_on_,
    )  # fmt: skip
    _, pins, _ = _process_pip_requirements(list(pip_requirements or requirements(forecaster)), None, None)
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n")
    environment = _mlflow_conda_env(additional_pip_deps=pins, install_mlflow=False)
    (folder / "conda.yaml").write_text(yaml.safe_dump(environment))
    _PythonEnv.current().to_yaml(str(folder / "python_env.yaml"))
    model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    model.save(folder / MLMODEL_FILE_NAME)


def log_model(
    forecaster: Forecaster,
    name: str = "model",
    *,
    registered_model_name: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    **save_arguments: Any,
) -> ModelInfo:
    """Logs a fitted forecaster with a run, and registers it if asked.

    Args:
        forecaster: fitted.
        name: the logged model's name.
        registered_model_name: also makes a new version of this registered model.
        run_id: the run to log to; by default the active one, or else a new one.
        tags: of the logged model.
        save_arguments: `horizon`, `levels`, `history`, `card`, `metadata`, `pip_requirements`: see `save_model`.

    Raises:
        ArgumentError, NotFittedError: see `save_model`.
        StoreError: the store refused.

    >>> from forecast_kit import Naive, load
    >>> from forecast_kit.mlflow import connect
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> store = connect()
    >>> info = log_model(Naive(horizon=2).fit(panel), registered_model_name="passengers")
    >>> mlflow.pyfunc.load_model("models:/passengers/1").predict(panel.to_frame())["mean"].tolist()
    [432.0, 432.0]
    """
    client = MlflowClient()
    with tempfile.TemporaryDirectory(prefix="forecast_kit-") as scratch:
        folder = Path(scratch) / "model"
        save_model(forecaster, folder, **save_arguments)
        with ExitStack() as stack:
            if run_id is None:
                active = mlflow.active_run() or stack.enter_context(mlflow.start_run())
                run_id = active.info.run_id
            info = upload_model(client, folder, run_id, name=name, tags=tags)
    if registered_model_name is not None:
        from forecast_kit.mlflow.registry import register  # which imports this module

        info.registered_model_version = int(register(client, info, registered_model_name))
    return info


def artifact_digest(path: str | Path) -> str:
    """The digest of what a model folder forecasts with: 64 hexadecimal digits, the same wherever it is copied to.

    It covers every file of the saved forecaster, and none of those around it that MLflow writes anew.

    Args:
        path: the folder that has the `MLmodel`.

    Raises:
        ArtifactError: there is no forecaster in it.

    >>> from forecast_kit import Naive, load
    >>> forecaster = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> save_model(forecaster, "passengers")
    >>> len(artifact_digest("passengers"))
    64
    """
    return folder_digest(Path(path) / _DATA)


def load_model(model_uri: str, dst_path: str | Path | None = None) -> Forecaster:
    """The forecaster itself, from any MLflow model URI (`models:/name@champion`, `runs:/...`, a folder).

    See `load_served` for arguments and errors.

    >>> from forecast_kit import Naive, load
    >>> from forecast_kit.mlflow import connect
    >>> forecaster = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> store = connect()
    >>> info = log_model(forecaster, history=True, registered_model_name="passengers")
    >>> load_model("models:/passengers@challenger").predict().mean
    array([[432., 432.]])
    """
    return load_served(model_uri, dst_path).forecaster


def load_served(model_uri: str, dst_path: str | Path | None = None) -> ServedModel:
    """The forecaster with the horizon and levels that it was logged with.

    Args:
        model_uri: where the model is.
        dst_path: a folder to download to; by default a temporary one, removed after loading.

    Raises:
        StoreError: there is no such model.
        ArtifactError: it is not of this flavour, is damaged, or is another one than was registered.

    >>> from forecast_kit import Naive, load
    >>> forecaster = Naive().fit(Panel.from_frame(*load("air_passengers")))
    >>> save_model(forecaster, "passengers", horizon=3, levels=(0.1, 0.9))
    >>> served = load_served("passengers")
    >>> served.horizon, served.levels
    (3, (0.1, 0.9))
    """
    scratch = None if dst_path else tempfile.mkdtemp(prefix="forecast_kit-")
    try:
        local, version = fetch_model(model_uri, str(dst_path or scratch))
        return _load_folder(local, str(model_uri), version)
    except MlflowException as error:
        raise StoreError(f"cannot load {model_uri}: {error.message}") from error
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


def fetch_model(model_uri: str, dst_path: str | Path) -> tuple[Path, str | None]:
    """The folder of a copy of a model, and its version if the URI names a registered one.

    Args:
        model_uri: where the model is.
        dst_path: a folder to copy it to.

    Raises:
        StoreError: there is no such model.
        ArtifactError: it is another one than was registered.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # also for a copy of a few local files
    try:
        uri, version, expected = _registered(model_uri)
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(dst_path)))
    except MlflowException as error:
        raise StoreError(f"cannot load {model_uri}: {error.message}") from error
    digest = artifact_digest(local) if expected else ""
    if digest != expected:
        raise ArtifactError(
            f"{model_uri} is not what was registered: the tag {DIGEST_TAG} of version {version} is {expected}, its "
            f"artefact's digest is {digest}; restore the artefact, or register the model anew"
        )
    return local, version


def pinned(model_uri: str) -> str:
    """The URI with the version that an alias stands for at the moment, so that all who load it load the same.

    Raises:
        StoreError: there is no such model.
    """
    try:
        return _registered(model_uri)[0]
    except MlflowException as error:
        raise StoreError(f"cannot load {model_uri}: {error.message}") from error


def _registered(model_uri: str) -> tuple[str, str | None, str]:
    """The URI by number, the version, and the digest that its tag demands; of other URIs themselves and no demands."""
    match = _REGISTERED.fullmatch(str(model_uri))
    if match is None:
        return str(model_uri), None, ""
    client, name, number = MlflowClient(), match["name"], match["version"]
    if match["alias"]:
        version = client.get_model_version_by_alias(name, match["alias"])
    elif number == "latest":
        found = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
        if not found:
            raise StoreError(f"cannot load {model_uri}: the registered model {name!r} has no version")
        version = found[0]
    else:
        version = client.get_model_version(name, number)
    return f"models:/{name}/{version.version}", str(version.version), version.tags.get(DIGEST_TAG, "")


def _load_folder(folder: Path, what: str, version: str | None = None) -> ServedModel:
    """The model in a local folder, whose MLmodel must tell of the artefact that is there."""
    try:
        flavors = Model.load(str(folder)).flavors
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise ArtifactError(f"{what} is damaged: its MLmodel cannot be read ({error}); fetch it again from where it "
                            f"came") from error  # fmt: skip
    if FLAVOR_NAME not in flavors:
        raise ArtifactError(f"{what} is no forecast_kit model; its flavours are {', '.join(sorted(flavors))}")
    ours = flavors[FLAVOR_NAME]
    forecaster = Forecaster.load(folder / _DATA)  # checks its own digests first, and names what is wrong
    digest = ours.get("digest", "")  # models of format 1 have none
    if digest and digest != artifact_digest(folder):
        raise ArtifactError(
            f"{what} is damaged: its MLmodel tells of an artefact with the digest {digest}, and another is beside it; "
            f"fetch it again from where it came"
        )
    return ServedModel(forecaster, int(ours["horizon"]), tuple(ours["levels"]), digest, version)


def _load_pyfunc(path: str) -> PyfuncForecaster:
    """What `mlflow.pyfunc.load_model` calls, with the folder of the forecaster inside that of the model."""
    return PyfuncForecaster(_load_folder(Path(path).absolute().parent, path))
