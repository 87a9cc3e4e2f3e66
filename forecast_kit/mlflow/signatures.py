"""What a model takes and returns, in MLflow's words: its signature, an example request, its requirements."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

from forecast_kit.core.forecast import level_column
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.data.frequency import show_zone
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema

_TYPES = {float: "double", int: "long", bool: "boolean"}


def signature(forecaster: Forecaster, *, horizon: int, levels: Sequence[float] = ()) -> ModelSignature:
    """The columns that the model takes and returns, and its two parameters.

    Where there are known-future covariates, a request may consist of future rows alone; static and past
    covariates, which say nothing of the future, are optional then.

    Args:
        forecaster: fitted.
        horizon: steps ahead that `predict` takes when it is not told.
        levels: quantile levels that `predict` gives when it is not told; others may be asked for.
    """
    schema = _schema(forecaster)
    id_type = "long" if forecaster.integer_ids_ else "string"
    time_type = "long" if isinstance(schema.freq, int) else "datetime"
    inputs = [
        ColSpec(id_type, schema.id_col),
        ColSpec(time_type, schema.time_col),
        ColSpec("double", schema.target_col),
    ]
    for name in (*schema.static, *schema.past, *schema.future):
        kind: Any = _TYPES.get(type(forecaster.categories_.get(name, 0.0)), "string")
        if kind == "long" and name in schema.past and schema.future:
            kind = AnyType()  # empty in future rows, and MLflow's long takes no empty values
        inputs.append(ColSpec(kind, name, required=name in schema.future or not schema.future))
    outputs = [
        ColSpec(id_type, "unique_id"), ColSpec(time_type, "ds"), ColSpec(time_type, "cutoff"),
        ColSpec("string", "model"), ColSpec("double", "mean"),
        *(ColSpec("double", level_column(q), required=False) for q in levels),
        *(ColSpec("string", name, required=False) for name in ("fallback", "reason")),
    ]  # fmt: skip
    parameters = [
        ParamSpec("horizon", "long", horizon),
        ParamSpec("levels", "double", [float(q) for q in levels], (-1,)),
    ]
    return ModelSignature(Schema([*inputs]), Schema([*outputs]), ParamSchema(parameters))


def input_example(forecaster: Forecaster, panel: Panel, *, horizon: int) -> pd.DataFrame:
    """The rows of a request that the model takes: two series, with values that nobody observed.

    Ids and stamps are those of the panel's first two series, because a model of single series knows no others and goes
    on from their cutoffs; targets are a wave around 100, covariates 1 or a category that the model knows.

    Args:
        forecaster: fitted.
        panel: with the rows that a forecast needs, see `Forecaster.history_`.
        horizon: steps of known-future covariates that follow, where there are any.
    """
    schema = _schema(forecaster)
    two = panel.take(panel.ids[:2]).tail(forecaster.context_length)
    steps, stamps = two.row_steps, two.axis.stamps(two.row_steps)
    wave = 100.0 + np.rint(10.0 * np.sin(2.0 * np.pi * steps / max(schema.season_length, 2)))
    history = pd.DataFrame(
        {schema.id_col: np.repeat(two.ids, two.lengths), schema.time_col: stamps, schema.target_col: wave}
    )
    values = {name: forecaster.categories_.get(name, 1.0) for name in (*schema.static, *schema.past, *schema.future)}
    parts = [history.assign(**values)]
    if schema.future:
        ahead = {name: None if name in schema.past else value for name, value in values.items()}
        future = pd.DataFrame(
            {schema.id_col: np.repeat(two.ids, horizon), schema.time_col: two.horizon_stamps(horizon).ravel()}
        )
        parts.append(future.assign(**{schema.target_col: None}, **ahead))
    # By records, because empty values of future rows must not decide a column's kind.
    columns = parts[0].columns
    frame = pd.DataFrame({name: [value for part in parts for value in part[name].tolist()] for name in columns})
    if schema.zone is not None:  # the clock on the wall, without a zone: MLflow takes no other
        frame[schema.time_col] = pd.Series(show_zone(frame[schema.time_col].to_numpy(), schema.zone)).dt.tz_localize(
            None
        )
    frame.columns = frame.columns.astype(object)  # MLflow compares them with a range, which pandas' text warns of
    return frame


def requirements(forecaster: Forecaster) -> list[str]:
    """The installed versions of what a process needs to load this forecaster."""
    names = ["forecast_kit", "mlflow", *forecaster.packages]
    if any(name.startswith("holiday:") for name in _schema(forecaster).calendar):
        names.append("holidays")
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def _schema(forecaster: Forecaster) -> PanelSchema:
    assert forecaster.schema_ is not None  # it is saved, so it is fitted
    return forecaster.schema_
