"""The MLflow flavour: any fitted forecaster as one pickle-free artefact that `mlflow.pyfunc` loads anywhere."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.utils.environment import _mlflow_conda_env, _process_pip_requirements, _PythonEnv

import forecast_kit
from forecast_kit.core.forecaster import FORMAT_VERSION, Forecaster
from forecast_kit.data.future import split_future
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, ArtifactError, StoreError

FLAVOR_NAME = "forecast_kit"
_DATA = "forecaster"


def save_model(
    forecaster: Forecaster,
    path: str | Path,
    *,
    horizon: int | None = None,
    levels: Sequence[float] = (),
    history: bool | Panel = False,
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
        mlflow_model: filled in by `log_model`.
        metadata: shown with the model.
        pip_requirements: by default the installed versions of what the forecaster needs.

    Raises:
        NotFittedError: the forecaster is not fitted.
        ArgumentError: it has no horizon, and none was given.
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

    model = mlflow_model or Model()
    model.signature = signature(forecaster, horizon=steps, levels=levels)
    if metadata is not None:
        model.metadata = dict(metadata)
    mlflow.pyfunc.add_to_model(
        model,
        loader_module="forecast_kit.mlflow",
        data=_DATA,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
    )
    model.add_flavor(
        FLAVOR_NAME,
        version=forecast_kit.__version__,
        format_version=FORMAT_VERSION,
        forecaster=forecaster.name,
        data=_DATA,
        horizon=steps,
        levels=[float(q) for q in levels],
        has_history=bool(history),
    )
    model.save(folder / MLMODEL_FILE_NAME)
    _, pins, _ = _process_pip_requirements(list(pip_requirements or requirements(forecaster)), None, None)
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n")
    (folder / "conda.yaml").write_text(
        yaml.safe_dump(_mlflow_conda_env(additional_pip_deps=pins, install_mlflow=False))
    )
    _PythonEnv.current().to_yaml(str(folder / "python_env.yaml"))


def log_model(
    forecaster: Forecaster,
    name: str = "model",
    *,
    registered_model_name: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    **save_arguments: Any,
) -> ModelInfo:
    """Logs a fitted forecaster with the active run (or `run_id`), and registers it if asked.

    Args:
        forecaster: fitted.
        name: the logged model's name.
        registered_model_name: also makes a new version of this registered model.
        run_id: the run to log to; by default the active one.
        tags: of the logged model.
        save_arguments: `horizon`, `levels`, `history`, `metadata`, `pip_requirements`: see `save_model`.
    """
    import forecast_kit.mlflow as flavor

    model_id = None
    if run_id is not None:
        # Left alone, MLflow puts the model of a run that is not active into the default experiment.
        client = MlflowClient()
        run = client.get_run(run_id)
        model_id = client.create_logged_model(
            run.info.experiment_id, name=name, source_run_id=run_id, params=run.data.params,
            tags={key: str(value) for key, value in tags.items()} if tags else None,
        ).model_id  # fmt: skip
    return Model.log(
        artifact_path=None,
        name=name,
        model_id=model_id,
        flavor=flavor,
        flavor_name=FLAVOR_NAME,
        forecaster=forecaster,
        registered_model_name=registered_model_name,
        run_id=run_id,
        tags=dict(tags) if tags and model_id is None else None,
        **save_arguments,
    )


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded forecaster, and what it was logged to give when nothing else is asked.

    Attributes:
        forecaster: fitted.
        horizon: steps ahead.
        levels: quantile levels.
    """

    forecaster: Forecaster
    horizon: int
    levels: tuple[float, ...]


def load_model(model_uri: str, dst_path: str | Path | None = None) -> Forecaster:
    """The forecaster itself, from any MLflow model URI (`models:/name@champion`, `runs:/...`, a folder).

    See `load_served` for arguments and errors.
    """
    return load_served(model_uri, dst_path).forecaster


