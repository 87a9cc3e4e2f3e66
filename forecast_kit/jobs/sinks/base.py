"""What all sinks are: tables in which the rows of an as-of are replaced at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from forecast_kit.data.chunks import to_arrow
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, SchemaError, name_some, nearest
from forecast_kit.jobs.asof import AsOf

AS_OF = "as_of"
# Of each table what tells its rows apart; the as-of comes first, as rows are asked for and replaced by it.
KEYS = {
    "forecasts": (AS_OF, "unique_id", "ds"),
    "scores": (AS_OF, "unique_id"),
    "checks": (AS_OF, "check"),
}
_ORDER = (AS_OF, "unique_id", "ds", "check")


class Sink(ABC):
    """Tables `forecasts`, `scores` and `checks`, whose rows belong each to an as-of.

    Args:
        schema: of the job's data: whether time is numbered, and the zone that stamps are shown in.

    >>> import pandas as pd
    >>> from forecast_kit import PanelSchema
    >>> from forecast_kit.jobs.asof import AsOf
    >>> from forecast_kit.jobs.sinks import FileSink
    >>> rows = pd.DataFrame({"unique_id": ["berlin"], "ds": pd.to_datetime(["2024-07-01"]), "mean": [12.0]})
    >>> sink = FileSink("out", "parquet", PanelSchema(freq="D"))  # one of those that there are
    >>> for number in (12.0, 15.0):  # the same night twice
    ...     written = sink.write("forecasts", AsOf.read("2024-07-01"), [rows.assign(mean=number)])
    >>> sink.read("forecasts")[["unique_id", "mean"]].values.tolist()
    [['berlin', 15.0]]
    """

    def __init__(self, schema: PanelSchema) -> None:
        self.schema = schema

    @abstractmethod
    def write(self, table: str, as_of: AsOf, frames: Iterable[pd.DataFrame]) -> int:
        """The number of rows that took the place of that as-of's former ones, all at once.

        A reader sees the former rows or the new ones. Where anything fails, or the process is killed, the former
        ones stay, and nothing else is left. Memory does not grow with the number of frames.

        Args:
            table: `forecasts`, `scores` or `checks`.
            as_of: what the rows belong to; a column `as_of` may be there and must hold nothing else.
            frames: one after another, as they come; all with the same columns. No rows at all take the as-of away.

        Raises:
            ArgumentError: there is no such table.
            SchemaError: the frames do not fit each other, or lack a column of the table's key.
            StoreError: what is there refuses: no right to write, a table with other columns.
        """

    @abstractmethod
    def read(
        self, table: str, *, since: AsOf | None = None, until: AsOf | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The rows of the as-ofs from `since` on and before `until`, sorted by `as_of`, `unique_id` and `ds`.

        A frame without rows, and without columns but `as_of`, where there are none.

        Args:
            table: as in `write`.
            since, until: None has no limit.
            columns: which of them, `as_of` comes first anyhow; by default all. Where only some as-ofs have a column,
                it is empty in the others.

        Raises:
            SchemaError: a column is in none of them.
            StoreError: what is there cannot be read.
        """

    @abstractmethod
    def as_ofs(self, table: str) -> list[AsOf]:
        """The as-ofs that have rows, ascending.

        Raises:
            StoreError: what is there cannot be read.
        """

    @abstractmethod
    def describe(self) -> str:
        """Where it is, without secrets."""


def check_table(table: str) -> tuple[str, ...]:
    """The key of a table.

    Raises:
        ArgumentError: there is no such table.
    """
    if table not in KEYS:
        raise ArgumentError(f"a sink has the tables {', '.join(KEYS)}, not {table!r}.{nearest(table, KEYS)}")
    return KEYS[table]


def arrow_tables(frames: Iterable[pd.DataFrame], as_of: AsOf, key: Sequence[str]) -> Iterator[pa.Table]:
    """The frames as Arrow's tables of one schema, without the column `as_of`; NaN is null.

    Args:
        frames: of the same columns; the first one tells their types.
        as_of: of all rows.
        key: columns that must be there, and full.

    Raises:
        SchemaError: they do not fit.
    """
    schema: pa.Schema | None = None
    for frame in frames:
        frame = _without_as_of(frame, as_of)
        if schema is None:
            lacking = [name for name in key if name != AS_OF and name not in frame.columns]
            if lacking:
                raise SchemaError(f"the rows to write lack {name_some(lacking)} of the key; they have "
                                  f"{name_some(frame.columns)}")  # fmt: skip
            schema = pa.schema([(str(name), arrow_type(column)) for name, column in frame.items()])
        elif list(frame.columns) != schema.names:
            raise SchemaError(f"the frames to write have different columns: first {name_some(schema.names)}, then "
                              f"{name_some(frame.columns)}")  # fmt: skip
        try:
            table = to_arrow(frame, schema).replace_schema_metadata(None)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise SchemaError(f"the frames to write hold different kinds of values: {error}") from error
        for name in key:
            if name != AS_OF and table[name].null_count:
                raise SchemaError(f"column {name!r} of the rows to write is empty in {table[name].null_count} rows; it "
                                  f"belongs to the key")  # fmt: skip
        yield table


