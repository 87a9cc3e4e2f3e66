"""A sink of files: `forecasts/as_of=2024-07-01/forecasts.parquet`, as pyarrow, DuckDB and Spark discover them."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, StoreError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.connecting import Secrets, file_system, is_url, shown
from forecast_kit.jobs.sinks.base import Sink, arrow_tables, as_pandas, assembled, check_table, wanted

_GROUP = 262_144  # rows of a row group: many enough to compress, few enough to hold
_TOKEN = re.compile(rb'("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|$)')
_WHOLE = ("unique_id", "ds", "cutoff")  # which hold whole numbers in CSV where they look like it


class FileSink(Sink):
    """A folder, or a URL of an object store, with a file for each table and as-of.

    A file is written under a hidden name beside its place and moved there, of an object store elsewhere and put there
    in one call. Hidden files that a killed process left are removed by whoever writes to the table next: they are
    known by their lock (POSIX), which the system lets go when a process ends.

    CSV tells text (in quotes) from numbers, but not whole numbers from others: all but ids, stamps and cutoffs come
    back as `float64`; and it has no missing text, which comes back empty.

    Args:
        path: a folder, or a URL of fsspec's.
        form: of the files.
        schema: see `Sink`.
        storage: options of the URL's file system.

    Raises:
        ConfigError: the URL's file system cannot be reached.

    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from forecast_kit import PanelSchema
    >>> from forecast_kit.jobs.asof import AsOf
    >>> rows = pd.DataFrame({"unique_id": ["berlin"], "ds": pd.to_datetime(["2024-07-01"]), "mean": [12.0]})
    >>> sink = FileSink("out", "csv", PanelSchema(freq="D"))
    >>> sink.write("forecasts", AsOf.read("2024-07-01"), [rows])
    1
    >>> [file.as_posix() for file in Path("out").rglob("*.csv")]
    ['out/forecasts/as_of=2024-07-01/forecasts.csv']
    """

    def __init__(
        self,
        path: str,
        form: Literal["parquet", "csv"],
        schema: PanelSchema,
        *,
        storage: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(schema)
        self._form = form
        self._place = f"{shown(path)} ({form})"
        local = path.removeprefix("file://")
        self._folder: _LocalFolder | _RemoteFolder = (
            _RemoteFolder(path, storage or {}) if is_url(local) else _LocalFolder(Path(local))
        )

    def describe(self) -> str:
        """Where it is."""
        return self._place

    def write(self, table: str, as_of: AsOf, frames: Iterable[pd.DataFrame]) -> int:
        """See `Sink.write`."""
        source = _Watched(arrow_tables(frames, as_of, check_table(table)))
        tables = iter(source)
        first = next((one for one in tables if one.num_rows), None)  # nothing is made before there is a row
        with self._telling(f"write {table} of as-of {as_of} to {self._place}", source):
            if first is None:
                self._folder.remove(table, as_of.label, self._name(table))
                return 0
            with self._folder.replacing(table, as_of.label, self._name(table)) as file:
                return self._store(file, first, tables)

    def _store(self, file: IO[bytes], first: pa.Table, others: Iterator[pa.Table]) -> int:
        """The number of rows that went into the file."""
        rows = 0
        with self._writer(file, first.schema) as writer:
            for group in _regrouped(first, others):
                writer.write_table(group if self._form == "parquet" else _for_csv(group))
                rows += group.num_rows
        return rows

    def _writer(self, file: IO[bytes], schema: pa.Schema) -> Any:
        if self._form == "parquet":
            # Numbers that hardly repeat: looking for repetitions takes three times as long and gives a larger file.
            numbers = [field.name for field in schema if pa.types.is_floating(field.type)]
            others = [name for name in schema.names if name not in numbers]
            return pq.ParquetWriter(
                file, schema, compression="zstd", use_dictionary=others, use_byte_stream_split=numbers
            )
        return pacsv.CSVWriter(file, schema)

    def _name(self, table: str) -> str:
        return f"{table}.{self._form}"

    def as_ofs(self, table: str) -> list[AsOf]:
        """See `Sink.as_ofs`."""
        check_table(table)
        with self._telling(f"list {table} in {self._place}"):
            labels = self._folder.labels(table, self._name(table))
        try:
            return sorted(AsOf.read(label, freq=self.schema.freq) for label in labels)
        except ArgumentError as error:
            raise StoreError(
                f"a folder as_of=... of {table} in {self._place} is no as-of of this job: {error}"
            ) from error

    def read(
        self, table: str, *, since: AsOf | None = None, until: AsOf | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """See `Sink.read`."""
        parts = []
        for as_of in self.as_ofs(table):
            if (since is not None and as_of < since) or (until is not None and not as_of < until):
                continue
            doing = self._telling(f"read {table} of as-of {as_of} from {self._place}")
            # An as-of may be taken away between being listed and being read.
            with doing, suppress(FileNotFoundError), self._folder.open(table, as_of.label, self._name(table)) as file:
                parts.append(as_pandas(self._load(file, wanted(columns)), as_of.value, self.schema))
        return assembled(parts, self.schema, columns, table)

    def _load(self, file: IO[bytes], columns: list[str] | None) -> pa.Table:
        if self._form == "csv":
            rows = _read_csv(file)
            return rows if columns is None else rows.select([name for name in rows.column_names if name in columns])
        with pq.ParquetFile(file) as content:
            names = content.schema_arrow.names
            return content.read(columns=[name for name in names if columns is None or name in columns])

    @contextmanager
    def _telling(self, doing: str, source: _Watched | None = None) -> Iterator[None]:
        """Says what could not be done; what the source of the rows raised is another's affair, and left as it is."""
        try:
            yield
        except self._folder.failures as error:
            if source is not None and error is source.error:
                raise
            told = self._folder.secrets.hide(f"cannot {doing}: {error}")
            raise StoreError(told) from (None if self._folder.secrets.values else error)


