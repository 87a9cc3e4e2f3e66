"""What a job would do, told without doing it: what it reads, judges, trains and writes, and when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from forecast_kit.data.frequency import show_stamps, time_axis
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError
from forecast_kit.jobs.asof import AsOf, now
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.connecting import shown
from forecast_kit.jobs.degrading import Rules
from forecast_kit.jobs.fitting_data import checked
from forecast_kit.jobs.reading import DataFile, DataFiles, Query, check_names
from forecast_kit.jobs.scheduling import check_time
from forecast_kit.jobs.sinks import open_sink
from forecast_kit.jobs.sources import OpenSource, open_source
from forecast_kit.jobs.tidying import tidied

_SHOWN = 5  # files that are named


def plan_of(config: JobConfig, *, data: bool = True, as_of: AsOf | None = None) -> dict[str, Any]:
    """What the job would do, as JSON holds it.

    `data` tells files, rows, series and the first and last stamp; `backtest` the cutoffs of a series that ends with the
    last one, and who is judged; `forecast`, `writes` and `next` the rest. Stamps are in UTC where the data have a zone.
    Of Parquet files rows and stamps come from their metadata, and the column of ids is read; a database is asked to
    count; CSV files are read through, one portion at a time. Where there are fewer than half the rows that the
    frequency would have, ids and stamps of all are read. `warnings` tells what is odd, and may be meant.

    Args:
        config: from `read_job`.
        data: whether to look at the data at all.
        as_of: the run that is asked about; by default the one that would run now.

    Raises:
        DataError, ConfigError: the data cannot be read, lack a column, are too short for the folds, or have another
            frequency; the clock skips the time of the schedule.
    """
    schema = config.data.panel_schema
    if as_of is None and not isinstance(schema.freq, int):
        as_of = now(config.schedule, schema)
    check_time(config.schedule, date.today())
    source = open_source(config.data, as_of=as_of) if data else None
    told = None if source is None else _data(source)
    rules = Rules.of(config.forecast, horizon=config.backtest.horizon, levels=config.backtest.levels)
    return {
        "job": config.name,
        "data": told,
        "warnings": [] if source is None or told is None else checked(config, source, told),
        "backtest": {
            "folds": config.backtest.folds, "horizon": config.backtest.horizon, "refit": config.backtest.refit,
            "cutoffs": _cutoffs(config, schema, told["last"]) if told else None,
            "metric": config.gate.metric, "baselines": _classes(config.baselines),
            "candidates": _classes(config.candidates),
            "searches": {name: section.trials for name, section in config.searches().items()},
        },
        "registers": config.register_.name,
        "forecast": {"horizon": rules.horizon, "levels": list(rules.levels), "execution": config.execution.mode},
        "writes": {
            "sink": None if config.sink is None else open_sink(config.sink, schema).describe(),
            "output": str(config.output), "store": _store(config),
        },
        "next": {
            "as_of": None if as_of is None else as_of.label, "every": config.schedule.every, "at": config.schedule.at,
            "timezone": config.schedule.timezone,
        },
    }  # fmt: skip


def _store(config: JobConfig) -> str | None:
    """Where models are registered, without a password; None for the default folder."""
    if config.store is not None:
        return str(config.store)
    return shown(os.environ.get("MLFLOW_TRACKING_URI", "")) or None


def _classes(specs: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: str(spec["forecaster"]) for name, spec in specs.items()}


def _cutoffs(config: JobConfig, schema: PanelSchema, last: str | int) -> list[str]:
    """The last stamp before each fold, of a series that ends with the last row."""
    split = config.backtest.splitter
    stamps = np.array([last]) if isinstance(last, int) else np.array([np.datetime64(last, "us")])
    axis = time_axis(schema.freq, stamps)
    end = int(axis.steps(stamps)[0])
    ahead = np.arange(split.folds) * (split.step or split.horizon) - split.needed
    return show_stamps(axis.stamps(end + ahead))


def _data(source: OpenSource) -> dict[str, Any]:
    """Where the rows are, how many of how many series, and from when to when."""
    told: dict[str, Any] = {"name": source.name, "origin": source.origin, "freq": source.schema.freq}
    if isinstance(source.rows, DataFiles):
        files = source.rows.files
        told |= {"files": len(files), "first_files": [file.name for file in files[:_SHOWN]]}
    rows, ids, stamps = _counted(source)
    if not rows:
        raise DataError(f"the frame has no rows ({source.origin})")
    if source.static is not None:
        told["static"] = source.section.static
    if isinstance(stamps.dtype, pd.DatetimeTZDtype):
        stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    kind: type[int] | type[str] = int if isinstance(source.schema.freq, int) else str
    return told | {
        "rows": rows, "series": ids, "taken": source.section.series or ids,
        "first": kind(stamps.min()), "last": kind(stamps.max()),
    }  # fmt: skip


def _counted(source: OpenSource) -> tuple[int, int, pd.Series]:
    """Rows, series, and stamps among which the first and the last one are."""
    if isinstance(source.rows, Query):
        return _asked(source.rows, source.schema)
    if isinstance(source.rows, DataFiles) and source.rows.parquet:
        return _from_metadata(source.rows, source)
    rows, ids, ends = 0, set[Any](), []
    for frame in source._portions():
        rows += len(frame)
        ids.update(frame[source.schema.id_col].unique().tolist())
        if len(frame):
            ends.append(frame[source.schema.time_col].agg(["min", "max"]))
    return rows, len(ids), pd.concat(ends, ignore_index=True) if ends else pd.Series(dtype="int64")


def _asked(query: Query, schema: PanelSchema) -> tuple[int, int, pd.Series]:
    """What the database counts of a query's rows."""
    quote = query.database.engine.dialect.identifier_preparer.quote
    names = ["n_rows", "n_series", "first_stamp", "last_stamp"]
    values = ["count(*)", f"count(DISTINCT {quote(schema.id_col)})", f"min({quote(schema.time_col)})",
              f"max({quote(schema.time_col)})"]  # fmt: skip
    wanted = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
    counting = replace(query, text=f"SELECT {wanted} FROM (\n{query.text.strip().rstrip(';')}\n) AS asked")
    ((where, found),) = counting.portions(names, schema)
    row = found.iloc[0]
    if not row["n_rows"]:
        return 0, 0, pd.Series(dtype="int64")
    ends = pd.DataFrame({schema.time_col: [row["first_stamp"], row["last_stamp"]]})
    (told,) = tidied([(where, ends)], schema)
    return int(row["n_rows"]), int(row["n_series"]), told[schema.time_col]


