"""From a user's long frame to sorted, gap-free rows: nothing is repaired without being asked.

Sorting alone is done silently. Every other flaw (missing columns, wrong types, duplicates, gaps,
missing or infinite values) is refused with the series, the column and the dates that have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast_kit.data.frequency import TimeAxis, show_stamps, time_axis
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, SchemaError, TimeIndexError, name_some, nearest
from forecast_kit.typing import Bools, Floats, Ints


@dataclass(frozen=True)
class Rows:
    """The rows of a panel, sorted by series and time, one for every step.

    ids `[N]`, start `[N]` (step of each first row), indptr `[N+1]`, y `[R]`, observed `[R]`,
    past `[R, P]`, future `[R, K]`.
    """

    axis: TimeAxis
    ids: np.ndarray
    start: Ints
    indptr: Ints
    y: Floats
    observed: Bools
    past: Floats
    future: Floats


def regularize(df: pd.DataFrame, schema: PanelSchema) -> Rows:
    """The frame's rows, checked and sorted.

    Args:
        df: long frame with the schema's columns, in any order of rows.
        schema: the columns' roles, the frequency, and whether gaps are accepted.

    Raises:
        SchemaError: columns are missing or hold the wrong kind of values.
        TimeIndexError: duplicates, gaps, stamps off the grid.
        DataError: no rows, infinite values, missing values.
    """
    check_columns(df, schema)
    stamps = check_times(df, schema)
    codes, ids = check_ids(df, schema)
    y = numbers(df, schema.target_col)
    past, future = stack(df, schema.past), stack(df, schema.future)
    axis = time_axis(schema.freq, stamps)
    steps = axis.steps(stamps)

    same = codes[1:] == codes[:-1]
    if not bool(np.all((codes[1:] > codes[:-1]) | (same & (steps[1:] >= steps[:-1])))):
        order = np.lexsort((steps, codes))
        codes, steps, y = codes[order], steps[order], y[order]
        past, future = past[order], future[order]
        same = codes[1:] == codes[:-1]
    _refuse_duplicates(ids, codes, steps, same, axis)
    _refuse_infinite(ids[codes], steps, axis, {schema.target_col: y})

    sizes = np.bincount(codes, minlength=len(ids))
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    start, end = steps[first], steps[first + sizes - 1]
    full = end - start + 1
    if schema.gaps == "error":
        _refuse_gaps(ids, codes, steps, same, axis, schema)
        _refuse_missing(ids[codes], steps, axis, {schema.target_col: y}, "gaps='mask' accepts them as unobserved")
    elif (full != sizes).any() and (schema.past or schema.future):
        _refuse_gaps(ids, codes, steps, same, axis, schema)
    covariates = {name: past[:, k] for k, name in enumerate(schema.past)}
    covariates |= {name: future[:, k] for k, name in enumerate(schema.future)}
    _refuse_infinite(ids[codes], steps, axis, covariates)
    _refuse_missing(ids[codes], steps, axis, covariates, "fill them before, in a way that is known at that time")

    indptr = np.concatenate([[0], np.cumsum(full)]).astype(np.int64)
    observed = np.ones(len(y), bool)
    if schema.gaps == "mask":
        y, observed = _mask(y, indptr[codes] + steps - start[codes], indptr, ids)
        if len(past) < len(y):  # rows were absent, so there are no covariates, in any step
            past, future = np.empty((len(y), 0)), np.empty((len(y), 0))
    return Rows(axis, ids, start, indptr, y, observed, past, future)


def check_columns(df: pd.DataFrame, schema: PanelSchema, *, target: bool = True) -> None:
    """Refuses what is no frame, has no rows, or lacks columns of the schema."""
    if not isinstance(df, pd.DataFrame):
        raise SchemaError(f"expected a pandas DataFrame in long form, got {type(df).__name__}")
    wanted = schema.columns if target else (schema.id_col, schema.time_col, *schema.future)
    for column in wanted:
        if column not in df.columns:
            have = [str(name) for name in df.columns]
            raise SchemaError(
                f"column {column!r} is missing; the frame has {', '.join(have) or 'no columns'}."
                f"{nearest(column, have)} Rename it, or name your column in the schema "
                f"(id_col, time_col, target_col, past, future)"
            )
        if isinstance(df[column], pd.DataFrame):
            raise SchemaError(f"column {column!r} occurs {df[column].shape[1]} times; drop all but one")
    if df.empty:
        raise DataError(f"the frame has no rows; columns: {', '.join(map(str, df.columns))}")


def check_times(df: pd.DataFrame, schema: PanelSchema) -> np.ndarray:
    """The time column as `int64` or `datetime64[us]`."""
    column = df[schema.time_col]
    if column.isna().any():
        bad = df.loc[column.isna(), schema.id_col].unique()
        raise TimeIndexError(f"column {schema.time_col!r} has {int(column.isna().sum())} empty stamps, in series "
                             f"{name_some(bad)}")  # fmt: skip
    if isinstance(schema.freq, int):
        if not pd.api.types.is_integer_dtype(column):
            raise SchemaError(
                f"freq={schema.freq} means whole-number time, but column {schema.time_col!r} is {column.dtype}; "
                f"state a calendar frequency such as freq='h', or number the steps"
            )
        return column.to_numpy(np.int64)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        raise TimeIndexError(
            f"column {schema.time_col!r} has time zone {column.dt.tz}; convert it with "
            f".dt.tz_convert('UTC').dt.tz_localize(None), so that every step is equally long"
        )
    if not pd.api.types.is_datetime64_dtype(column):
        example = column.iloc[0]
        raise SchemaError(
            f"freq={schema.freq!r} needs time stamps, but column {schema.time_col!r} is {column.dtype} "
            f"(first value {example!r}); convert it with pd.to_datetime, or state freq=1 for numbered steps"
        )
    return column.to_numpy("datetime64[us]")


def check_ids(df: pd.DataFrame, schema: PanelSchema) -> tuple[Ints, np.ndarray]:
    """Each row's series as a code `[R]` into the sorted ids `[N]` (text or integers)."""
    column = df[schema.id_col]
    if column.isna().any():
        rows = [str(label) for label in df.index[column.isna()][:5]]
        raise SchemaError(f"column {schema.id_col!r} is empty in {int(column.isna().sum())} rows, first at index "
                          f"{', '.join(rows)}")  # fmt: skip
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    codes, ids = pd.factorize(column, sort=True)
    if pd.api.types.is_integer_dtype(column):
        return codes.astype(np.int64), np.asarray(ids, np.int64)
    foreign = [name for name in ids if not isinstance(name, str)]
    if foreign:
        raise SchemaError(f"column {schema.id_col!r} must hold text or whole numbers, got {column.dtype} such as "
                          f"{foreign[0]}; convert it with .astype(str)")  # fmt: skip
    return codes.astype(np.int64), np.asarray(ids, dtype=np.str_)


