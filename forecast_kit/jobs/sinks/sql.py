"""A sink of database tables: the rows of an as-of change places in one transaction."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import sqlalchemy as sa

from forecast_kit.data.chunks import Spool
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import StoreError, name_some
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.connecting import Database, database
from forecast_kit.jobs.sinks.base import AS_OF, Sink, arrow_tables, assembled, check_table, wanted

_BATCH = 10_000  # rows that are sent, and held as Python's objects, at a time
# Keys of these databases take no text without a limit.
_KEY_TEXT = sa.Text().with_variant(sa.String(255), "mysql", "mariadb", "mssql", "oracle")


class SqlSink(Sink):
    """Tables of a database, made when they are first written to.

    `write` deletes the rows of the as-of and inserts the new ones, in one transaction. An upsert would have to delete
    too, what the new rows do not replace, and is written differently for every database; and no other row shares a key
    with those of an as-of. Writers of the same as-of wait for one another: in PostgreSQL by an advisory lock, in SQLite
    by the lock of the file. Elsewhere the primary key makes all but one of them fail.

    The rows are gathered on disk first, so that the transaction is short, however long they take to come. Stamps with
    a zone are stored in UTC, with the zone where the database has such a type, and come back in the schema's zone.

    Args:
        url: SQLAlchemy's, with `${NAME}` for environment variables.
        table: of the forecasts, perhaps with a schema before it; the others are named after it.
        schema: see `Sink`.

    Raises:
        ConfigError: a variable is not set, or the driver is not installed.

    >>> import pandas as pd
    >>> from forecast_kit import PanelSchema
    >>> from forecast_kit.jobs.asof import AsOf
    >>> rows = pd.DataFrame({"unique_id": ["berlin"], "ds": pd.to_datetime(["2024-07-01"]), "mean": [12.0]})
    >>> sink = SqlSink("sqlite:///forecasts.db", "forecasts", PanelSchema(freq="D"))
    >>> sink.write("forecasts", AsOf.read("2024-07-01"), [rows])
    1
    >>> [as_of.label for as_of in sink.as_ofs("forecasts")]
    ['2024-07-01']
    """

    def __init__(self, url: str, table: str, schema: PanelSchema) -> None:
        super().__init__(schema)
        self._base = database(url)
        self._where, _, self._name = table.rpartition(".")
        self._place = f"{self._base.place} ({table})"

    def describe(self) -> str:
        """Where it is."""
        return self._place

    def write(self, table: str, as_of: AsOf, frames: Iterable[pd.DataFrame]) -> int:
        """See `Sink.write`."""
        key = check_table(table)
        doing = f"write {table} of as-of {as_of}"
        with Spool() as spool:
            schema = None
            for part in arrow_tables(frames, as_of, key):
                if schema is None:  # what cannot be written is told before the others are computed
                    with self._base.guarding(StoreError, doing), self._base.engine.connect() as connection:
                        self._check(self._found(connection, table), part.schema)
                schema = part.schema
                if part.num_rows:
                    spool.write(part)
            with self._base.guarding(StoreError, doing), self._base.writing() as connection:
                self._replace(connection, table, as_of, spool, schema if spool.rows else None)
        return spool.rows

    def _replace(
        self, connection: sa.Connection, table: str, as_of: AsOf, spool: Spool, schema: pa.Schema | None
    ) -> None:
        """Puts the rows in the place of the former ones; `schema` is theirs, None where there are none."""
        self._lock(connection, f"{table} {as_of}")
        found = self._found(connection, table)
        if found is None:
            if schema is None:
                return
            self._lock(connection, table)  # two that make a table at once get in each other's way
            found = self._found(connection, table)
        if found is None:
            assert schema is not None
            found = self._made(connection, table, schema)
        elif schema is not None:
            self._check(found, schema)  # another may have made it meanwhile
        connection.execute(sa.delete(found).where(found.c[AS_OF] == _bound(as_of)))
        for part in spool.tables():
            _insert(connection, found, part, as_of, self._base)

    def _lock(self, connection: sa.Connection, what: str) -> None:
        """Waits until no other transaction holds the same; SQLite's has the whole file to itself anyhow."""
        if self._base.dialect == "postgresql":
            digest = hashlib.sha256(f"forecast_kit {self._where}.{self._name} {what}".encode()).digest()
            number = int.from_bytes(digest[:8], "big", signed=True)
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})

    def _sql_name(self, table: str) -> str:
        return self._name if table == "forecasts" else f"{self._name}_{table}"

    def _found(self, connection: sa.Connection, table: str) -> sa.Table | None:
        """The table as the database has it; None where it has none."""
        name, where = self._sql_name(table), self._where or None
        if not sa.inspect(connection).has_table(name, schema=where):
            return None
        return sa.Table(name, sa.MetaData(), schema=where, autoload_with=connection, resolve_fks=False)

    def _made(self, connection: sa.Connection, table: str, schema: pa.Schema) -> sa.Table:
        key = check_table(table)
        types = {AS_OF: sa.BigInteger() if isinstance(self.schema.freq, int) else sa.DateTime()}
        types |= {field.name: _sql_type(field.type, field.name in key) for field in schema}
        columns = [sa.Column(name, types[name], nullable=name not in key, autoincrement=False)
                   for name in dict.fromkeys((*key, *types))]  # fmt: skip
        made = sa.Table(self._sql_name(table), sa.MetaData(), *columns, sa.PrimaryKeyConstraint(*key),
                        schema=self._where or None)  # fmt: skip
        made.create(connection)
        return made

    def _check(self, found: sa.Table | None, schema: pa.Schema) -> None:
        """Refuses a table that lacks columns of the rows, or has them of other kinds."""
        if found is None:
            return
        dialect = self._base.engine.dialect
        lacking = [field for field in [pa.field(AS_OF, self._as_of_type()), *schema] if field.name not in found.c]
        if lacking:
            quote = dialect.identifier_preparer
            commands = "; ".join(
                f"ALTER TABLE {quote.format_table(found)} ADD COLUMN {quote.quote(field.name)} "
                f"{_sql_type(field.type, False).compile(dialect)}" for field in lacking
            )  # fmt: skip
            raise StoreError(f"the table {found.fullname} in {self._base.place} lacks the columns "
                             f"{name_some(field.name for field in lacking)} of the rows to write; run {commands}, or "
                             f"name another table in the job's sink")  # fmt: skip
        for field in [pa.field(AS_OF, self._as_of_type()), *schema]:
            has, kind = _kind(found.c[field.name].type), _arrow_kind(field.type)
            if has != kind and (kind, has) != ("whole numbers", "numbers"):
                raise StoreError(f"column {field.name!r} of the table {found.fullname} in {self._base.place} is "
                                 f"{found.c[field.name].type}, which holds {has}, but the rows to write hold {kind}; "
                                 f"name another table in the job's sink")  # fmt: skip

    def _as_of_type(self) -> pa.DataType:
        return pa.int64() if isinstance(self.schema.freq, int) else pa.timestamp("us")

    def as_ofs(self, table: str) -> list[AsOf]:
        """See `Sink.as_ofs`."""
        check_table(table)
        found: list[AsOf] = []
        doing = self._base.guarding(StoreError, f"list {table}")
        with doing, self._base.engine.connect() as connection, connection.begin():
            there = self._found(connection, table)
            if there is None:
                return []
            column = there.c[AS_OF]
            # One step in the primary key for each, where DISTINCT would read all rows.
            value = connection.scalar(sa.select(sa.func.min(column)))
            while value is not None:
                found.append(AsOf(value if isinstance(value, int) else pd.Timestamp(value).as_unit("us")))
                value = connection.scalar(sa.select(sa.func.min(column)).where(column > value))
        return found

    def read(
        self, table: str, *, since: AsOf | None = None, until: AsOf | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """See `Sink.read`."""
        check_table(table)
        doing = self._base.guarding(StoreError, f"read {table}")
        with doing, self._base.engine.connect() as connection, connection.begin():
            there = self._found(connection, table)
            if there is None:
                return assembled([], self.schema, columns, table)
            names = wanted(columns)
            taken = [column for column in there.c if names is None or column.name in names]
            query = sa.select(*taken)
            if since is not None:
                query = query.where(there.c[AS_OF] >= _bound(since))
            if until is not None:
                query = query.where(there.c[AS_OF] < _bound(until))
            rows = connection.execution_options(stream_results=True, max_row_buffer=_BATCH).execute(query)
            parts = [self._frame(portion, taken) for portion in rows.partitions(_BATCH)]
        return assembled(parts, self.schema, columns, table)

    def _frame(self, rows: Sequence[Any], columns: Sequence[sa.Column[Any]]) -> pd.DataFrame:
        """Rows with columns of the kinds that went in."""
        values = zip(*rows, strict=True)
        return pd.DataFrame({column.name: self._column(list(one), column)
                             for column, one in zip(columns, values, strict=True)})  # fmt: skip

    def _column(self, values: list[Any], column: sa.Column[Any]) -> pd.Series:
        kind = _kind(column.type)
        if kind == "stamps":
            zone = self.schema.zone
            shown = column.name != AS_OF and (zone is not None or any(v is not None and v.tzinfo for v in values[:1]))
            stamps = pd.Series(pd.to_datetime(values, utc=shown)).dt.as_unit("us")
            return stamps.dt.tz_convert(zone or "UTC") if shown else stamps
        if kind == "text":
            return pd.Series(values, dtype="str")
        if kind == "numbers" or None in values:
            return pd.Series(values, dtype=np.float64 if kind != "booleans" else "boolean")
        return pd.Series(values, dtype=np.int64 if kind == "whole numbers" else bool)


def _bound(as_of: AsOf) -> Any:
    return as_of.value if isinstance(as_of.value, int) else as_of.value.to_pydatetime()


def _insert(connection: sa.Connection, table: sa.Table, rows: pa.Table, as_of: AsOf, base: Database) -> None:
    """Adds the rows of an as-of: to PostgreSQL as CSV, which is some times faster than row by row."""
    rows = rows.add_column(0, AS_OF, pa.array([_bound(as_of)] * len(rows)))
    if base.engine.driver == "psycopg":
        quote = base.engine.dialect.identifier_preparer
        names = ", ".join(quote.quote(name) for name in rows.column_names)
        raw: Any = connection.connection.driver_connection
        with raw.cursor() as cursor:
            # Arrow puts all text in quotes and nulls not, which is how COPY tells them apart.
            command = f"COPY {quote.format_table(table)} ({names}) FROM STDIN (FORMAT csv)"
            with cursor.copy(command) as copy:
                for batch in rows.to_batches(max_chunksize=_BATCH):
                    content = io.BytesIO()
                    pacsv.write_csv(batch, content, pacsv.WriteOptions(include_header=False))
                    copy.write(content.getvalue())
        return
    for batch in rows.to_batches(max_chunksize=_BATCH):
        connection.execute(sa.insert(table), _in_utc(batch).to_pylist())


def _in_utc(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Stamps with a zone as UTC without one: databases that have no such type would keep the hours on the wall."""
    for k, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz is not None:
            rows = rows.set_column(
                k, field.name, rows.column(k).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
            )
    return rows


def _sql_type(kind: pa.DataType, in_key: bool) -> sa.types.TypeEngine[Any]:
    if pa.types.is_string(kind):
        return _KEY_TEXT if in_key else sa.Text()
    if pa.types.is_timestamp(kind):
        return sa.DateTime(timezone=kind.tz is not None)
    others: dict[pa.DataType, sa.types.TypeEngine[Any]] = {
        pa.float64(): sa.Double(), pa.int64(): sa.BigInteger(), pa.bool_(): sa.Boolean()
    }  # fmt: skip
    return others[kind]


def _arrow_kind(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "stamps"
    return {pa.string(): "text", pa.float64(): "numbers", pa.int64(): "whole numbers", pa.bool_(): "booleans"}[kind]


def _kind(kind: sa.types.TypeEngine[Any]) -> str:
    """What a column of the database holds, in the words of `_arrow_kind`."""
    known: list[tuple[Any, str]] = [
        (sa.Boolean, "booleans"), (sa.Integer, "whole numbers"), ((sa.Numeric, sa.Float), "numbers"),
        ((sa.DateTime, sa.TIMESTAMP), "stamps"), (sa.String, "text"),
    ]  # fmt: skip
    return next((word for types, word in known if isinstance(kind, types)), str(kind))
