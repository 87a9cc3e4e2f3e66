"""Rows of files and databases, portion by portion."""

from __future__ import annotations

import glob
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ConfigError, DataError, ForecastKitError, SchemaError, name_some, nearest
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.connecting import Database, Secrets, file_system, is_url, shown

PORTION = 131_072  # rows that are read at a time
_ENDINGS = (".parquet", ".pq", ".csv", ".csv.gz")
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error)  # the parsing errors of pandas and pyarrow are ValueErrors
_FITS = {"Int64": r"[+-]?\d{1,18}", "boolean": r"(?i:true|false)"}  # what pandas takes text of CSV for

Portion = tuple[str, pd.DataFrame]  # where the rows are from, and the rows


@dataclass(frozen=True)
class DataFile:
    """A file of a source.

    Attributes:
        path: on its file system.
        name: as it may be told.
    """

    path: str
    name: str

    @property
    def parquet(self) -> bool:
        """Whether it is Parquet, and not CSV."""
        return self.path.endswith((".parquet", ".pq"))

    @property
    def partition(self) -> dict[str, Any]:
        """What the names of its folders tell.

        >>> DataFile("sales/day=7/store=007/part.parquet", "part").partition
        {'day': 7, 'store': '007'}
        """
        pairs = [part.split("=", 1) for part in PurePosixPath(self.path).parts[:-1] if "=" in part]
        return {key: int(value) if re.fullmatch(r"0|-?[1-9]\d{0,17}", value) else unquote(value)
                for key, value in pairs}  # fmt: skip


@dataclass(frozen=True, eq=False)
class DataFiles:
    """The files that a path names, in the order of their names.

    Attributes:
        files: at least one, all Parquet or all CSV.
        system: fsspec's, None for this machine's.
        secrets: not to be told.
    """

    files: tuple[DataFile, ...]
    system: Any = None
    secrets: Secrets = field(default_factory=Secrets)

    @property
    def parquet(self) -> bool:
        """Whether they are Parquet, of which single columns can be read."""
        return self.files[0].parquet

    @property
    def rows(self) -> int | None:
        """How many rows there are, where the files tell without being read through."""
        if not self.parquet:
            return None
        total = 0
        for file in self.files:
            with self._open(file) as content, pq.ParquetFile(content) as parquet:
                total += int(parquet.metadata.num_rows)
        return total

    def portions(self, columns: Sequence[str], schema: PanelSchema) -> Iterator[Portion]:
        """The rows with those columns.

        Raises:
            DataError: a file cannot be read.
            SchemaError: a file lacks a column.
        """
        kinds = {schema.id_col: "str"}  # ids such as 007 are names
        if not self.parquet:
            kinds |= self._category_kinds([name for name in columns if name in schema.categorical])
        for file in self.files:
            partition = {key: value for key, value in file.partition.items() if key in columns}
            with self._open(file) as content:
                names = _names(content, file)
                check_names(columns, list(dict.fromkeys([*names, *partition])), file.name, self.files[0].name)
                own = [name for name in columns if name in names]
                told = {key: value for key, value in partition.items() if key not in names}
                for frame in _rows(content, file, own, kinds, bool(schema.categorical)):
                    yield file.name, frame.assign(**told)

    def ids(self, schema: PanelSchema) -> Iterator[Portion]:
        """Each row's series, of Parquet files where it is text no more than the rows at which it changes.

        Raises:
            DataError, SchemaError: see `portions`.
        """
        if not self.parquet or any(schema.id_col in file.partition for file in self.files):
            yield from self.portions([schema.id_col], schema)
            return
        for file in self.files:
            with self._open(file) as content:
                check_names([schema.id_col], _names(content, file), file.name, self.files[0].name)
                for frame in _changes(content, schema.id_col):
                    yield file.name, frame

    def _category_kinds(self, columns: Sequence[str]) -> dict[str, str]:
        """What the categories of CSV files are: whole numbers or booleans where all of them are, else text.

        Portions that each made up their own mind would call the same category 7 and "7".
        """
        left = {name: dict(_FITS) for name in columns}
        for file in self.files if columns else ():
            with self._open(file) as content:
                present = [name for name in columns if name in _names(content, file)]
                for frame in _rows(content, file, present, dict.fromkeys(present, "str"), False):
                    for name in present:
                        values = pd.Series(frame[name].dropna().unique(), dtype="str")
                        left[name] = {kind: fit for kind, fit in left[name].items() if values.str.fullmatch(fit).all()}
        return {name: next(iter(kinds), "str") for name, kinds in left.items()}

    @contextmanager
    def _open(self, file: DataFile) -> Iterator[IO[bytes]]:
        """The open file; what goes wrong while it is read is told by its name."""
        try:
            with Path(file.path).open("rb") if self.system is None else self.system.open(file.path, "rb") as content:
                yield content
        except ForecastKitError:
            raise
        except _UNREADABLE as error:
            told = self.secrets.hide(f"cannot read {file.name}: {error}")
            raise DataError(told) from (None if self.secrets.values else error)