class _Watched:
    """An iterable that remembers what it raised."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables = tables
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        try:
            yield from self._tables
        except Exception as error:
            self.error = error
            raise


class _LocalFolder:
    """The files of a sink on this machine, or on a file system that is mounted on it."""

    failures: tuple[type[Exception], ...] = (OSError, pa.ArrowException)
    secrets = Secrets()

    def __init__(self, root: Path) -> None:
        self._root = root

    def labels(self, table: str, name: str) -> list[str]:
        folder = self._root / table
        if folder.exists():
            os.scandir(folder).close()  # raises what a pattern would hide: that it is a file, or must not be read
        return [path.parent.name.removeprefix("as_of=") for path in folder.glob(f"as_of=*/{name}")]

    def open(self, table: str, label: str, name: str) -> IO[bytes]:
        return (self._place(table, label) / name).open("rb")

    def remove(self, table: str, label: str, name: str) -> None:
        folder = self._place(table, label)
        self._clean(table)
        if folder.exists():
            (folder / name).unlink(missing_ok=True)
            _sync_folder(folder)
            _remove_empty(folder)

    @contextmanager
    def replacing(self, table: str, label: str, name: str) -> Iterator[IO[bytes]]:
        """A file to write to, which takes its place when the block ends well."""
        folder = self._place(table, label)
        self._clean(table)
        staging, file = _staging(folder, table)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                staging.replace(folder / name)
        except BaseException:
            staging.unlink(missing_ok=True)
            _remove_empty(folder)
            raise
        for one in (folder, folder.parent, self._root):
            _sync_folder(one)

    def _clean(self, table: str) -> None:
        """Removes what killed processes left in the table."""
        for path in (self._root / table).glob(f"as_of=*/.{table}-*.tmp"):
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by whoever writes it
                path.unlink()
                _remove_empty(path.parent)

    def _place(self, table: str, label: str) -> Path:
        return self._root / table / f"as_of={label}"


def _staging(folder: Path, table: str) -> tuple[Path, IO[bytes]]:
    """A hidden file in the folder, open and locked."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".{table}-{uuid.uuid4().hex}.tmp"
        try:
            file = path.open("xb")
        except FileNotFoundError:  # another writer failed just now, and took the empty folder away
            continue
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # it was taken for a leftover before it was locked


