"""Where a job's data come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from forecast_kit.data.chunks import Batches, Spool, bring_together, cut_series, follow_one_another, to_arrow
from forecast_kit.data.datasets import load as load_dataset
from forecast_kit.data.future import split_future
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, check_whole
from forecast_kit.jobs.asof import AsOf, known_at
from forecast_kit.jobs.connecting import database, shown
from forecast_kit.jobs.reading import DataFiles, Query, check_names, find_files
from forecast_kit.jobs.sections import DataSection
from forecast_kit.jobs.tidying import tidied


@dataclass(frozen=True, eq=False)
class Source:
    """A job's data as a panel; see `read_source`.

    Attributes:
        panel: all series, up to each one's last value.
        future: the rows after it that carry known-future covariates; None where the schema has none.
        name: of a bundled set, a file, a folder or a database.
        origin: where the data come from, without secrets.

    >>> from forecast_kit.jobs.sections import DataSection
    >>> source = read_source(DataSection(dataset="hospital", series=4))
    >>> source.name, len(source.panel), source.panel.season_length
    ('hospital', 4, 12)
    """

    panel: Panel
    future: pd.DataFrame | None
    name: str
    origin: str


@dataclass(frozen=True, eq=False)
class OpenSource:
    """A job's data before they are read; see `open_source`.

    Attributes:
        name: of a bundled set, a file, a folder or a database.
        origin: where the data come from, without secrets.
        schema: what the columns mean.
        section: of the job file.
        rows: what gives them, portion by portion: files, a query, or a bundled frame.

    >>> from forecast_kit.jobs.sections import DataSection
    >>> source = open_source(DataSection(dataset="hospital", series=4))
    >>> source.columns, source.frame().shape
    (['unique_id', 'ds', 'y'], (336, 3))
    """

    name: str
    origin: str
    schema: PanelSchema
    section: DataSection
    rows: DataFiles | Query | pd.DataFrame

    @cached_property
    def static(self) -> pd.DataFrame | None:
        """The static covariates, one row a series; None where no file of them is named.

        Raises:
            DataError: the file cannot be read, or lacks a column.
        """
        if self.section.static is None:
            return None
        files = find_files(self.section.static, self.section.storage)
        frames = tidied(files.portions([self.schema.id_col, *self.schema.static], self.schema), self.schema)
        return _joined(frames, shown(self.section.static))

    @property
    def columns(self) -> list[str]:
        """The columns that are read: the schema's, with static ones where they have no file of their own."""
        return [*self.schema.columns, *(self.schema.static if self.section.static is None else ())]

    def frame(self) -> pd.DataFrame:
        """All rows in long form, in the order of the files, as `tidied` makes them.

        Rows that come twice are there twice: the schema's policy for duplicates decides upon them.

        Raises:
            DataError: the data cannot be read, or there are none.
            ConfigError: the query asks for an as-of, and there is none.
        """
        whole = _joined(self._portions(), self.origin)
        chosen = self._chosen(lambda: iter([whole]))
        return whole if chosen is None else whole[whole[self.schema.id_col].isin(chosen)].reset_index(drop=True)

    def chunks(self, series: int) -> Iterator[pd.DataFrame]:
        """The same rows in chunks of complete series, so many in each but the last; the same chunks in every run.

        Ids are categories there, those of the chunk.

        Where the rows of each series follow one another they are read as they come, else they are sorted by way of
        temporary files of about their size (`TMPDIR` tells where). Of Parquet files the ids are read first; CSV files
        and what a query gives go through a temporary file in any case. Memory is that of a chunk and some hundred
        thousand rows; of rows by the hundred million that do not follow one another, that of a 256th of them.

        Args:
            series: of a chunk.

        Raises:
            DataError, ConfigError: as `frame`.
        """
        check_whole("series", series)
        with ExitStack() as stack:
            batches, ids, rows = self._readable(stack)
            chosen = self._chosen(ids)
            together = follow_one_another(frame[self.schema.id_col] for frame in ids())
            frames = batches()
            if chosen is not None:
                frames = (frame[frame[self.schema.id_col].isin(chosen)] for frame in frames)
            if not together:
                frames = bring_together(frames, self.schema.id_col, rows=rows)
            empty = True
            for chunk in cut_series(frames, self.schema.id_col, series=series):
                empty = False
                yield chunk
            if empty:
                raise DataError(f"the frame has no rows ({self.origin})")

    def _readable(self, stack: ExitStack) -> tuple[Batches, Batches, int | None]:
        """What gives all rows, what gives at least their ids, and how many there are; as often as need be."""
        if isinstance(self.rows, DataFiles) and self.rows.parquet:
            files = self.rows
            return self._portions, lambda: tidied(files.ids(self.schema), self.schema), files.rows
        if isinstance(self.rows, pd.DataFrame):
            return self._portions, self._portions, len(self.rows)
        # Parsing text twice takes longer than writing it down, and a database may say something else the second time.
        spool = stack.enter_context(Spool())
        for frame in self._portions():
            spool.write(to_arrow(frame))
        return spool.frames, spool.frames, spool.rows

    def _portions(self, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
        columns = self.columns if columns is None else columns
        if isinstance(self.rows, pd.DataFrame):
            check_names(columns, list(self.rows.columns), self.name, self.name)
            return tidied([(self.name, self.rows[columns])], self.schema)
        return tidied(self.rows.portions(columns, self.schema), self.schema)

    def _chosen(self, ids: Batches) -> Any:
        """The series to take, evenly spread over all of them; None for all."""
        count = self.section.series
        if count is None:
            return None
        names = sorted(set[Any]().union(*(frame[self.schema.id_col].unique() for frame in ids())))
        if count > len(names):
            raise DataError(f"data.series asks for {count} series, but {self.name} has {len(names)}")
        return [names[int(k * (len(names) / count))] for k in range(count)]


def open_source(section: DataSection, *, as_of: AsOf | None = None) -> OpenSource:
    """The data that a job names. Files are looked for here; rows are read when they are asked for.

    Args:
        section: of the job file.
        as_of: what `:as_of` in a query means. All rows are read nonetheless, see `known_at`.

    Raises:
        DataError: no file is there.
        ConfigError: an environment variable is not set, a driver or a package is not installed.

    >>> from forecast_kit.jobs.sections import DataSection
    >>> source = open_source(DataSection(dataset="m4_hourly"))
    >>> [len(chunk["unique_id"].unique()) for chunk in source.chunks(200)]
    [200, 200, 14]
    """
    schema = section.panel_schema
    if section.dataset is not None:
        return OpenSource(section.dataset, section.dataset, schema, section, load_dataset(section.dataset).frame)
    if section.sql is not None:
        base = database(section.sql.url, must_exist=True)
        query = Query(base, section.sql.query, as_of, schema.timezone or "UTC")
        return OpenSource(_last_name(str(base.engine.url.database or "query")), base.place, schema, section, query)
    assert section.path is not None  # the section has checked that one of the three is there
    return OpenSource(_last_name(section.path), shown(section.path), schema, section,
                      find_files(section.path, section.storage))  # fmt: skip


def _last_name(path: str) -> str:
    """What a path is called: its last part that is no pattern, without its ending.

    >>> [_last_name(path) for path in ("sales/*.parquet", "s3://bucket/demand.csv.gz", "*.csv")]
    ['sales', 'demand', 'data']
    """
    parts = [part for part in PurePosixPath(path).parts if not any(sign in part for sign in "*?[")]
    return parts[-1].split(".")[0] or parts[-1] if parts else "data"


def _joined(frames: Iterable[pd.DataFrame], where: str) -> pd.DataFrame:
    full = [frame for frame in frames if len(frame)]
    if not full:
        raise DataError(f"the frame has no rows ({where})")
    return pd.concat(full, ignore_index=True)


def read_source(section: DataSection, *, as_of: AsOf | None = None) -> Source:
    """The data that a job names, as a panel.

    Args:
        section: of the job file.
        as_of: leaves out what was not known then; by default all is known.

    Raises:
        DataError, ConfigError: see `open_source` and `Panel.from_frame`.

    >>> import pandas as pd
    >>> from forecast_kit.jobs.asof import AsOf
    >>> from forecast_kit.jobs.sections import DataSection
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-06-27", periods=6), "y": range(6)})
    >>> frame.to_csv("sales.csv", index=False)
    >>> section = DataSection(path="sales.csv", schema={"freq": "D"})
    >>> read_source(section, as_of=AsOf.read("2024-07-01")).panel.y  # that day's own value is not known then
    array([0., 1., 2., 3.])
    """
    source = open_source(section, as_of=as_of)
    frame, schema = source.frame(), source.schema
    past, future = split_future(frame, schema) if as_of is None else known_at(frame, schema, as_of)
    return Source(Panel.from_frame(past, schema, static=source.static), future, source.name, source.origin)
