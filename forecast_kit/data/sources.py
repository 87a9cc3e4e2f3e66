"""Long frames from files, wide frames and single series; arrays from files."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.data.columns import plain_frame
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, SchemaError, TimeIndexError, name_some


def read_frame(path: str | Path, schema: PanelSchema) -> pd.DataFrame:
    """The long frame in a CSV or Parquet file; text time stamps are parsed where the schema has a calendar.

    Args:
        path: `.csv` (also compressed: `.csv.gz`), `.parquet`, or a folder of Parquet files.
        schema: says which column holds time, and whether it counts or dates.

    Raises:
        DataError: there is no such file, or it cannot be read.
        TimeIndexError: the time column holds text that is no date.
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"there is no file {file} (looked in {Path.cwd()})")
    is_csv = ".csv" in file.suffixes
    if not is_csv and not file.is_dir() and file.suffix not in (".parquet", ".pq"):
        raise DataError(f"{file} must end in .csv, .csv.gz or .parquet, or be a folder of Parquet files")
    try:
        # Ids such as 007 are names: a text column stays text, and is not made a number.
        frame = pd.read_csv(file, dtype={schema.id_col: str}) if is_csv else pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's and pandas' parsing errors are ValueErrors
        raise DataError(f"cannot read {file}: {error}") from error
    column = schema.time_col
    if column in frame.columns and not isinstance(schema.freq, int) and pd.api.types.is_string_dtype(frame[column]):
        frame[column] = read_stamps(frame[column], str(file))
    return frame


def read_stamps(column: pd.Series, where: str) -> pd.Series:
    """The stamps that a column of ISO 8601 text, or of date objects, tells; empty ones stay empty.

    Args:
        column: of text or objects.
        where: what it is a column of, for the error.

    Raises:
        TimeIndexError: a value is no date, or offsets from UTC change.
    """
    try:
        stamps = pd.to_datetime(column, format="ISO8601", errors="coerce")
    except ValueError as error:  # offsets that change, as local time with daylight saving has them
        raise TimeIndexError(f"cannot read the dates in column {column.name!r} of {where}: {error}; "
                             f"write hours in UTC, without an offset, and days as dates alone") from error  # fmt: skip
    bad = column[stamps.isna() & column.notna()]
    if len(bad):
        raise TimeIndexError(
            f"column {column.name!r} of {where} holds {len(bad)} values that are no ISO 8601 dates, such as "
            f"{bad.iloc[0]!r}; write them as 2024-07-01 or 2024-07-01 13:00"
        )
    return stamps


def wide_to_long(data: Any, schema: PanelSchema) -> pd.DataFrame:
    """The long frame of a wide one; values before the first and after the last of a column are no rows.

    Raises:
        SchemaError: the schema names covariates, for which a wide frame has no place; column names repeat.
    """
    wide = plain_frame(data)
    if schema.past or schema.future or schema.static:
        raise SchemaError("a wide frame has no place for covariates; bring a long frame, one row a series and stamp")
    if not wide.columns.is_unique:
        raise SchemaError(f"column names repeat: {name_some(wide.columns[wide.columns.duplicated()].unique())}")
    known = wide.notna().to_numpy()
    inside = (np.maximum.accumulate(known, axis=0) & np.maximum.accumulate(known[::-1], axis=0)[::-1]).ravel("F")
    return pd.DataFrame(
        {
            schema.id_col: np.repeat(wide.columns.to_numpy(), len(wide))[inside],
            schema.time_col: wide.index.take(np.tile(np.arange(len(wide)), wide.shape[1])[inside]),
            schema.target_col: wide.melt()["value"].to_numpy()[inside],
        }
    )


def series_to_long(series: pd.Series, schema: PanelSchema) -> pd.DataFrame:
    """The long frame of one series.

    Raises:
        SchemaError: it is no pandas Series.
    """
    if not isinstance(series, pd.Series):
        raise SchemaError(f"expected a pandas Series whose index holds time, got {type(series).__name__}")
    name = "series" if series.name is None else series.name
    return pd.DataFrame({schema.id_col: name, schema.time_col: series.index, schema.target_col: series.to_numpy()})


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an `.npz` file, by name; nothing in it is unpickled.

    Raises:
        OSError: there is no such file.
        ValueError: it is damaged.
    """
    with path.open("rb") as file:  # ours to close: NumPy leaves it open where the file is damaged
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError) as error:
            raise ValueError(f"{path.name}: {error}") from error
