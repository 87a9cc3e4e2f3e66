"""Forecasts inside Spark: complete series stream through a model that each worker loads once.

MLflow's own `spark_udf` raises on stamps, and cuts series into pieces. Start workers in the driver's environment
(`PYSPARK_PYTHON`), with this package installed. Stamps keep their hours where the session's time zone is UTC
(`spark.sql.session.timeZone`) or the column is `timestamp_ntz`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd

from forecast_kit.core.forecast import check_levels, level_column
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArtifactError, DataError, check_whole
from forecast_kit.mlflow.flavor import load_served, pinned
from forecast_kit.mlflow.served import ServedModel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["forecast_spark", "forecaster_udf", "ForecastChunks"]

ForecastChunks = Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]
"""What `mapInPandas` takes: frames in long form come, forecast frames go."""


def forecast_spark(
    frame: DataFrame,
    model_uri: str,
    *,
    horizon: int | None = None,
    levels: Sequence[float] | None = None,
    partitions: int | None = None,
    rows: int = 100_000,
) -> DataFrame:
    """The forecasts of all series of a Spark frame, as a Spark frame `unique_id, ds, cutoff, model, mean, q10, ...`.

    It shuffles the frame so that each series lies in one partition in the order of time; see `forecaster_udf` for one
    that lies so already.

    Args:
        frame: the columns that the model was trained on, in long form; rows after a series' last target carry
            known-future covariates.
        model_uri, horizon, levels, rows: see `forecaster_udf`.
        partitions: how many, by default what Spark's settings say.

    Raises:
        StoreError, ArtifactError: the model cannot be loaded.
        ArgumentError: a level or the number of rows is out of range.

    >>> from pyspark.sql import SparkSession
    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> store, panel = connect(), Panel.from_frame(*load("air_passengers"))
    >>> info = log_model(Naive(horizon=2).fit(panel), registered_model_name="passengers")
    >>> spark = SparkSession.builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    >>> panel.to_frame().to_parquet("passengers.parquet")
    >>> frame = spark.read.parquet("passengers.parquet")
    >>> forecast = forecast_spark(frame, "models:/passengers@challenger", levels=[0.9])
    >>> forecast.columns[:5], [row["mean"] for row in forecast.collect()]
    (['unique_id', 'ds', 'cutoff', 'model', 'mean'], [432.0, 432.0])
    >>> spark.stop()
    """
    uri = pinned(model_uri)
    served = load_served(uri)
    schema = _schema(served)
    kind = dict(frame.dtypes).get(schema.time_col)
    time_type = "timestamp" if kind == "timestamp" else "timestamp_ntz"  # dates and text have no zone
    function, returned = _function(uri, served, horizon, levels, rows, time_type)
    by_series = frame.repartition(*([schema.id_col] if partitions is None else [partitions, schema.id_col]))
    return by_series.sortWithinPartitions(schema.id_col, schema.time_col).mapInPandas(function, returned)


def forecaster_udf(
    model_uri: str,
    *,
    horizon: int | None = None,
    levels: Sequence[float] | None = None,
    rows: int = 100_000,
    time_type: str = "timestamp",
) -> tuple[ForecastChunks, str]:
    """The function for `DataFrame.mapInPandas`, and the schema of what it returns.

    The frame's partitions must hold complete series, one after another:
    `frame.repartition(n, "unique_id").sortWithinPartitions("unique_id", "ds").mapInPandas(*forecaster_udf(uri))`.
    An alias is resolved here, so that all workers forecast with the same version.

    Args:
        model_uri: where the model is; a folder must be there on every worker.
        horizon: steps ahead; by default as logged.
        levels: quantile levels; by default as logged.
        rows: forecast when so many rows of complete series have come; what a worker holds at a time.
        time_type: Spark's type of `ds` and `cutoff`, `"timestamp"` or `"timestamp_ntz"`; numbered time is `bigint`.

    Raises:
        StoreError, ArtifactError: the model cannot be loaded.
        ArgumentError: a level or the number of rows is out of range.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> store, panel = connect(), Panel.from_frame(*load("air_passengers"))
    >>> info = log_model(Naive(horizon=2).fit(panel), registered_model_name="passengers")
    >>> function, returned = forecaster_udf("models:/passengers@challenger", levels=[0.9])
    >>> next(function(iter([panel.to_frame()])))["mean"].tolist()
    [432.0, 432.0]
    >>> returned.split(", ")[4:6]
    ['mean double', 'q90 double']
    """
    uri = pinned(model_uri)
    return _function(uri, load_served(uri), horizon, levels, rows, time_type)


def _function(
    uri: str, served: ServedModel, horizon: int | None, levels: Sequence[float] | None, rows: int, time_type: str
) -> tuple[ForecastChunks, str]:
    """See `forecaster_udf`; of a model that is loaded."""
    check_whole("rows", rows)
    asked = served.levels if levels is None else check_levels(levels)
    names = ["mean", *(level_column(q) for q in sorted(asked))]
    time = "bigint" if isinstance(_schema(served).freq, int) else time_type
    returned = ", ".join(
        [f"unique_id {'bigint' if served.forecaster.integer_ids_ else 'string'}", f"ds {time}", f"cutoff {time}",
         "model string", *(f"{name} double" for name in names), "fallback string", "reason string"]
    )  # fmt: skip
    params = {"horizon": horizon, "levels": list(asked)}
    key = uri, served.digest, mlflow.get_tracking_uri(), mlflow.get_registry_uri()

    def forecast(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        model = worker_model(*key)
        for chunk in whole_series(batches, _schema(model), rows=rows):
            yield for_spark(model.forecast(chunk, params).to_frame(), names)

    return forecast, returned


def whole_series(batches: Iterable[pd.DataFrame], schema: PanelSchema, *, rows: int) -> Iterator[pd.DataFrame]:
    """Chunks of complete series, of at least so many rows each but for the last, as soon as they are complete.

    No more is held at a time than `rows`, the longest series and a batch.

    Args:
        batches: in which the rows of a series follow one another, over as many batches as they like.
        schema: names the column of the series.
        rows: at which a chunk is given.

    Raises:
        DataError: the column is missing or empty somewhere, or a series goes on after another one had begun.

    >>> parts = [pd.DataFrame({"unique_id": list(ids)}) for ids in ("aa", "ab", "bbc", "")]
    >>> [chunk["unique_id"].str.cat() for chunk in whole_series(parts, PanelSchema(freq=1), rows=3)]
    ['aaa', 'bbb', 'c']
    """
    column, held, count = schema.id_col, list[pd.DataFrame](), 0
    done: set[Any] = set()
    for batch in batches:
        if column not in batch.columns:
            raise DataError(f"column {column!r} is missing; the frame has {', '.join(map(str, batch.columns))}")
        if batch.empty:
            continue
        if batch[column].isna().any():
            raise DataError(f"column {column!r} is empty in {int(batch[column].isna().sum())} rows; leave them out")
        starts = [0, *(np.flatnonzero(np.diff(pd.factorize(batch[column])[0])) + 1).tolist()]
        names = [batch[column].iloc[start] for start in starts]
        new = names[1:] if held and held[-1][column].iloc[-1] == names[0] else names
        for name in new:
            if name in done:
                raise DataError(f"the rows of series {name!r} do not follow one another; sort the partitions, "
                                f"frame.repartition({column!r}).sortWithinPartitions({column!r}, "
                                f"{schema.time_col!r})")  # fmt: skip
            done.add(name)
        last = starts[-1]  # where the batch's last series begins, which may go on
        if new and count + last >= rows:
            if held or last:
                yield pd.concat([*held, batch.iloc[:last]], ignore_index=True)
            held, count, batch = [], 0, batch.iloc[last:]
        held.append(batch)
        count += len(batch)
    if held:
        yield pd.concat(held, ignore_index=True)


def for_spark(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The forecast frame with every column that the schema tells, and texts as Spark reads them.

    Args:
        frame: from `Forecast.to_frame`.
        names: of the columns of numbers.
    """
    for column in ("fallback", "reason"):
        if column not in frame.columns:
            frame[column] = ""
    for column in ("ds", "cutoff"):
        if isinstance(frame[column].dtype, pd.DatetimeTZDtype):
            frame[column] = frame[column].dt.tz_localize(None)
    frame = frame[["unique_id", "ds", "cutoff", "model", *names, "fallback", "reason"]]
    return frame.astype(dict.fromkeys(frame.select_dtypes("str"), object))


def _schema(served: ServedModel) -> PanelSchema:
    schema = served.forecaster.schema_
    assert schema is not None  # a loaded forecaster has its schema
    return schema


@lru_cache(maxsize=2)
def worker_model(uri: str, digest: str, tracking_uri: str, registry_uri: str) -> ServedModel:
    """The model, loaded once in a worker's process.

    Raises:
        ArtifactError: it is another one than the driver saw.
    """
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(registry_uri)
    served = load_served(uri)
    if served.digest != digest:
        raise ArtifactError(f"{uri} changed while the job ran: its digest was {digest}, and is {served.digest}; "
                            f"start the job again")  # fmt: skip
    return served
