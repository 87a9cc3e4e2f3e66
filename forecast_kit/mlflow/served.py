"""The model behind `mlflow.pyfunc`: a long frame in, a forecast frame out, whoever sends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_float_dtype, is_integer_dtype, is_object_dtype

from forecast_kit.core.forecast import Forecast
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.data.columns import plain_frame
from forecast_kit.data.future import split_future
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.sources import read_stamps
from forecast_kit.errors import ArgumentError, SchemaError, nearest

_PARAMETERS = ("horizon", "levels")
_DATES = ("string", "date", "datetime", "mixed")  # pandas' words for text and objects
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded forecaster, and what it was logged to give when nothing else is asked.

    Attributes:
        forecaster: fitted.
        horizon: steps ahead.
        levels: quantile levels.
        digest: of the artefact, see `artifact_digest`; empty for models that were logged without.
        version: of the registered model that the URI named, if it named one.

    >>> from forecast_kit import Naive, load
    >>> from forecast_kit.mlflow import load_served, save_model
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> save_model(Naive(horizon=2).fit(panel), "naive", levels=(0.1, 0.9))
    >>> served = load_served("naive")
    >>> served.forecast(panel.to_frame().tail(24), {"levels": [0.5]}).to_frame().columns.tolist()
    ['unique_id', 'ds', 'cutoff', 'model', 'mean', 'q50']
    """

    forecaster: Forecaster
    horizon: int
    levels: tuple[float, ...]
    digest: str = ""
    version: str | None = None

    def forecast(self, data: Any, params: Mapping[str, Any] | None = None) -> Forecast:
        """The forecast of a frame's series, see `PyfuncForecaster`.

        Args:
            data: history, known-future rows, both, or no row at all.
            params: `horizon` and `levels`; what is None or absent is as logged.

        Raises:
            ArgumentError, DataError, NotFittedError: what was sent cannot be forecast from, and what to send.
        """
        asked = {key: value for key, value in (params or {}).items() if value is not None}
        for key in asked:
            if key not in _PARAMETERS:
                raise ArgumentError(f"unknown parameter {key!r}; the model takes {', '.join(_PARAMETERS)}."
                                    f"{nearest(str(key), _PARAMETERS)}")  # fmt: skip
        history, future = self._split(plain_frame(data))
        levels = asked.get("levels", self.levels)
        return self.forecaster.predict(
            asked.get("horizon", self.horizon), levels=levels.tolist() if isinstance(levels, np.ndarray) else levels,
            history=history, future=future,
        )  # fmt: skip

    def _split(self, frame: pd.DataFrame) -> tuple[Panel | None, pd.DataFrame | None]:
        """History and known-future rows; no history where the frame has no target value at all."""
        if frame.empty:
            return None, None
        schema, own = self.forecaster.schema_, self.forecaster
        assert schema is not None  # a loaded forecaster has its schema
        frame = normalized(frame, schema, integer_ids=own.integer_ids_, categories=own.categories_)
        if schema.future and schema.target_col in frame.columns and frame[schema.target_col].isna().all():
            return None, frame
        past, future = split_future(frame, schema)
        return Panel.from_frame(past, schema), future