def _without_as_of(frame: pd.DataFrame, as_of: AsOf) -> pd.DataFrame:
    if AS_OF not in frame.columns:
        return frame
    other = frame[AS_OF][frame[AS_OF] != as_of.value]
    if len(other):
        raise SchemaError(f"the rows are to be written for as-of {as_of}, but column 'as_of' holds {other.iloc[0]}")
    return frame.drop(columns=AS_OF)


def arrow_type(column: pd.Series) -> pa.DataType:
    """The type that a column has in every sink: whole numbers, numbers, booleans, stamps or text.

    Raises:
        SchemaError: it is of no such kind.

    >>> arrow_type(pd.Series([1], dtype="int32")), arrow_type(pd.Series([None, "007"]))
    (DataType(int64), DataType(string))
    """
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return pa.bool_()
    if pd.api.types.is_integer_dtype(dtype):
        return pa.int64()
    if pd.api.types.is_float_dtype(dtype):
        return pa.float64()
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pa.timestamp("us", str(dtype.tz))
    if pd.api.types.is_datetime64_dtype(dtype):
        return pa.timestamp("us")
    if isinstance(dtype, pd.StringDtype) or pd.api.types.infer_dtype(column) in ("string", "empty"):
        return pa.string()
    raise SchemaError(f"column {column.name!r} of the rows to write is {dtype} ({pd.api.types.infer_dtype(column)}); a "
                      f"sink takes numbers, booleans, stamps and text")  # fmt: skip


def assembled(
    parts: Sequence[pd.DataFrame], schema: PanelSchema, columns: Sequence[str] | None, table: str
) -> pd.DataFrame:
    """The parts below one another, sorted, with the columns that were asked for; see `Sink.read`.

    Args:
        parts: each with column `as_of`, and with those columns of its own that `wanted` names.
        schema: the zone that stamps are shown in.
        columns: as `Sink.read` takes them.
        table: its name, for the error.
    """
    if not parts:
        # A frame that fits those with rows: comparisons with stamps work on its only column.
        return pd.DataFrame({AS_OF: pd.Series(dtype="int64" if isinstance(schema.freq, int) else "datetime64[us]")})
    frame = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if columns is not None:
        for name in columns:
            if name not in frame.columns:
                raise SchemaError(f"no row of {table} has a column {name!r}; there are "
                                  f"{name_some(frame.columns)}.{nearest(name, frame.columns)}")  # fmt: skip
    order = [name for name in _ORDER if name in frame.columns]
    frame = frame.sort_values(order, kind="stable", ignore_index=True)
    kept = frame.columns if columns is None else columns
    return frame[[AS_OF, *(name for name in kept if name != AS_OF)]]


def wanted(columns: Sequence[str] | None) -> list[str] | None:
    """The columns to read: those that were asked for, and those that rows are sorted by; None for all."""
    return None if columns is None else list(dict.fromkeys([*_ORDER, *columns]))


def as_pandas(table: pa.Table, as_of: Any, schema: PanelSchema) -> pd.DataFrame:
    """Rows of an as-of as pandas has them: stamps in the schema's zone, the column `as_of` first."""
    frame = table.to_pandas()
    for name, column in frame.items():
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            frame[name] = column.dt.tz_convert(schema.zone or "UTC").dt.as_unit("us")
        elif pd.api.types.is_datetime64_dtype(column.dtype):
            frame[name] = column.dt.as_unit("us")
        elif table[name].type == pa.float64() and column.dtype == object:
            frame[name] = column.astype(np.float64)
    as_ofs = np.full(len(frame), as_of, np.int64) if isinstance(as_of, int) else pd.Series(
        np.full(len(frame), as_of.to_datetime64(), "datetime64[us]"), index=frame.index
    )  # fmt: skip
    frame.insert(0, AS_OF, as_ofs)
    return frame
