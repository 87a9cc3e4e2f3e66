"""The panel: many series of one kind, side by side, in flat arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.data import columns as cols
from forecast_kit.data import sources
from forecast_kit.data.frequency import TimeAxis, show_stamps, time_axis
from forecast_kit.data.regularize import Audit, regularize
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.sources import read_arrays
from forecast_kit.errors import (
    ArgumentError,
    ArtifactError,
    DataError,
    SchemaError,
    TimeIndexError,
    TooShortError,
    name_some,
)
from forecast_kit.typing import Bools, Floats, Ints


@dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency, ragged, without NaN, immutable.

    Built with `Panel.from_frame`. Series `i` owns the rows `indptr[i]:indptr[i + 1]`; its first row
    is step `start[i]` of the time axis, and every following row is one step later.

    Attributes:
        schema: what the columns mean.
        axis: from whole steps to stamps and back.
        ids: `[N]` text or integers, sorted.
        start: `[N]` the step of each series' first row.
        indptr: `[N + 1]` row offsets.
        y: `[R]` target; where not observed, the last observed value.
        observed: `[R]` where `y` is real.
        past: `[R, P]` past-only covariates.
        future: `[R, K]` known-future covariates.
        static: `[N, S]` static covariates.
        audit: what the schema's policies repaired on the way in.

    >>> frame = pd.DataFrame({"unique_id": "a", "ds": [1, 2, 3], "y": [5.0, 6.0, 7.0]})
    >>> panel = Panel.from_frame(frame, freq=1)
    >>> panel
    Panel(1 series, 3 rows, freq=1, 1 .. 3)
    >>> panel.split(1)[0].y
    array([5., 6.])
    """

    schema: PanelSchema
    axis: TimeAxis
    ids: np.ndarray
    start: Ints
    indptr: Ints
    y: Floats
    observed: Bools
    past: Floats
    future: Floats
    static: Floats
    audit: Audit = field(default_factory=Audit)

    @classmethod
    def from_frame(
        cls,
        df: Any,
        schema: PanelSchema | Mapping[str, Any] | None = None,
        *,
        static: Any = None,
        **fields: Any,
    ) -> Panel:
        """The panel that a long frame holds: one row for each series and time stamp.

        Args:
            df: columns `unique_id`, `ds`, `y` and the covariates; other names go into the schema.
                Rows in any order. A pandas frame, or anything that offers the Arrow C stream
                (polars, pyarrow, DuckDB).
            schema: the columns' roles; or give its fields directly (`freq="h"`, `gaps="mask"`,
                `id_col="store"`).
            static: one row a series: the id column and the schema's static columns; by default
                they are looked for in `df`, the same in every row of a series.

        Raises:
            SchemaError, TimeIndexError, DataError: see `regularize`.
        """
        schema = _as_schema(schema, fields)
        df = cols.plain_frame(df)
        rows = regularize(df, schema)
        return cls(
            schema, rows.axis, rows.ids, rows.start, rows.indptr, rows.y, rows.observed, rows.past, rows.future,
            _static_values(static, df, schema, rows.ids), rows.audit,
        )  # fmt: skip

    @classmethod
    def from_wide(cls, df: Any, schema: PanelSchema | Mapping[str, Any] | None = None, **fields: Any) -> Panel:
        """The panel of a wide frame: the index holds time, every column is a series.

        A series begins at its column's first value and ends at its last, so columns may be ragged.

        Raises:
            SchemaError, TimeIndexError, DataError: as `from_frame`; also where covariates are named.

        >>> wide = pd.DataFrame({"a": [1.0, 2, 3], "b": [np.nan, 5, 6]}, index=[1, 2, 3])
        >>> Panel.from_wide(wide, freq=1).lengths
        array([3, 2])
        """
        schema = _as_schema(schema, fields)
        return cls.from_frame(sources.wide_to_long(df, schema), schema)

    @classmethod
    def from_series(
        cls, series: pd.Series, schema: PanelSchema | Mapping[str, Any] | None = None, **fields: Any
    ) -> Panel:
        """The panel of one series: its index holds time, its name is the id (`"series"` where it has none).

        The frequency is that of the index where that states one.

        >>> index = pd.date_range("2024-01-01", periods=3, freq="D")
        >>> Panel.from_series(pd.Series([1.0, 2, 3], index, name="sales"))
        Panel(1 series, 3 rows, freq='D', 2024-01-01 .. 2024-01-03)
        """
        if schema is None and "freq" not in fields and getattr(series.index, "freqstr", None):
            fields["freq"] = series.index.freqstr  # type: ignore[attr-defined]
        schema = _as_schema(schema, fields)
        return cls.from_frame(sources.series_to_long(series, schema), schema)

    @classmethod
    def from_file(cls, path: str | Path, schema: PanelSchema | Mapping[str, Any] | None = None, **fields: Any) -> Panel:
        """The panel that a CSV or Parquet file (or a folder of Parquet files) holds in long form.

        Raises:
            DataError: there is no such file, or it cannot be read; and as `from_frame`.
        """
        schema = _as_schema(schema, fields)
        return cls.from_frame(sources.read_frame(path, schema), schema)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        first, last = show_stamps(self.axis.stamps(np.array([self.start.min(), self.last.max()])))
        return f"Panel({len(self)} series, {len(self.y)} rows, freq={self.schema.freq!r}, {first} .. {last})"

    @property
    def lengths(self) -> Ints:
        """`[N]` the number of rows of each series."""
        return np.diff(self.indptr)

    @property
    def last(self) -> Ints:
        """`[N]` the step of each series' last row: the cutoff of a forecast made now."""
        return self.start + self.lengths - 1

    @property
    def season_length(self) -> int:
        """Steps in a season."""
        return self.schema.season_length

    @property
    def row_steps(self) -> Ints:
        """`[R]` the step of every row."""
        return np.arange(len(self.y)) + np.repeat(self.start - self.indptr[:-1], self.lengths)

    @property
    def series(self) -> Iterator[tuple[Any, Floats]]:
        """Each id with its target, a view."""
        for k, name in enumerate(self.ids.tolist()):
            yield name, self.y[self.indptr[k] : self.indptr[k + 1]]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any value, id, stamp or column of the panel."""
        total = hashlib.sha256(json.dumps([self.schema.to_dict(), str(self.axis.origin)]).encode())
        for array in (
            self.ids,
            self.start,
            self.indptr,
            self.y,
            self.observed,
            self.past,
            self.future,
            self.static,
        ):
            total.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"-")
        return total.hexdigest()[:16]

    def to_frame(self) -> pd.DataFrame:
        """The long frame, sorted by series and time; unobserved targets are NaN."""
        schema = self.schema
        columns: dict[str, Any] = {
            schema.id_col: np.repeat(self.ids, self.lengths),
            schema.time_col: self.axis.stamps(self.row_steps),
            schema.target_col: np.where(self.observed, self.y, np.nan),
        }
        columns |= {name: self.past[:, k] for k, name in enumerate(schema.past)}
        columns |= {name: self.future[:, k] for k, name in enumerate(schema.future)}
        return pd.DataFrame(columns)

    def locate(self, ids: np.ndarray) -> Ints:
        """The position of each id in this panel, -1 where the panel has no such series."""
        return positions(self.ids, ids)

    def take(self, ids: Any) -> Panel:
        """The named series alone, in the order of the panel.

        Raises:
            DataError: a name is not in the panel.
        """
        wanted = np.atleast_1d(np.asarray(ids))
        at = self.locate(wanted)
        if not len(at):
            raise DataError("no series was chosen; name at least one")
        if (at < 0).any():
            raise DataError(f"series not in the panel: {name_some(wanted[at < 0].tolist())}; "
                            f"it has {name_some(self.ids[:5].tolist())} and others")  # fmt: skip
        return self._rows(np.unique(at), np.zeros(len(self), np.int64), self.lengths)

    def before(self, cutoff: Ints) -> Panel:
        """Each series up to and including its cutoff.

        Args:
            cutoff: `[N]` the last step to keep.

        Raises:
            TooShortError: a series has no row up to its cutoff.
        """
        keep = np.minimum(cutoff - self.start + 1, self.lengths)
        if (keep < 1).any():
            raise TooShortError(f"no observation up to the cutoff in series {name_some(self.ids[keep < 1].tolist())}")
        return self._rows(np.arange(len(self)), np.zeros(len(self), np.int64), keep)

    def tail(self, rows: int) -> Panel:
        """The last rows of each series: all of a shorter one."""
        keep = np.minimum(self.lengths, max(rows, 1))
        return self._rows(np.arange(len(self)), self.lengths - keep, keep)

    def split(self, horizon: int) -> tuple[Panel, Panel]:
        """The panel without its last `horizon` steps, and those steps.

        Raises:
            TooShortError: a series would have nothing left.
        """
        if horizon < 1:
            raise ArgumentError(f"horizon must be at least 1, got {horizon}")
        keep = self.lengths - horizon
        if (keep < 1).any():
            raise TooShortError(
                f"{int((keep < 1).sum())} series have {horizon} observations or fewer, nothing is left before a "
                f"horizon of {horizon}: {name_some(self.ids[keep < 1].tolist())}; drop them or shorten the horizon"
            )
        every, nothing = np.arange(len(self)), np.zeros(len(self), np.int64)
        return self._rows(every, nothing, keep), self._rows(every, keep, np.full(len(self), horizon))

    def _rows(self, series: Ints, skip: Ints, keep: Ints) -> Panel:
        """The chosen series, each without its first `skip` rows and cut to `keep` rows."""
        skip, keep = skip[series], keep[series]
        indptr = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        if len(series) == len(self) and not skip.any() and (keep == self.lengths).all():
            return self
        rows = np.arange(indptr[-1]) + np.repeat(self.indptr[series] + skip - indptr[:-1], keep)
        return replace(
            self, ids=self.ids[series], start=self.start[series] + skip, indptr=indptr, y=self.y[rows],
            observed=self.observed[rows], past=self.past[rows], future=self.future[rows],
            static=self.static[series],
        )  # fmt: skip

    def standardized(self, past: Floats, future: Floats, static: Floats) -> Panel:
        """The panel with every covariate standardised, `(x - mean) / deviation`.

        Args:
            past, future, static: `[2, P]`, `[2, K]`, `[2, S]` mean and deviation of each column.
        """
        pairs = {"past": past, "future": future, "static": static}
        return replace(self, **{key: (getattr(self, key) - pair[0]) / pair[1] for key, pair in pairs.items()})

    def horizon_steps(self, horizon: int) -> Ints:
        """`[N, H]` the steps after each series' last row."""
        return self.last[:, None] + np.arange(1, horizon + 1)

    def horizon_stamps(self, horizon: int) -> np.ndarray:
        """`[N, H]` the stamps after each series' last row."""
        return self.axis.stamps(self.horizon_steps(horizon))

    def future_frame(self, horizon: int) -> pd.DataFrame:
        """The frame to fill with known-future covariates: every series, the next `horizon` stamps."""
        frame = pd.DataFrame(
            {
                self.schema.id_col: np.repeat(self.ids, horizon),
                self.schema.time_col: self.horizon_stamps(horizon).ravel(),
            }
        )
        return frame.assign(**dict.fromkeys(self.schema.future, np.nan))

    def future_values(self, future: pd.DataFrame | np.ndarray | None, horizon: int) -> Floats:
        """`[N, H, K]` the known-future covariates of the steps to come.

        Args:
            future: a frame as `future_frame` gives it, filled (more rows do no harm), or the values
                themselves; None where the schema has no future covariates.
            horizon: steps to come.

        Raises:
            SchemaError, DataError: the frame is missing, or lacks columns, rows or values.
        """
        names = self.schema.future
        shape = (len(self), horizon, len(names))
        if not names:
            return np.empty(shape)
        if future is None:
            raise SchemaError(
                f"the known-future covariates {name_some(names)} are needed for the next {horizon} steps; "
                f"fill the frame that panel.future_frame({horizon}) gives, and pass it as future="
            )
        if isinstance(future, np.ndarray):
            if future.shape != shape:
                raise SchemaError(f"future values must have shape {shape} (series, horizon, covariate), "
                                  f"got {future.shape}")  # fmt: skip
            return future
        future = cols.plain_frame(future)
        cols.check_columns(future, self.schema, target=False)
        stamps = cols.check_times(future, self.schema)
        at = self.locate(future[self.schema.id_col].to_numpy())
        mine = np.flatnonzero(at >= 0)
        lead = self.axis.steps(stamps[mine]) - self.last[at[mine]] - 1 if mine.size else np.empty(0, np.int64)
        inside = (lead >= 0) & (lead < horizon)
        series, lead, rows = at[mine][inside], lead[inside], mine[inside]
        seen = np.zeros(shape[:2], np.int64)
        np.add.at(seen, (series, lead), 1)
        if (seen > 1).any():
            twice = self._first_places(seen > 1, horizon)
            raise TimeIndexError(f"the future frame has duplicate rows: {twice}; keep one for each series and stamp")
        values = np.full(shape, np.nan)
        values[series, lead] = cols.stack(future.iloc[rows], names)
        for k, name in enumerate(names):
            bad = ~np.isfinite(values[:, :, k])
            if bad.any():
                raise DataError(
                    f"the future frame lacks {int(bad.sum())} values of {name!r}: {self._first_places(bad, horizon)}"
                )
        return values

    def _first_places(self, bad: Bools, horizon: int) -> str:
        """The ranges in which `bad [N, H]` is set, for the first five series."""
        stamps = self.horizon_stamps(horizon)
        series = np.flatnonzero(bad.any(axis=1))
        ranges = [(self.ids[k], show_stamps(stamps[k][bad[k]])) for k in series[:5]]
        shown = ", ".join(f"{name} from {when[0]} to {when[-1]}" for name, when in ranges)
        return f"{shown} and {len(series) - 5} more series" if len(series) > 5 else shown

    def save(self, path: Path) -> None:
        """Writes the panel into one `.npz` file, without pickle."""
        origin = self.axis.origin if isinstance(self.axis.origin, int) else str(self.axis.origin)
        meta = json.dumps({"schema": self.schema.to_dict(), "origin": origin})
        with path.open("wb") as file:
            np.savez_compressed(
                file, meta=np.array(meta), ids=self.ids, start=self.start, indptr=self.indptr, y=self.y,
                observed=self.observed, past=self.past, future=self.future, static=self.static,
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Panel:
        """The panel that `save` wrote.

        Raises:
            ArtifactError: the file is damaged.
        """
        try:
            arrays = read_arrays(path)
            meta = json.loads(str(arrays.pop("meta")))
            schema, origin = PanelSchema.from_dict(meta["schema"]), meta["origin"]
            first = np.array([origin], np.int64 if isinstance(origin, int) else "datetime64[us]")
            return cls(
                schema, time_axis(schema.freq, first), arrays["ids"], arrays["start"], arrays["indptr"], arrays["y"],
                arrays["observed"], arrays["past"], arrays["future"], arrays["static"],
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"cannot read the panel {path.name}: {error}; the file is damaged or foreign"
            ) from error


def _as_schema(schema: PanelSchema | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> PanelSchema:
    if schema is not None and fields:
        raise ArgumentError(f"give a schema or its fields, not both; fields given: {name_some(fields)}")
    return schema if isinstance(schema, PanelSchema) else PanelSchema.from_dict(schema or fields)


def positions(known: np.ndarray, ids: np.ndarray) -> Ints:
    """`[N]` where each id stands in `known`, -1 where it does not; text and numbers are never equal."""
    return pd.Index(known).get_indexer(pd.Index(ids)).astype(np.int64)


def split_future(df: Any, schema: PanelSchema) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The rows up to each series' last target, and the rows after it that carry known-future covariates.

    One frame may hold both: history with `y`, then rows whose `y` is empty and whose covariates are
    known. The second frame is None where the schema has no future covariates or no such rows.
    """
    df = cols.plain_frame(df)
    cols.check_columns(df, schema)
    if not schema.future:
        return df, None
    known = df[schema.target_col].notna()
    last = df[schema.time_col].where(known).groupby(df[schema.id_col]).transform("max")
    ahead = df[schema.time_col] > last
    return df[~ahead], (df[ahead] if ahead.any() else None)


def _static_values(static: Any, df: pd.DataFrame, schema: PanelSchema, ids: np.ndarray) -> Floats:
    """`[N, S]` the static covariates in the order of the ids, from their own frame or from the long one."""
    if not schema.static:
        if static is not None:
            raise SchemaError("a static frame was given, but the schema names no static columns")
        return np.empty((len(ids), 0))
    wanted = [schema.id_col, *schema.static]
    source = df if static is None else cols.plain_frame(static)
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
    values = cols.stack(unique, schema.static)[rows]
    if not np.isfinite(values).all():
        raise DataError(f"static covariates are missing or infinite for series "
                        f"{name_some(ids[~np.isfinite(values).all(axis=1)].tolist())}")  # fmt: skip
    return values
