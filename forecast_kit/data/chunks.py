"""More rows than memory holds: complete series in chunks, whatever order the rows come in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forecast_kit.typing import Ints

_BUCKET = 250_000  # rows of a bucket where their number is known
_MOST_BUCKETS = 256  # as many files are open at once
_SPREAD = 262_144  # rows that are spread over the buckets at a time
_CHECKED = 1_000_000  # runs that wait to be compared with the ones before

Batches = Callable[[], Iterator[pd.DataFrame]]
_Hashes: TypeAlias = NDArray[np.uint64]


class Spool:
    """Tables on disk, to be read again in the order in which they were written.

    The file has no name: when the process ends, however it ends, it is gone.

    >>> with Spool() as spool:
    ...     spool.write(pa.table({"y": [1]}))
    ...     spool.write(pa.table({"y": ["two"]}))
    ...     [table.to_pydict() for table in spool.tables()]
    [{'y': [1]}, {'y': ['two']}]
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="forecast_kit-")  # noqa: SIM115 - closed by __exit__
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, table: pa.Table) -> None:
        """Adds the rows of a table; its columns need not be those of the one before."""
        if self._writer is None or table.schema != self._schema:
            self._end()
            self._writer, self._schema = pa.ipc.new_stream(self._file, table.schema), table.schema
        self._writer.write_table(table)
        self.rows += table.num_rows

    def tables(self) -> Iterator[pa.Table]:
        """What was written, portion by portion; afterwards nothing more can be added."""
        self._end()
        end = self._file.seek(0, 2)
        self._file.seek(0)
        while self._file.tell() < end:
            with pa.ipc.open_stream(self._file) as reader:
                yield from (pa.Table.from_batches([batch]) for batch in reader)

    def frames(self) -> Iterator[pd.DataFrame]:
        """The same as frames."""
        return (table.to_pandas() for table in self.tables())

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def to_arrow(frame: pd.DataFrame, schema: pa.Schema | None = None) -> pa.Table:
    """The frame as an Arrow table; NaN is null.

    Stamps with a zone take a detour: pyarrow 25 reads them by what pandas 3.1 calls deprecated.

    Args:
        frame: its index does not count.
        schema: types of the columns; by default those that fit.

    >>> to_arrow(pd.DataFrame({"ds": pd.to_datetime(["2024-07-01"]).tz_localize("Europe/Berlin")})).schema.types
    [TimestampType(timestamp[us, tz=Europe/Berlin])]
    """
    zones = {name: str(dtype.tz) for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.DatetimeTZDtype)}
    plain = frame.assign(**{str(name): frame[name].dt.tz_convert("UTC").dt.tz_localize(None) for name in zones})
    if schema is not None:
        bare = [field.with_type(pa.timestamp("us")) if field.name in zones else field for field in schema]
        table = pa.Table.from_pandas(plain, schema=pa.schema(bare), preserve_index=False)
    else:
        table = pa.Table.from_pandas(plain, preserve_index=False)
    for name, zone in zones.items():
        kind = pa.timestamp("us", zone) if schema is None else schema.field(name).type
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return table


def follow_one_another(ids: Iterable[pd.Series]) -> bool:
    """Whether the rows of each series follow one another.

    Memory is a number a series: runs of rows are compared by hashes of 64 bits. Where two series share one the answer
    is no, which is never wrong to act upon.

    Args:
        ids: the series of each row, without empty ones; in as many portions as they like.

    >>> follow_one_another([pd.Series(["a", "a", "b"]), pd.Series(["b", "c"])])
    True
    >>> follow_one_another([pd.Series(["a", "b"]), pd.Series(["a"])])
    False
    """
    seen, fresh, waiting = np.empty(0, np.uint64), list[_Hashes](), 0
    last = None
    for portion in ids:
        if portion.empty:
            continue
        starts = run_starts(portion)
        if portion.iloc[0] == last:
            starts = starts[1:]
        last = portion.iloc[-1]
        fresh.append(hashes(portion.iloc[starts]))
        waiting += len(starts)
        # Compared when as many wait as are known, so that the work stays in proportion to the number of series.
        if waiting > max(_CHECKED, len(seen)):
            if (merged := _all_different(seen, fresh)) is None:
                return False
            seen, fresh, waiting = merged, [], 0
    return _all_different(seen, fresh) is not None


def _all_different(seen: _Hashes, fresh: list[_Hashes]) -> _Hashes | None:
    """All of them, sorted; None where one occurs twice."""
    merged = np.sort(np.concatenate([seen, *fresh]))
    return None if (merged[1:] == merged[:-1]).any() else merged


def run_starts(ids: pd.Series) -> Ints:
    """The rows at which another series begins than the row before has, the first one among them.

    >>> run_starts(pd.Series(["a", "a", "b", "a"]))
    array([0, 2, 3])
    """
    values = pa.array(ids)
    changes = pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([np.zeros(1, np.int64), np.flatnonzero(changes) + 1])