def _from_metadata(files: DataFiles, source: OpenSource) -> tuple[int, int, pd.Series]:
    """What Parquet files tell without their rows, and the ids."""
    schema, ends, rows = source.schema, [], 0
    for file in files.files:
        with _opened(files, file) as content:
            names = list(dict.fromkeys([*content.schema_arrow.names, *file.partition]))
            check_names(source.columns, names, file.name, files.files[0].name)
            rows += content.metadata.num_rows
            stamps = _ends(content, schema.time_col)
            if stamps is None:  # no statistics, or the stamps are the name of a folder
                values = file.partition.get(schema.time_col)
                stamps = (content.read([schema.time_col])[schema.time_col].to_pandas() if values is None
                          else pd.Series([values]))  # fmt: skip
        ends += [frame[schema.time_col].agg(["min", "max"]) for frame in
                 tidied([(file.name, pd.DataFrame({schema.time_col: stamps}))], schema) if len(frame)]  # fmt: skip
    ids = set[Any]()
    for frame in tidied(files.ids(schema), schema):
        ids.update(frame[schema.id_col].unique().tolist())
    return rows, len(ids), pd.concat(ends, ignore_index=True) if ends else pd.Series(dtype="int64")


def _ends(content: pq.ParquetFile, column: str) -> pd.Series | None:
    """The smallest and largest values of each row group; None where the file does not tell."""
    about, ends = content.metadata, []
    at = next((k for k in range(about.num_columns) if about.schema.column(k).path == column), None)
    if at is None:
        return None
    for k in range(about.num_row_groups):
        group = about.row_group(k)
        told = group.column(at).statistics
        if group.num_rows and (told is None or not told.has_min_max or told.null_count):
            return None
        if group.num_rows:
            ends += [told.min, told.max]
    return pd.Series(ends)


@contextmanager
def _opened(files: DataFiles, file: DataFile) -> Iterator[pq.ParquetFile]:
    with files.secrets.guarding(DataError, f"read {file.name}", OSError, pa.ArrowException):
        if files.system is None:
            with pq.ParquetFile(file.path) as content:
                yield content
        else:
            with files.system.open(file.path, "rb") as stream, pq.ParquetFile(stream) as content:
                yield content


def lines_of(plan: dict[str, Any]) -> list[str]:
    """The same for people, a line for each thing."""
    data, folds, writes, after = plan["data"], plan["backtest"], plan["writes"], plan["next"]
    lines = []
    if data is not None:
        files = f", {data['files']} files" if data.get("files", 1) > 1 else ""
        taken = "" if data["taken"] == data["series"] else f", {data['taken']} of them taken"
        lines.append(f"reads      {data['origin']}{files}: {data['series']} series{taken}, {data['rows']} rows, "
                     f"{data['first']} .. {data['last']}, freq {data['freq']}")  # fmt: skip
    cutoffs = f", cutoffs {folds['cutoffs'][0]} .. {folds['cutoffs'][-1]}" if folds["cutoffs"] else ""
    lines.append(f"judges     by {folds['metric']} over {folds['folds']} folds of {folds['horizon']} steps{cutoffs}")
    for role in ("baselines", "candidates"):
        told = ", ".join(f"{name} ({kind})" for name, kind in folds[role].items())
        lines.append(f"{role:<10} {told or 'none'}")
    for name, trials in folds["searches"].items():
        lines.append(f"searches   arguments of {name} first, in {trials} trials")
    lines.append(f"registers  {plan['registers']}, in {writes['store'] or 'the default store'}")
    levels = ", ".join(map(str, plan["forecast"]["levels"])) or "none"
    lines.append(f"forecasts  {plan['forecast']['horizon']} steps, levels {levels}, {plan['forecast']['execution']}")
    lines.append(f"writes     {writes['sink'] or 'no sink, so forecast-kit batch cannot run it'}; reports in "
                 f"{writes['output']}")  # fmt: skip
    when = f"every {after['every']} at {after['at']} {after['timezone']}"
    lines.append(f"runs       {when}; now it would run as of {after['as_of']}" if after["as_of"] else
                 "runs       with --as-of and a number of a step")  # fmt: skip
    return lines + [f"warning    {line}" for line in plan["warnings"]]