def _remove_empty(folder: Path) -> None:
    """Removes the folder of an as-of and that of its table, those of them that hold nothing."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _RemoteFolder:
    """The files of a sink at a URL. An object store shows a key whole or not at all."""

    # Packages of object stores raise errors of their own, which need not be OSErrors.
    failures: tuple[type[Exception], ...] = (Exception,)

    def __init__(self, url: str, storage: Mapping[str, Any]) -> None:
        self._system, root, self.secrets = file_system(url, storage)
        self._root = root.rstrip("/")

    def labels(self, table: str, name: str) -> list[str]:
        self._system.invalidate_cache()  # other processes write too
        found = self._system.glob(f"{self._root}/{table}/as_of=*/{name}")
        return [str(path).split("/")[-2].removeprefix("as_of=") for path in found]

    def open(self, table: str, label: str, name: str) -> IO[bytes]:
        file: IO[bytes] = self._system.open(self._key(table, label, name), "rb")
        return file

    def remove(self, table: str, label: str, name: str) -> None:
        with suppress(FileNotFoundError):
            self._system.rm_file(self._key(table, label, name))

    @contextmanager
    def replacing(self, table: str, label: str, name: str) -> Iterator[IO[bytes]]:
        """A file of this machine to write to, which is put in its place when the block ends well."""
        with tempfile.NamedTemporaryFile(prefix="forecast_kit-") as file:
            yield file
            file.flush()
            self._system.makedirs(self._key(table, label, ""), exist_ok=True)
            self._system.put_file(file.name, self._key(table, label, name))

    def _key(self, table: str, label: str, name: str) -> str:
        return f"{self._root}/{table}/as_of={label}/{name}".rstrip("/")


def _regrouped(first: pa.Table, others: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in groups of one size, so that a file's bytes do not tell in which portions the rows came."""
    held, rows = [first], first.num_rows
    for table in others:
        held.append(table)
        rows += table.num_rows
        if rows >= _GROUP:
            whole = pa.concat_tables(held)
            full = rows - rows % _GROUP
            for start in range(0, full, _GROUP):
                yield whole.slice(start, _GROUP).combine_chunks()
            held, rows = [whole.slice(full)], rows - full
    for start in range(0, rows, _GROUP):
        yield pa.concat_tables(held).slice(start, _GROUP).combine_chunks()


def _for_csv(table: pa.Table) -> pa.Table:
    """The table with empty text where text is missing: quotes tell text from numbers."""
    for k, field in enumerate(table.schema):
        if field.type == pa.string():
            table = table.set_column(k, field, pc.fill_null(table[field.name], ""))
    return table


def _read_csv(file: IO[bytes]) -> pa.Table:
    """The rows of a file that this sink wrote; what is in quotes is text."""
    content = file.read()
    header, _, body = content.partition(b"\n")
    names = next(csv.reader(io.StringIO(header.decode())))
    quoted = [match.group(1).startswith(b'"') for match in islice(_TOKEN.finditer(body), len(names))]
    text = {name: pa.string() for name, is_text in zip(names, quoted, strict=False) if is_text}
    table = pacsv.read_csv(
        pa.BufferReader(content), convert_options=pacsv.ConvertOptions(column_types=text, strings_can_be_null=False),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
    )  # fmt: skip
    for k, field in enumerate(table.schema):
        if pa.types.is_null(field.type) or (pa.types.is_integer(field.type) and field.name not in _WHOLE):
            table = table.set_column(k, field.name, table[field.name].cast(pa.float64()))
    return table
