"""The door: any frame as plain pandas, and its columns as plain arrays of checked kinds."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

import numpy as np
import pandas as pd

from forecast_kit.data.encoding import Categories, read_categories
from forecast_kit.data.frequency import is_subdaily
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, SchemaError, TimeIndexError, name_some, nearest
from forecast_kit.typing import Floats, Ints


def plain_frame(data: Any) -> pd.DataFrame:
    """The data as a pandas frame whose columns are NumPy's or pandas' own, none of Arrow's.

    Args:
        data: a pandas frame, or anything that offers the Arrow C stream: polars frames, pyarrow
            tables, DuckDB results and others.

    Raises:
        SchemaError: it is neither.
    """
    if isinstance(data, pd.DataFrame):
        arrow = [k for k, dtype in enumerate(data.dtypes) if isinstance(dtype, pd.ArrowDtype)]
        if not arrow:
            return data
        import pyarrow as pa

        columns = {
            k: pa.chunked_array(pa.array(data.iloc[:, k])).to_pandas().set_axis(data.index)
            if k in arrow else data.iloc[:, k]
            for k in range(data.shape[1])
        }  # fmt: skip
        return pd.concat(columns, axis=1).set_axis(data.columns, axis=1)
    if hasattr(data, "__arrow_c_stream__"):
        import pyarrow as pa

        return pa.table(data).to_pandas()
    raise SchemaError(
        f"expected a frame in long form (pandas, polars, pyarrow or any other with the Arrow C stream), "
        f"got {type(data).__name__}"
    )


def check_columns(df: pd.DataFrame, schema: PanelSchema, *, target: bool = True) -> None:
    """Refuses what is no frame, has no rows, or lacks columns of the schema."""
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
    column = _to_utc(column, schema, df[schema.id_col])
    if not pd.api.types.is_datetime64_dtype(column):
        example = column.iloc[0]
        raise SchemaError(
            f"freq={schema.freq!r} needs time stamps, but column {schema.time_col!r} is {column.dtype} "
            f"(first value {example!r}); convert it with pd.to_datetime, or state freq=1 for numbered steps"
        )
    return column.to_numpy("datetime64[us]")


def _to_utc(column: pd.Series, schema: PanelSchema, ids: pd.Series) -> pd.Series:
    """Stamps without a time zone, every step equally long: UTC, or wall dates where a step is a day or more.

    Days, weeks and months begin at local midnight, which UTC would move about with daylight saving.
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return drop_zone(column, schema)
    if schema.zone is None or not pd.api.types.is_datetime64_dtype(column):
        return column
    zone = schema.zone
    # In a doubled hour the order of a series' rows tells which of the two is meant.
    return column.groupby(ids, sort=False, group_keys=False).transform(lambda stamps: _from_wall(stamps, zone, column))


