"""Columns of files and databases as columns that a panel reads, the same whatever portion they come in."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_integer_dtype, is_object_dtype

from forecast_kit.data.columns import drop_zone, numbers, plain_frame
from forecast_kit.data.frequency import is_subdaily
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.sources import read_stamps
from forecast_kit.errors import DataError, SchemaError, TimeIndexError

_DATES = ("string", "date", "datetime", "mixed")  # pandas' words for text and objects
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")


def tidied(portions: Iterable[tuple[str, pd.DataFrame]], schema: PanelSchema) -> Iterator[pd.DataFrame]:
    """The portions with ids of text or `int64`, stamps of `datetime64[us]` or `int64`, and numbers of `float64`.

    Stamps with a zone become UTC where steps are shorter than a day, and else dates on the wall, see `drop_zone`.

    Args:
        portions: where the rows are from, and the rows.
        schema: its columns; others stay as they are.

    Raises:
        SchemaError, TimeIndexError: a column holds something else, or ids and stamps of another kind than before.

    >>> from decimal import Decimal
    >>> sent = pd.DataFrame({"unique_id": ["a"], "ds": ["2024-07-01T13:00"], "y": [Decimal(1)]})
    >>> next(tidied([("a query", sent)], PanelSchema(freq="h"))).dtypes.astype(str).tolist()
    ['str', 'datetime64[us]', 'float64']
    """
    first: tuple[str, dict[str, str]] | None = None
    for where, rows in portions:
        try:
            frame = _tidy(rows, schema, where)
        except DataError as error:
            raise type(error)(str(error) if where in str(error) else f"{where}: {error}") from error
        kinds = {name: str(frame[name].dtype) for name in (schema.id_col, schema.time_col) if name in frame.columns}
        if first is None:
            first = where, kinds
        for name, kind in kinds.items():
            if kind != first[1][name]:
                raise SchemaError(f"column {name!r} holds {kind} in {where}, but {first[1][name]} in {first[0]}; bring "
                                  f"files of one kind")  # fmt: skip
        yield frame


def _tidy(frame: pd.DataFrame, schema: PanelSchema, where: str) -> pd.DataFrame:
    frame = plain_frame(frame).copy(deep=False)
    for name in frame.columns:
        if name == schema.id_col:
            frame[name] = _ids(frame[name], where)
        elif name == schema.time_col:
            frame[name] = _stamps(frame[name], schema, where)
        elif name in schema.categorical:
            frame[name] = _categories(frame[name])
        elif name in schema.columns or name in schema.static:
            if is_object_dtype(frame[name]) and (frame[name].isna().all() or infer_dtype(frame[name]) in _NUMBERS):
                frame[name] = frame[name].astype(np.float64)
            frame[name] = numbers(frame, name)
    return frame


def _ids(ids: pd.Series, where: str) -> pd.Series:
    if ids.isna().any():
        raise SchemaError(f"column {ids.name!r} is empty in {int(ids.isna().sum())} rows of {where}; leave them out")
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(ids.cat.categories.dtype)
    kind = infer_dtype(ids)
    if is_integer_dtype(ids) or kind == "integer":
        return ids.astype(np.int64)
    if kind == "decimal" and all(value == int(value) for value in ids):
        return ids.map(int).astype(np.int64)
    if kind == "string" or (is_object_dtype(ids) and all(isinstance(value, uuid.UUID) for value in ids)):
        return ids.astype("str")
    if ids.empty:
        return ids
    raise SchemaError(f"column {ids.name!r} must hold text or whole numbers, got {ids.dtype} such as {ids.iloc[0]!r} "
                      f"in {where}")  # fmt: skip


def _stamps(column: pd.Series, schema: PanelSchema, where: str) -> pd.Series:
    if column.isna().any():
        raise TimeIndexError(f"column {column.name!r} has {int(column.isna().sum())} empty stamps in {where}; leave "
                             f"those rows out")  # fmt: skip
    if isinstance(schema.freq, int):
        whole = is_object_dtype(column) and infer_dtype(column) in ("integer", "decimal")
        if is_integer_dtype(column) or (whole and all(value == int(value) for value in column)):
            return column.astype(np.int64)
        return column  # for the panel to refuse
    if not pd.api.types.is_datetime64_any_dtype(column) and infer_dtype(column) in _DATES:
        column = read_stamps(column, where)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        # Of hours the zone stays told: without it they would be taken for those of the schema's wall clock.
        return (column.dt.tz_convert("UTC") if is_subdaily(schema.freq) else drop_zone(column, schema)).dt.as_unit("us")
    return column.dt.as_unit("us") if pd.api.types.is_datetime64_dtype(column.dtype) else column


def _categories(column: pd.Series) -> pd.Series:
    """Whole numbers and booleans in dtypes that take missing ones, so that portions with and without are alike."""
    kind = infer_dtype(column, skipna=True)
    if is_bool_dtype(column) or (is_object_dtype(column) and kind == "boolean"):
        return column.astype("boolean")
    if is_integer_dtype(column) or (is_object_dtype(column) and kind in ("integer", "decimal")):
        return column.astype("Int64")
    return column