def load_served(model_uri: str, dst_path: str | Path | None = None) -> ServedModel:
    """The forecaster with the horizon and levels that it was logged with.

    Args:
        model_uri: where the model is.
        dst_path: a folder to download to; by default a temporary one, removed after loading.

    Raises:
        StoreError: there is no such model.
        ArtifactError: it is not of this flavour, or is damaged.
    """
    scratch = None if dst_path else tempfile.mkdtemp(prefix="forecast_kit-")
    try:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=str(dst_path or scratch)))
        flavors = Model.load(str(local)).flavors
        if FLAVOR_NAME not in flavors:
            raise ArtifactError(f"{model_uri} is no forecast_kit model; its flavours are {', '.join(sorted(flavors))}")
        ours = flavors[FLAVOR_NAME]
        return ServedModel(Forecaster.load(local / ours["data"]), int(ours["horizon"]), tuple(ours["levels"]))
    except MlflowException as error:
        raise StoreError(f"cannot load {model_uri}: {error.message}") from error
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


def _load_pyfunc(path: str) -> PyfuncForecaster:
    """What `mlflow.pyfunc.load_model` calls."""
    return PyfuncForecaster(Forecaster.load(path))


class PyfuncForecaster:
    """A long frame in, a forecast frame out: the model behind `mlflow.pyfunc`.

    `predict(frame, params={"horizon": 24, "levels": [0.1, 0.9]})` takes the history of the series to
    forecast, with rows after the last target for known-future covariates. An empty frame means the
    history that was saved with the model.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The frame `unique_id, ds, cutoff, model, mean, q10, ...`."""
        history, future = self._split(model_input)
        asked = params or {}
        levels = [float(q) for q in asked.get("levels", ())]
        return self.forecaster.predict(asked.get("horizon"), levels=levels, history=history, future=future).to_frame()

    def _split(self, frame: pd.DataFrame) -> tuple[Panel | None, pd.DataFrame | None]:
        """History and known-future rows; no history where the frame has no target value at all."""
        schema = self.forecaster.schema_
        assert schema is not None  # a loaded forecaster has its schema
        if frame.empty:
            return None, None
        if schema.future and schema.target_col in frame.columns and frame[schema.target_col].isna().all():
            return None, frame
        past, future = split_future(frame, schema)
        return Panel.from_frame(past, schema), future


def signature(forecaster: Forecaster, *, horizon: int, levels: Sequence[float] = ()) -> ModelSignature:
    """The columns that the model takes and returns, and its two parameters."""
    schema = forecaster.schema_
    assert schema is not None  # it was saved, so it is fitted
    id_type = "long" if forecaster.integer_ids_ else "string"
    time_type = "long" if isinstance(schema.freq, int) else "datetime"
    inputs = [ColSpec(id_type, schema.id_col), ColSpec(time_type, schema.time_col)]
    for name in (schema.target_col, *schema.static, *schema.past, *schema.future):
        kind = type(forecaster.categories_.get(name, 0.0))
        inputs.append(ColSpec({float: "double", int: "long", bool: "boolean"}.get(kind, "string"), name))
    outputs = [
        ("unique_id", id_type),
        ("ds", time_type),
        ("cutoff", time_type),
        ("model", "string"),
        ("mean", "double"),
    ]
    parameters = [
        ParamSpec("horizon", "long", horizon),
        ParamSpec("levels", "double", [float(q) for q in levels], (-1,)),
    ]
    return ModelSignature(
        Schema([*inputs]),
        Schema([ColSpec(kind, name) for name, kind in outputs]),
        ParamSchema(parameters),
    )


def requirements(forecaster: Forecaster) -> list[str]:
    """The installed versions of what a process needs to load this forecaster."""
    names = ["forecast_kit", "mlflow", *forecaster.packages]
    if forecaster.schema_ is not None and any(name.startswith("holiday:") for name in forecaster.schema_.calendar):
        names.append("holidays")
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]