def hashes(ids: pd.Series) -> _Hashes:
    """`[R]` numbers of 64 bits that are the same for the same id in every process."""
    return np.asarray(pd.util.hash_pandas_object(ids, index=False), np.uint64)


def bring_together(frames: Iterable[pd.DataFrame], id_col: str, *, rows: int | None = None) -> Iterator[pd.DataFrame]:
    """The same rows in another order: each series' rows follow one another, in the order in which they came.

    The rows are spread over files on disk by a hash of their series, and the files read one by one, so memory is that
    of one of them.

    Args:
        frames: in as many portions as they like.
        id_col: which column tells the series.
        rows: how many come in all, where that is known: so that a file holds about a quarter of a million.

    >>> frames = [pd.DataFrame({"id": ["a", "b"], "y": [k, 10 + k]}) for k in range(3)]
    >>> [frame.to_dict("list") for frame in bring_together(frames, "id", rows=6)]
    [{'id': ['a', 'a', 'a', 'b', 'b', 'b'], 'y': [0, 1, 2, 10, 11, 12]}]
    """
    count = _MOST_BUCKETS if rows is None else min(_MOST_BUCKETS, -(-rows // _BUCKET) or 1)
    with ExitStack() as stack:
        buckets = [stack.enter_context(Spool()) for _ in range(count)]
        for frame in _portions(frames, _SPREAD):
            _spread(frame, id_col, buckets)
        for bucket in buckets:
            if bucket.rows:
                whole = pd.concat(bucket.frames(), ignore_index=True)
                bucket.__exit__(None, None, None)  # its place on the disk is free again
                yield whole.sort_values(id_col, kind="stable", ignore_index=True)


def _spread(frame: pd.DataFrame, id_col: str, buckets: list[Spool]) -> None:
    if len(buckets) == 1:
        buckets[0].write(to_arrow(frame))
        return
    at = (hashes(frame[id_col]) % len(buckets)).astype(np.int64)
    table = to_arrow(frame.iloc[np.argsort(at, kind="stable")])
    ends = np.cumsum(np.bincount(at, minlength=len(buckets)))
    for bucket, end, length in zip(buckets, ends.tolist(), np.diff(ends, prepend=0).tolist(), strict=True):
        if length:
            bucket.write(table.slice(end - length, length))


def _portions(frames: Iterable[pd.DataFrame], rows: int) -> Iterator[pd.DataFrame]:
    """The frames, small ones put together until they have so many rows."""
    held, count = list[pd.DataFrame](), 0
    for frame in frames:
        held.append(frame)
        count += len(frame)
        if count >= rows:
            yield pd.concat(held, ignore_index=True)
            held, count = [], 0
    if count:
        yield pd.concat(held, ignore_index=True)


def cut_series(batches: Iterable[pd.DataFrame], id_col: str, *, series: int) -> Iterator[pd.DataFrame]:
    """Chunks of complete series, so many in each but the last; the ids as categories, in the order of the rows.

    No more is held at a time than a chunk and a batch. Categories, as whoever works with a chunk needs to know which
    rows are whose, and here that is known without comparing each row's text once more.

    Args:
        batches: in which the rows of a series follow one another, over as many batches as they like.
        id_col: which column tells the series.
        series: of a chunk.

    >>> parts = [pd.DataFrame({"id": list(ids)}) for ids in ("aa", "abc", "", "ccde")]
    >>> [chunk["id"].str.cat() for chunk in cut_series(parts, "id", series=2)]
    ['aaab', 'cccd', 'e']
    """
    held, names = list[pd.DataFrame](), list[pd.Series]()  # since the last cut
    first = count = 0  # the number of the first series since then, and of series that have begun at all
    last = None

    def chunk(rows: list[pd.DataFrame]) -> pd.DataFrame:
        whole = pd.concat(rows, ignore_index=True)
        every = names[0] if len(names) == 1 else pd.concat(names)
        names[:] = [every.iloc[series:]]
        kind = pd.CategoricalDtype(pd.Index(every.iloc[:series], name=None))
        return whole.assign(**{id_col: pd.Categorical.from_codes(whole[id_col] - first, dtype=kind)})

    for batch in batches:
        if batch.empty:
            continue
        ids = batch[id_col]
        starts = run_starts(ids)
        goes_on = last is not None and ids.iloc[0] == last
        begun, before, last = starts[int(goes_on) :], count, ids.iloc[-1]
        names.append(ids.iloc[begun])
        number = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(ids))) + (count - goes_on)
        count += len(begun)
        numbered, at = batch.assign(**{id_col: number}), 0
        while first + series < count:  # one series too many has begun
            cut = int(begun[first + series - before])
            yield chunk([*held, numbered.iloc[at:cut]])
            held, at, first = [], cut, first + series
        held.append(numbered.iloc[at:])
    if held:
        yield chunk(held)