def _from_wall(stamps: pd.Series, zone: str, column: pd.Series) -> pd.Series:
    """The stamps of one series, which is their name, from the wall clock of a zone to UTC."""
    try:
        return stamps.dt.tz_localize(zone, ambiguous="infer").dt.tz_convert("UTC").dt.tz_localize(None)
    except ValueError:
        first = np.ones(len(stamps), bool)
        skipped = stamps[stamps.dt.tz_localize(zone, ambiguous=first, nonexistent="NaT").isna()]
        doubled = stamps[stamps.dt.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward").isna()]
    # Which of the two is meant is told where the stamps of the day go back once, to the beginning of the later hour.
    days = [part for _, part in doubled.groupby(doubled.dt.normalize())]
    unclear = [part.iloc[0] for part in days if (part.diff() <= pd.Timedelta(0)).sum() != 1]
    if len(skipped) and not (unclear and unclear[0] < skipped.iloc[0]):
        told = f"{skipped.iloc[0]}, which series {stamps.name!r} has, lies in the hour that it skips in spring"
    else:
        told = (f"it shows {[*unclear, *doubled][0]} twice in autumn, and series {stamps.name!r} does not tell which "
                f"of the two it means; bring both, the earlier first")  # fmt: skip
    # What pandas says is advice on its own arguments, which nobody can give here.
    raise TimeIndexError(
        f"column {column.name!r} does not fit the wall clock of {zone}: {told}. Stamps that are UTC must say so: "
        f"df[{column.name!r}].dt.tz_localize('UTC')"
    ) from None


def drop_zone(column: pd.Series, schema: PanelSchema) -> pd.Series:
    """Stamps that carry a zone as a panel counts them: UTC, or wall dates where a step is a day or more.

    The wall is that of the schema's `timezone`, or, where none is stated, of the zone that the stamps carry, in which
    they then must be at midnight: a database that gives every stamp in UTC tells nothing of whose days they are.

    Args:
        column: `[R]` stamps with a zone.
        schema: its frequency and timezone.

    Raises:
        TimeIndexError: it cannot be told which days are meant.

    >>> sent = pd.Series(pd.to_datetime(["2024-11-17T23:00Z"]))
    >>> drop_zone(sent, PanelSchema(freq="D", timezone="Europe/Berlin"))[0]
    Timestamp('2024-11-18 00:00:00')
    """
    if is_subdaily(schema.freq):
        return column.dt.tz_convert("UTC").dt.tz_localize(None)
    carried = column.dt.tz
    wall, off = _wall_dates(column, carried)
    as_meant = f"drop the zone, df[{column.name!r}].dt.tz_localize(None), if the dates are meant as they stand there"
    if schema.timezone is None:
        if off is not None:
            named = str(carried) if str(carried) in available_timezones() - {"UTC"} else None
            whose = f"timezone={named!r}" if named else "the zone whose days they are, such as timezone='Europe/Berlin'"
            raise TimeIndexError(
                f"column {column.name!r} carries the zone {carried}, but is not at midnight there, such as {off}, and "
                f"freq={schema.freq!r} counts whole days: state {whose}, or {as_meant}"
            )
        return wall
    stated, late = _wall_dates(column, schema.timezone)
    if late is not None and off is None:
        raise TimeIndexError(
            f"column {column.name!r} is at midnight in the zone that it carries, {carried}, but not in "
            f"timezone={schema.timezone!r}, such as {late}: state the zone whose days they are, or {as_meant}"
        )
    return stated


def _wall_dates(column: pd.Series, zone: Any) -> tuple[pd.Series, pd.Timestamp | None]:
    """What the clock of a zone shows at stamps that carry one, and the first that begins no day there."""
    there = column.dt.tz_convert(zone)
    wall = there.dt.tz_localize(None)
    days = wall.dt.normalize()
    odd = wall != days
    if not odd.any():
        return wall, None
    # Where the clock skips midnight itself, as in Santiago, a day begins an hour later.
    begins = days[odd].dt.tz_localize(zone, ambiguous=np.ones(int(odd.sum()), bool), nonexistent="shift_forward")
    off = there[odd][begins != there[odd]]
    return (days, None) if off.empty else (wall, off.iloc[0])


def check_ids(df: pd.DataFrame, schema: PanelSchema) -> tuple[Ints, np.ndarray]:
    """Each row's series as a code `[R]` into the sorted ids `[N]` (text or integers)."""
    column = df[schema.id_col]
    if column.isna().any():
        rows = [str(label) for label in df.index[column.isna()][:5]]
        raise SchemaError(f"column {schema.id_col!r} is empty in {int(column.isna().sum())} rows, first at index "
                          f"{', '.join(rows)}")  # fmt: skip
    if isinstance(column.dtype, pd.CategoricalDtype):
        # The categories that occur, in their order: there are far fewer of them than rows.
        used = np.bincount(column.cat.codes, minlength=len(column.cat.categories)) > 0
        order, ids = pd.factorize(column.cat.categories[used], sort=True)
        codes = np.full(len(used), -1)
        codes[used] = order
        codes = codes[column.cat.codes]
    else:
        codes, ids = pd.factorize(column, sort=True)
    if pd.api.types.is_integer_dtype(ids):
        return codes.astype(np.int64, copy=False), np.asarray(ids, np.int64)
    foreign = [] if isinstance(ids.dtype, pd.StringDtype) else [name for name in ids if not isinstance(name, str)]
    if foreign:
        raise SchemaError(f"column {schema.id_col!r} must hold text or whole numbers, got {column.dtype} such as "
                          f"{foreign[0]}; convert it with .astype(str)")  # fmt: skip
    return codes.astype(np.int64, copy=False), np.asarray(ids, dtype=np.str_)


def numbers(df: pd.DataFrame, name: str) -> Floats:
    """A numeric column as `float64`, NaN where empty."""
    column = df[name]
    if column.dtype == np.float64:
        return column.to_numpy()  # the frame's own memory: pandas copies it when somebody writes to the frame
    if pd.api.types.is_complex_dtype(column):
        raise SchemaError(f"column {name!r} holds complex numbers ({column.dtype}), such as {column.iloc[0]}; a model "
                          f"takes real ones: bring the real part, the imaginary part or the size")  # fmt: skip
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan)
    parsed = pd.to_numeric(column, errors="coerce")
    bad = column[parsed.isna() & column.notna()]
    as_text = [value for value in column.unique() if isinstance(value, str)]
    if len(bad):
        told = f"values that are no numbers: {name_some(str(value) for value in bad.unique())}"
    elif as_text:
        told = f"its numbers are stored as text, such as {as_text[0]!r}"
    else:
        told = f"it holds values such as {next(iter(column.dropna()), None)!r}"
    raise SchemaError(
        f"column {name!r} must be numeric, but is {column.dtype}; {told}. Convert it with pd.to_numeric, or name it in "
        f"the schema's categorical"
    )


