"""Frames and arrays from files."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, TimeIndexError


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
        try:
            stamps = pd.to_datetime(frame[column], format="ISO8601", errors="coerce")
        except ValueError as error:  # offsets that change, as local time with daylight saving has them
            raise TimeIndexError(f"cannot read the dates in column {column!r} of {file}: {error}; "
                                 f"write them all in UTC, without an offset") from error  # fmt: skip
        bad = frame.loc[stamps.isna() & frame[column].notna(), column]
        if len(bad):
            raise TimeIndexError(
                f"column {column!r} of {file} holds {len(bad)} values that are no ISO 8601 dates, such as "
                f"{bad.iloc[0]!r}; write them as 2024-07-01 or 2024-07-01 13:00"
            )
        frame[column] = stamps
    return frame


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
