"""Where a batch job writes: tables of files or of a database, replaced as-of by as-of, whole or not at all."""

from __future__ import annotations

from forecast_kit.data.schema import PanelSchema
from forecast_kit.jobs.sections import SinkSection
from forecast_kit.jobs.sinks.base import KEYS, Sink
from forecast_kit.jobs.sinks.files import FileSink
from forecast_kit.jobs.sinks.sql import SqlSink

__all__ = ["KEYS", "FileSink", "Sink", "SqlSink", "open_sink"]


def open_sink(section: SinkSection, schema: PanelSchema) -> Sink:
    """The sink that a job names. Nothing is made or asked before the first use.

    Args:
        section: of the job file.
        schema: of the job's data: whether time is numbered, and the zone that stamps are shown in.

    Raises:
        ConfigError: an environment variable is not set, or a driver or package is not installed.

    >>> from forecast_kit import PanelSchema
    >>> from forecast_kit.jobs.sections import SinkSection
    >>> open_sink(SinkSection(path="out"), PanelSchema(freq="D")).describe()
    'out (parquet)'
    """
    if section.sql is not None:
        return SqlSink(section.sql.url, section.sql.table, schema)
    assert section.path is not None  # the section has checked that one of the two is there
    return FileSink(section.path, section.format, schema, storage=section.storage)