def covariates(df: pd.DataFrame, names: tuple[str, ...], schema: PanelSchema) -> tuple[Floats, Categories]:
    """Covariates side by side, `[R, len(names)]`, NaN where empty; categories as their places in what they may be."""
    columns, categories = [], {}
    for name in names:
        if name in schema.categorical:
            codes, categories[name] = read_categories(df[name])
            columns.append(codes)
        else:
            columns.append(numbers(df, name))
    return np.stack(columns, axis=1) if columns else np.empty((len(df), 0)), categories


def positions(known: np.ndarray, ids: np.ndarray) -> Ints:
    """`[N]` where each id stands in `known`, -1 where it does not; text and numbers are never equal."""
    known, ids = np.asarray(known), np.asarray(ids)
    if known.dtype.kind == ids.dtype.kind and known.dtype.kind in "iU" and len(known):
        # A panel's ids ascend: a few are found among very many without a table of all.
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        found = known[at] == ids
        if found.all() or (known[1:] > known[:-1]).all():
            return np.where(found, at, -1)
    return pd.Index(known).get_indexer(pd.Index(ids)).astype(np.int64)


def static_values(static: Any, df: pd.DataFrame, schema: PanelSchema, ids: np.ndarray) -> tuple[Floats, Categories]:
    """`[N, S]` the static covariates in the order of the ids, from their own frame or from the long one."""
    if not schema.static:
        if static is not None:
            raise SchemaError("a static frame was given, but the schema names no static columns")
        return np.empty((len(ids), 0)), {}
    wanted = [schema.id_col, *schema.static]
    source = df if static is None else plain_frame(static)
    missing = [name for name in wanted if name not in source.columns]
    if missing:
        raise SchemaError(f"static columns are missing: {name_some(missing)}; pass a frame with {name_some(wanted)} "
                          f"as static=, or repeat them in every row")  # fmt: skip
    unique = source[wanted].drop_duplicates() if static is None else source[wanted]
    at = pd.Index(unique[schema.id_col])
    if at.has_duplicates:
        raise SchemaError(f"static covariates must have one row a series, but these have several: "
                          f"{name_some(at[at.duplicated()].unique())}")  # fmt: skip
    rows = positions(at.to_numpy(), ids)
    if (rows < 0).any():
        raise SchemaError(f"the static frame lacks series {name_some(ids[rows < 0].tolist())}")
    values, categories = covariates(unique.iloc[rows], schema.static, schema)
    if not np.isfinite(values).all():
        raise DataError(f"static covariates are missing or infinite for series "
                        f"{name_some(ids[~np.isfinite(values).all(axis=1)].tolist())}")  # fmt: skip
    return values, categories