def _names(content: IO[bytes], file: DataFile) -> list[str]:
    """The file's columns."""
    if file.parquet:
        with pq.ParquetFile(content) as parquet:
            names = list(parquet.schema_arrow.names)
    else:
        names = list(pd.read_csv(content, nrows=0, compression=_compression(file)).columns)
    content.seek(0)
    return names


def _rows(
    content: IO[bytes], file: DataFile, columns: list[str], kinds: dict[str, str], whole: bool
) -> Iterator[pd.DataFrame]:
    """Portions of an open file; `whole` keeps whole numbers from becoming fractional where some are missing."""
    if file.parquet:
        with pq.ParquetFile(content) as parquet:
            for batch in parquet.iter_batches(PORTION, columns=columns):
                yield batch.to_pandas(integer_object_nulls=whole)
        return
    with pd.read_csv(
        content, usecols=columns, dtype={name: kind for name, kind in kinds.items() if name in columns},
        chunksize=PORTION, compression=_compression(file),
    ) as reader:  # fmt: skip
        yield from reader


def _changes(content: IO[bytes], column: str) -> Iterator[pd.DataFrame]:
    """Portions of one column of a Parquet file; of text, which comes as numbers in a dictionary, where it changes."""
    with pq.ParquetFile(content, read_dictionary=[column]) as parquet:
        for batch in parquet.iter_batches(PORTION, columns=[column]):
            values = batch.column(0)
            if pa.types.is_dictionary(values.type):
                codes = values.indices.fill_null(-1).to_numpy()
                starts = np.flatnonzero(np.diff(codes, prepend=-2))
                values = values.dictionary.take(values.indices.take(pa.array(starts)))
            yield pa.table({column: values}).to_pandas()


def _compression(file: DataFile) -> Any:
    return "gzip" if file.path.endswith(".gz") else None


def check_names(columns: Sequence[str], have: Sequence[str], where: str, first: str) -> None:
    """Refuses rows that lack columns of the schema, or have one twice.

    Args:
        columns: of the schema.
        have: there are.
        where: the rows are from.
        first: where the first rows were from.

    Raises:
        SchemaError: which, and what is there.
    """
    twice = [name for name in columns if list(have).count(name) > 1]
    if twice:
        raise SchemaError(f"column {twice[0]!r} occurs {list(have).count(twice[0])} times in {where}; keep one")
    lacking = [name for name in columns if name not in have]
    if not lacking:
        return
    if where != first:
        raise SchemaError(f"the files differ: {where} lacks {name_some(lacking)}, which {first} has; it "
                          f"has {', '.join(map(str, have))}. Bring files of the same columns, or leave this one "
                          f"out")  # fmt: skip
    raise SchemaError(
        f"column {lacking[0]!r} is missing; the frame has {', '.join(map(str, have)) or 'no columns'} ({where})."
        f"{nearest(lacking[0], map(str, have))} Rename it, or name your column in the schema "
        f"(id_col, time_col, target_col, past, future)"
    )


def find_files(path: str, storage: Mapping[str, Any]) -> DataFiles:
    """The Parquet or CSV files that a path, a folder, a pattern or a URL of one of them names.

    In folders, also nested ones, what begins with a dot or an underscore is left out, and what is neither Parquet nor
    CSV.

    Args:
        path: see `DataSection.path`.
        storage: options of the URL's file system.

    Raises:
        DataError: there are none, or of both kinds.
        ConfigError: the URL's file system cannot be reached.
    """
    if is_url(path):
        system, root, secrets = file_system(path, storage)
        with secrets.guarding(DataError, f"look for {shown(path)}", OSError, RuntimeError, ValueError):
            paths = _remote_matches(system, root)
        begin = shown(path).split("://")[0] + "://"
    else:
        system, root, secrets, begin = None, path, Secrets(), ""
        with secrets.guarding(DataError, f"look for {path}", OSError):
            paths = _local_matches(path)
    if not paths:
        raise DataError(f"{_nothing_at(shown(path))}; bring Parquet or CSV files, or correct the path")
    files = tuple(DataFile(one, begin + one.lstrip("/") if begin else one) for one in paths)
    for file in files:
        if not file.path.endswith(_ENDINGS):
            raise DataError(f"{file.name} must end in .csv, .csv.gz or .parquet, or be a folder of such files")
    other = next((file for file in files if file.parquet != files[0].parquet), None)
    if other is not None:
        raise DataError(f"{shown(path)} names both Parquet and CSV files, such as {files[0].name} and {other.name}; "
                        f"name one kind, as with a pattern that ends in *.parquet")  # fmt: skip
    return DataFiles(files, system, secrets)