class PyfuncForecaster:
    """The model that `mlflow.pyfunc.load_model` returns, behind MLflow's own checks of the signature.

    `predict(frame, params={"horizon": 24, "levels": [0.1, 0.9]})` takes the history of the series to forecast, with
    rows after the last target for known-future covariates. What becomes of what is sent, in the columns' default names:

    | sent | what happens |
    | --- | --- |
    | `ds` without a zone, of any resolution; `datetime` or `date` objects | taken |
    | ISO 8601 text in `ds`, in JSON | taken |
    | ISO 8601 text in `ds`, in a frame | MLflow: `Can not safely convert str to datetime64[ns]`; use `pd.to_datetime` |
    | `ds` with a time zone | MLflow: `only contains timezone-naive`; `.dt.tz_convert("UTC").dt.tz_localize(None)` |
    | numbers for ids that were text | MLflow: `convert int64 to <U0`, of JSON our own error; use `.astype(str)` |
    | text for ids that were numbers | MLflow: `Can not safely convert str to int64`; use `.astype("int64")` |
    | categorical ids | MLflow: `Can not safely convert category to <U0`; use `.astype(str)` |
    | `y` of int64 in a frame | MLflow: `Can not safely convert int64 to float64`; `.astype("float64")`; JSON is taken |
    | `y` of int32, float32, Float64 or Arrow's double, numbers or decimals as objects | taken |
    | a column missing or misspelt, or in the index | MLflow: `missing inputs ['ds']`, with the extra columns it met |
    | other columns besides | MLflow leaves them out, with a warning |
    | no row at all, with the columns | a forecast from the history that was saved with the model |
    | known-future rows alone, `y` empty | a forecast from the history that was saved with the model |
    | None for the frame | MLflow: `Expected input to be DataFrame`; send a frame without rows |
    | `horizon="3"`, `3.0`, `True` | MLflow: `Can not safely convert ... to DataType.long`; send a whole number |
    | `horizon=None` | as logged |
    | `levels=0.5`, a tuple, None | MLflow: `must be a 1D array`; send a list of numbers |
    | a misspelt parameter | MLflow leaves it out, with a warning that names those there are |

    In Python, `get_raw_model()` of what MLflow loaded is the forecaster itself, and `load_served(uri).forecast(frame)`
    is `predict` without MLflow's checks: it takes dates as text or with a zone, whole numbers, and frames of polars
    and pyarrow as well.
    """

    def __init__(self, served: ServedModel) -> None:
        self.served = served

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The frame `unique_id, ds, cutoff, model, mean, q10, ...`."""
        return self.served.forecast(model_input, params).to_frame()

    def get_raw_model(self) -> Forecaster:
        """The forecaster, for what a request cannot ask."""
        return self.served.forecaster


def normalized(
    frame: pd.DataFrame, schema: PanelSchema, *, integer_ids: bool, categories: Mapping[str, Any] = MappingProxyType({})
) -> pd.DataFrame:
    """The frame with columns of the kinds that a panel reads, where it is certain what is meant.

    ISO dates as text or objects become stamps, numbers and decimals as objects numbers, and numbered categories that
    empty values made fractional whole again. What Spark, Ray and JSON hand over is of such kinds.

    Args:
        frame: without Arrow's columns, see `plain_frame`.
        schema: of the model.
        integer_ids: whether its series are named by numbers.
        categories: a value of each categorical covariate, see `Forecaster.categories_`.

    Raises:
        SchemaError: ids are of another kind than in training, or the stamps are in the index.
        TimeIndexError: a date cannot be read.

    >>> sent = pd.DataFrame({"unique_id": ["a"], "ds": ["2024-07-01T13:00"], "y": pd.Series([1], dtype=object)})
    >>> normalized(sent, PanelSchema(freq="h"), integer_ids=False).dtypes.astype(str).tolist()
    ['str', 'datetime64[us]', 'float64']
    """
    time = schema.time_col
    if time not in frame.columns and (isinstance(frame.index, pd.DatetimeIndex) or time in frame.index.names):
        raise SchemaError(f"column {time!r} is missing, and the index holds stamps; send frame.reset_index(), with the "
                          f"column named {time!r}")  # fmt: skip
    frame = frame.copy(deep=False)
    if schema.id_col in frame.columns:
        frame[schema.id_col] = _as_ids(frame[schema.id_col], integer_ids)
    # Numbers are left for the panel to refuse: pandas would take them for nanoseconds.
    if time in frame.columns and not isinstance(schema.freq, int) and infer_dtype(frame[time]) in _DATES:
        frame[time] = read_stamps(frame[time], "what was sent")
    for name in (schema.target_col, *schema.static, *schema.past, *schema.future):
        if name not in frame.columns:
            continue
        if name in schema.categorical:
            frame[name] = _as_categories(frame[name], categories.get(name))
        else:
            frame[name] = _as_numbers(frame[name])
    return frame


def _as_numbers(column: pd.Series) -> pd.Series:
    """Objects that are all numbers as numbers; others are left for the panel to refuse by name."""
    if is_object_dtype(column) and (column.isna().all() or infer_dtype(column, skipna=True) in _NUMBERS):
        return column.astype(np.float64)
    return column


def _as_categories(column: pd.Series, example: Any) -> pd.Series:
    column = column.infer_objects()
    if type(example) is int and is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        return column.astype("Int64")
    return column


def _as_ids(ids: pd.Series, integer_ids: bool) -> pd.Series:
    values: Any = ids.cat.categories if isinstance(ids.dtype, pd.CategoricalDtype) else ids
    numbers = is_integer_dtype(values) or (is_object_dtype(values) and infer_dtype(values, skipna=True) == "integer")
    if numbers and not integer_ids:
        raise SchemaError(f"column {ids.name!r} holds whole numbers, but the series that the model was trained on are "
                          f"named by text; send text, as .astype(str) makes it")  # fmt: skip
    if integer_ids and not numbers:
        raise SchemaError(f"column {ids.name!r} holds {ids.dtype}, but the series that the model was trained on are "
                          f"named by whole numbers; send those, as .astype('int64') makes them")  # fmt: skip
    return ids.astype(np.int64) if integer_ids and values is ids and not ids.isna().any() else ids
