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
from forecast_kit.data.encoding import Categories
from forecast_kit.data.frequency import TimeAxis, show_stamps, show_zone, time_axis
from forecast_kit.data.regularize import Audit, regularize
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.sources import read_arrays
from forecast_kit.errors import (
    ArtifactError,
    DataError,
    TooShortError,
    check_whole,
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
        categories: of each categorical covariate, what its values 0, 1, 2 ... in those arrays stand for;
            in future values -1 stands for what this panel never had.
        interpolated: `[R]` where `y` was interpolated, None where nowhere.
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
    categories: Categories = field(default_factory=dict)
    interpolated: Bools | None = None
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
                `id_col="store"`). Fields beside a schema change it for this panel.
            static: one row a series: the id column and the schema's static columns; by default
                they are looked for in `df`, the same in every row of a series. A list of names is
                the schema's field.

        Raises:
            SchemaError: columns are missing or of the wrong kind, or the schema is wrong.
            TimeIndexError: stamps are missing, double or off the grid, and no policy says what that means.
            DataError: no rows, or values that are missing or infinite where the schema's policies refuse them.

        >>> days = pd.to_datetime(["2024-07-01", "2024-07-03", "2024-07-03"])
        >>> sales = pd.DataFrame({"store": ["a", "a", "b"], "day": days, "sold": 1.0})
        >>> columns = {"id_col": "store", "time_col": "day", "target_col": "sold"}
        >>> panel = Panel.from_frame(sales, freq="D", gaps="zero", **columns)
        >>> panel.y, panel.lengths
        (array([1., 0., 1., 1.]), array([3, 1]))
        """
        if isinstance(static, list | tuple):
            fields, static = {**fields, "static": static}, None
        schema = _as_schema(schema, fields)
        df = cols.plain_frame(df)
        rows = regularize(df, schema)
        static_values, categories = cols.static_values(static, df, schema, rows.ids)
        return cls(
            schema, rows.axis, rows.ids, rows.start, rows.indptr, rows.y, rows.observed, rows.past, rows.future,
            static_values, rows.categories | categories, rows.interpolated, rows.audit,
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

        >>> frame = pd.DataFrame({"unique_id": "a", "ds": [1, 2, 3], "y": [5.0, 6.0, 7.0]})
        >>> frame.to_csv("sales.csv", index=False)
        >>> Panel.from_file("sales.csv", freq=1)
        Panel(1 series, 3 rows, freq=1, 1 .. 3)
        """
        schema = _as_schema(schema, fields)
        return cls.from_frame(sources.read_frame(path, schema), schema)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        first, last = show_stamps(self.axis.stamps(np.array([self.start.min(), self.last.max()])), self.schema.zone)
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
        about = [self.schema.to_dict(), str(self.axis.origin), self.categories]
        total = hashlib.sha256(json.dumps(about).encode())
        arrays = (self.ids, self.start, self.indptr, self.y, self.observed, self.past, self.future, self.static)
        for array in arrays:
            total.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"-")
        return total.hexdigest()[:16]

    def to_frame(self) -> pd.DataFrame:
        """The long frame, sorted by series and time; unobserved targets are NaN.

        `Panel.from_frame(panel.to_frame(), panel.schema, static=panel.static_frame())` is the same panel.
        """
        schema = self.schema
        columns: dict[str, Any] = {
            schema.id_col: np.repeat(self.ids, self.lengths),
            schema.time_col: show_zone(self.axis.stamps(self.row_steps), schema.zone),
            schema.target_col: np.where(self.observed, self.y, np.nan),
        }
        columns |= self._columns(schema.past, self.past) | self._columns(schema.future, self.future)
        return pd.DataFrame(columns)

    def static_frame(self) -> pd.DataFrame:
        """The frame of static covariates, one row a series."""
        return pd.DataFrame({self.schema.id_col: self.ids} | self._columns(self.schema.static, self.static))

    def _columns(self, names: tuple[str, ...], values: Floats) -> dict[str, Any]:
        """Covariates by name, as a user wrote them."""
        return {name: self.category(name, values[:, k]) if name in self.categories else values[:, k]
                for k, name in enumerate(names)}  # fmt: skip

    def category(self, name: str, codes: Floats) -> pd.Series:
        """What the codes `[R]` of a categorical covariate stand for."""
        known = pd.Series(list(self.categories[name]))
        return known.take(codes.astype(np.int64)).reset_index(drop=True)

    def locate(self, ids: np.ndarray) -> Ints:
        """The position of each id in this panel, -1 where the panel has no such series."""
        return cols.positions(self.ids, ids)

    def take(self, ids: Any) -> Panel:
        """The named series alone, in the order of the panel.

        Raises:
            DataError: a name is not in the panel.

        >>> from forecast_kit import load
        >>> Panel.from_frame(*load("m4_hourly")).take(["H1", "H2"])
        Panel(2 series, 1496 rows, freq=1, 1 .. 748)
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
        """The last rows of each series: all of a shorter one.

        >>> from forecast_kit import load
        >>> Panel.from_frame(*load("air_passengers")).tail(12)
        Panel(1 series, 12 rows, freq='MS', 1960-01-01 .. 1960-12-01)
        """
        keep = np.minimum(self.lengths, max(rows, 1))
        return self._rows(np.arange(len(self)), self.lengths - keep, keep)

    def split(self, horizon: int) -> tuple[Panel, Panel]:
        """The panel without its last `horizon` steps, and those steps.

        Raises:
            ArgumentError: the horizon is no whole number from 1 on.
            TooShortError: a series would have nothing left.

        >>> from forecast_kit import load
        >>> Panel.from_frame(*load("air_passengers")).split(12)[1]
        Panel(1 series, 12 rows, freq='MS', 1960-01-01 .. 1960-12-01)
        """
        check_whole("horizon", horizon)
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
        y, interpolated = self.y[rows], None
        if self.interpolated is not None:
            interpolated = self.interpolated[rows]
            y = _carry_over_the_cut(y, interpolated, indptr, skip + keep < self.lengths[series])
        return replace(
            self, ids=self.ids[series], start=self.start[series] + skip, indptr=indptr, y=y,
            observed=self.observed[rows], past=self.past[rows], future=self.future[rows],
            static=self.static[series], interpolated=interpolated,
        )  # fmt: skip

    def horizon_steps(self, horizon: int) -> Ints:
        """`[N, H]` the steps after each series' last row."""
        return self.last[:, None] + np.arange(1, horizon + 1)

    def horizon_stamps(self, horizon: int) -> np.ndarray:
        """`[N, H]` the stamps after each series' last row."""
        return self.axis.stamps(self.horizon_steps(horizon))

    def future_frame(self, horizon: int) -> pd.DataFrame:
        """The frame to fill with known-future covariates: every series, the next `horizon` stamps.

        >>> frame = pd.DataFrame({"unique_id": "a", "ds": [1, 2], "y": [5.0, 9.0], "promo": [0.0, 1.0]})
        >>> panel = Panel.from_frame(frame, freq=1, future=["promo"])
        >>> panel.future_frame(2).assign(promo=[0.0, 1.0]).values.tolist()
        [['a', 3, 0.0], ['a', 4, 1.0]]
        """
        frame = pd.DataFrame(
            {
                self.schema.id_col: np.repeat(self.ids, horizon),
                self.schema.time_col: show_zone(self.horizon_stamps(horizon).ravel(), self.schema.zone),
            }
        )
        return frame.assign(**{name: None if name in self.categories else np.nan for name in self.schema.future})

    def save(self, path: str | Path) -> None:
        """Writes the panel into one `.npz` file, without pickle; `load` reads it.

        >>> from forecast_kit import load
        >>> panel = Panel.from_frame(*load("air_passengers"))
        >>> panel.save("passengers.npz")
        >>> Panel.load("passengers.npz").digest == panel.digest
        True
        """
        origin = self.axis.origin if isinstance(self.axis.origin, int) else str(self.axis.origin)
        meta = json.dumps({"schema": self.schema.to_dict(), "origin": origin, "categories": self.categories})
        arrays = {key: getattr(self, key) for key in _ARRAYS if getattr(self, key) is not None}
        with Path(path).open("wb") as file:
            np.savez_compressed(file, meta=np.array(meta), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Panel:
        """The panel that `save` wrote.

        Raises:
            ArtifactError: the file is damaged.
        """
        path = Path(path)
        try:
            arrays = read_arrays(path)
            meta = json.loads(str(arrays.pop("meta")))
            schema, origin = PanelSchema.from_dict(meta["schema"]), meta["origin"]
            first = np.array([origin], np.int64 if isinstance(origin, int) else "datetime64[us]")
            return cls(
                schema, time_axis(schema.freq, first), arrays["ids"], arrays["start"], arrays["indptr"], arrays["y"],
                arrays["observed"], arrays["past"], arrays["future"], arrays["static"],
                {name: tuple(values) for name, values in meta["categories"].items()}, arrays.get("interpolated"),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"cannot read the panel {path.name}: {error}; the file is damaged or foreign"
            ) from error


_ARRAYS = ("ids", "start", "indptr", "y", "observed", "past", "future", "static", "interpolated")


def _as_schema(schema: PanelSchema | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> PanelSchema:
    if isinstance(schema, PanelSchema):
        return schema.changed(**fields) if fields else schema
    return PanelSchema.from_dict({**(schema or {}), **fields})


def _carry_over_the_cut(y: Floats, interpolated: Bools, indptr: Ints, cut: Bools) -> Floats:
    """The target, with the last value before a gap carried forward where the gap reaches over the end of a cut series.

    What was interpolated there knows the value after the cut.
    """
    real = np.maximum.accumulate(np.where(interpolated, -1, np.arange(len(y))))
    last = np.where(cut & (real[indptr[1:] - 1] >= indptr[:-1]), real[indptr[1:] - 1], len(y))
    late = np.arange(len(y)) > np.repeat(last, np.diff(indptr))
    return np.where(late, y[real], y)