def numbers(df: pd.DataFrame, name: str) -> Floats:
    """A numeric column as `float64`, NaN where empty."""
    column = df[name]
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan)
    parsed = pd.to_numeric(column, errors="coerce")
    bad = column[parsed.isna() & column.notna()]
    examples = name_some(str(value) for value in bad.unique()) if len(bad) else repr(column.iloc[0])
    raise SchemaError(
        f"column {name!r} must be numeric, but is {column.dtype}; values that are no numbers: {examples}. "
        f"Convert it with pd.to_numeric, or encode it, before it comes here"
    )


def stack(df: pd.DataFrame, names: tuple[str, ...]) -> Floats:
    """Numeric columns side by side, `[R, len(names)]`."""
    return np.stack([numbers(df, name) for name in names], axis=1) if names else np.empty((len(df), 0))


def _refuse_duplicates(ids: np.ndarray, codes: Ints, steps: Ints, same: Bools, axis: TimeAxis) -> None:
    twice = np.flatnonzero(same & (steps[1:] == steps[:-1])) + 1
    if twice.size:
        raise TimeIndexError(
            f"{twice.size} duplicate time stamps: {_places(ids[codes[twice]], steps[twice], axis)}. Keep one row for "
            f"each series and stamp, with drop_duplicates or groupby([id, time]).sum()"
        )


def _refuse_gaps(ids: np.ndarray, codes: Ints, steps: Ints, same: Bools, axis: TimeAxis, schema: PanelSchema) -> None:
    after = np.flatnonzero(same & (steps[1:] - steps[:-1] > 1)) + 1
    if not after.size:
        return
    missing = int((steps[after] - steps[after - 1] - 1).sum())
    hint = (
        "add the rows: covariates must be known in every step"
        if schema.past or schema.future
        else "Add the rows, or pass gaps='mask' to accept them as unobserved"
    )
    raise TimeIndexError(
        f"{missing} steps of freq={schema.freq!r} are missing in {after.size} gaps; the first missing steps: "
        f"{_places(ids[codes[after]], steps[after - 1] + 1, axis)}. {hint}"
    )


def _refuse_missing(names: np.ndarray, steps: Ints, axis: TimeAxis, columns: dict[str, Floats], hint: str) -> None:
    for column, values in columns.items():
        bad = np.flatnonzero(np.isnan(values))
        if bad.size:
            raise DataError(f"column {column!r} has {bad.size} missing values: "
                            f"{_places(names[bad], steps[bad], axis)}; {hint}")  # fmt: skip


def _refuse_infinite(names: np.ndarray, steps: Ints, axis: TimeAxis, columns: dict[str, Floats]) -> None:
    for column, values in columns.items():
        bad = np.flatnonzero(np.isinf(values))
        if bad.size:
            raise DataError(f"column {column!r} has {bad.size} infinite values: "
                            f"{_places(names[bad], steps[bad], axis)}; replace them before")  # fmt: skip


def _places(names: np.ndarray, steps: Ints, axis: TimeAxis) -> str:
    """Where something is wrong, as `id at stamp`, at most five places."""
    stamps = show_stamps(axis.stamps(steps[:5]))
    shown = ", ".join(f"{name} at {stamp}" for name, stamp in zip(names[:5].tolist(), stamps, strict=True))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _mask(y: Floats, at: Ints, indptr: Ints, ids: np.ndarray) -> tuple[Floats, Bools]:
    """The target on every step, the last observed value carried over the steps that lack one."""
    full = np.full(indptr[-1], np.nan)
    full[at] = y
    observed = ~np.isnan(full)
    counts = np.add.reduceat(observed, indptr[:-1], dtype=np.int64)
    if (counts == 0).any():
        raise DataError(f"series without a single observed value: {name_some(ids[counts == 0].tolist())}; drop them")
    last = np.where(observed, np.arange(len(full)), -1)
    owner = np.repeat(indptr[:-1], np.diff(indptr))
    last = np.maximum.accumulate(last)
    leading = last < owner  # nothing observed yet in this series: its first value is carried back
    first = np.minimum.reduceat(np.where(observed, np.arange(len(full)), len(full)), indptr[:-1])
    source = np.where(leading, np.repeat(first, np.diff(indptr)), last)
    return full[source], observed
