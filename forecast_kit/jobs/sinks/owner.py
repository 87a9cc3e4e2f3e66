"""Whose sink it is: jobs that write to one place would overwrite each other's as-ofs without a word."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from forecast_kit.errors import ConfigError, StoreError
from forecast_kit.jobs.connecting import Database, database, file_system, is_url, shown
from forecast_kit.jobs.sections import SinkSection, SqlSink

MARK = "_job.json"  # in the sink's folder; what begins with an underscore is left out by all who read such folders


def claim(section: SinkSection, job: str) -> str | None:
    """None if the sink is this job's from now on, else why that could not be written down.

    The first job that runs has it: a folder gets a file `_job.json`, beside a table comes one that is named after it,
    `forecasts_job`. Of two that claim it at once one gets it; at a URL, where no store promises that, the last.

    Args:
        section: of the job file.
        job: its name.

    Raises:
        ConfigError: it is another job's, or the place cannot be reached.
        StoreError: what is there cannot be read.
    """
    if section.sql is not None:
        return _claim_table(section.sql, job)
    assert section.path is not None  # the section has checked that one of the two is there
    local = section.path.removeprefix("file://")
    return _claim_url(local, section.storage, job) if is_url(local) else _claim_folder(Path(local), job)


def _check(owner: str, job: str, place: str, cure: str) -> None:
    if owner != job:
        raise ConfigError(f"the sink {place} is that of the job {owner!r}, and {job!r} would overwrite its forecasts; "
                          f"name another sink. If the job was renamed: {cure}, and run it again")  # fmt: skip


def _owner_in(text: str | bytes, place: str) -> str:
    try:
        return str(json.loads(text)["job"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place} does not tell whose sink it is ({error!r}); remove it, and the next job that runs "
                         f"has the sink") from error  # fmt: skip


def _claim_folder(folder: Path, job: str) -> str | None:
    mark = folder / MARK
    staging = folder / f".{MARK}.{uuid.uuid4().hex[:8]}"
    try:
        if not mark.exists():
            folder.mkdir(parents=True, exist_ok=True)
            staging.write_text(json.dumps({"job": job}), encoding="utf-8")
            with suppress(FileExistsError, FileNotFoundError):  # another job was quicker, and has tidied up
                os.link(staging, mark)
    except OSError as error:
        return f"it cannot be written down that the sink {folder} is this job's: {error}"
    finally:
        with suppress(OSError):  # which the same trouble may keep from being removed, or from being there
            staging.unlink()
    try:
        owner = _owner_in(mark.read_bytes(), str(mark))
    except OSError as error:
        raise StoreError(f"cannot read whose sink {folder} is: {error}") from error
    _check(owner, job, str(folder), f"remove {mark}")
    for left in folder.glob(f".{MARK}.*"):  # of a job that was killed while it claimed the sink
        with suppress(OSError):
            left.unlink()
    return None


def _claim_url(url: str, storage: Mapping[str, Any], job: str) -> str | None:
    system, root, secrets = file_system(url, storage)
    mark, place = f"{root.rstrip('/')}/{MARK}", shown(url)
    # Packages of object stores raise errors of their own, which need not be OSErrors.
    with secrets.guarding(StoreError, f"read whose sink {place} is", Exception):
        system.invalidate_cache()  # other processes write too
        there = system.cat_file(mark) if system.exists(mark) else None
    if there is not None:
        _check(_owner_in(there, f"{place}/{MARK}"), job, place, f"remove {MARK} there")
        return None
    try:
        with secrets.guarding(StoreError, f"write down that the sink {place} is this job's", Exception):
            system.makedirs(root, exist_ok=True)
            system.pipe_file(mark, json.dumps({"job": job}).encode())
    except StoreError as error:
        return str(error)
    return None


def _claim_table(section: SqlSink, job: str) -> str | None:
    base = database(section.url)
    where, _, name = section.table.rpartition(".")
    table = sa.Table(
        f"{name}_job", sa.MetaData(), sa.Column("only", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("job", sa.Text, nullable=False), schema=where or None,
    )  # fmt: skip
    owner = _owner_of(base, table)
    if owner is None:
        try:
            with base.guarding(StoreError, "write down whose sink it is"):
                _own(base, table, job)
        except StoreError as error:  # no right to make tables; or another job was quicker, which is seen below
            trouble = str(error)
        else:
            trouble = ""
        owner = _owner_of(base, table)
        if owner is None:
            return trouble
    quote = base.engine.dialect.identifier_preparer
    _check(owner, job, f"{base.place} ({section.table})", f"run DELETE FROM {quote.format_table(table)}")
    return None


def _owner_of(base: Database, table: sa.Table) -> str | None:
    doing = base.guarding(StoreError, "read whose sink it is")
    with doing, base.engine.connect() as connection, connection.begin():
        if not sa.inspect(connection).has_table(table.name, schema=table.schema):
            return None
        found = connection.scalar(sa.select(table.c.job))
        return None if found is None else str(found)


def _own(base: Database, table: sa.Table, job: str) -> None:
    """Writes down the owner; the key lets no second one in."""
    with base.writing() as connection:
        table.create(connection, checkfirst=True)
        connection.execute(sa.insert(table).values(only=1, job=job))