def _local_matches(path: str) -> list[str]:
    place = Path(path)
    if place.is_dir():
        return [str(one) for one in sorted(place.rglob("*")) if one.is_file() and _is_data(str(one), path)]
    if place.exists():  # a name may hold brackets
        return [path]
    found = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern, but hidden files
    return sorted({one for one in found if Path(one).is_file()})


def _remote_matches(system: Any, path: str) -> list[str]:
    system.invalidate_cache()  # others have written since the last look
    if not glob.has_magic(path):
        if system.isdir(path):
            return [one for one in sorted(system.find(path)) if _is_data(one, path)]
        return [path] if system.exists(path) else []
    return sorted({one for one in system.glob(path) if system.isfile(one)})


def _is_data(file: str, folder: str) -> bool:
    """Whether a file in a folder belongs to its data."""
    below = file[len(folder) :].strip("/").split("/")
    return file.endswith(_ENDINGS) and not any(part.startswith((".", "_")) for part in below)


def _nothing_at(path: str) -> str:
    """What was looked for and where."""
    if not glob.has_magic(path):
        if not is_url(path) and Path(path).is_dir():
            return f"there is no Parquet or CSV file in the folder {path}"
        return f"there is no file {path}" + ("" if is_url(path) else f" (looked in {Path.cwd()})")
    parts = path.split("/")
    fixed = next(k for k, part in enumerate(parts) if glob.has_magic(part))
    folder = "/".join(parts[:fixed]) or ("/" if path.startswith("/") else str(Path.cwd()))
    there = is_url(path) or Path(folder).is_dir()
    return (
        f"no file matches {'/'.join(parts[fixed:])!r} in the folder {folder}{'' if there else ', which does not exist'}"
    )


def asked_by(query: str) -> set[str]:
    r"""The values that a query asks for, as SQLAlchemy reads it: two colons, or one after a backslash, mean none.

    >>> asked_by("select * from sales where hour < :as_of")
    {'as_of'}
    """
    return set(sa.text(query).compile().params)


@dataclass(frozen=True, eq=False)
class Query:
    """A query of a database.

    Attributes:
        database: where.
        text: SQL; `:as_of` in it is the moment that the job pretends is now. The database's session is in the zone
            of the schema's stamps, so that the moment is that of the clock there; of SQLite, whose stamps are text, it
            is written as 2024-07-01 or 2024-07-01 13:00:00.
        as_of: that moment.
        zone: of the clock; UTC where the schema states none.
    """

    database: Database
    text: str
    as_of: AsOf | None
    zone: str

    def portions(self, columns: Sequence[str], schema: PanelSchema) -> Iterator[Portion]:
        """The rows with those columns, streamed by a cursor of the server's.

        Raises:
            ConfigError: the query asks for what there is not.
            DataError: the database refuses.
            SchemaError: the query lacks a column.
        """
        statement = self._statement()
        with self.database.guarding(DataError, "read from the database"), self.database.engine.connect() as connection:
            if self.database.dialect == "postgresql":
                connection.execute(sa.text("SELECT set_config('TimeZone', :zone, false)"), {"zone": self.zone})
            rows = connection.execution_options(stream_results=True, max_row_buffer=PORTION).execute(statement)
            if not rows.returns_rows:
                raise ConfigError("data.sql.query gives no rows; write a SELECT")
            names = list(rows.keys())
            check_names(columns, names, "the query", "the query")
            for portion in rows.partitions(PORTION):
                frame = pd.DataFrame.from_records([tuple(row) for row in portion], columns=names)
                yield "the query", frame[list(columns)]

    def _statement(self) -> sa.TextClause:
        statement = sa.text(self.text)
        asked = asked_by(self.text)
        if asked - {"as_of"}:
            raise ConfigError(f"data.sql.query asks for {name_some(sorted(asked - {'as_of'}))}; the one value that a "
                              f"query may ask for is :as_of (write \\: for a colon that means none)")  # fmt: skip
        if not asked:
            return statement
        if self.as_of is None:
            raise ConfigError("data.sql.query asks for :as_of, which this command does not know; run the job with "
                              "forecast-kit batch run --as-of")  # fmt: skip
        value = self.as_of.value
        if self.database.dialect == "sqlite" and not isinstance(value, int):
            text = f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M:%S}"
            return statement.bindparams(sa.bindparam("as_of", text, sa.Text()))
        bound = value if isinstance(value, int) else value.to_pydatetime()
        return statement.bindparams(
            sa.bindparam("as_of", bound, sa.BigInteger() if isinstance(value, int) else sa.DateTime())
        )
