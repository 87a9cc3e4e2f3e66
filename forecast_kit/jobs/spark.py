"""The forecast of a batch job on a Spark cluster: the same rows in the same sink as one machine writes.

`pipelines/spark_job.py` is the command. Workers need this package, and must reach the tracking server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.dataset as ds

from forecast_kit.core.forecast import level_column
from forecast_kit.errors import ArgumentError, StoreError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.connecting import is_url
from forecast_kit.jobs.degrading import Rules, forecast_frame
from forecast_kit.jobs.delivery import honest
from forecast_kit.jobs.sinks import open_sink
from forecast_kit.jobs.sinks.owner import claim
from forecast_kit.jobs.sources import OpenSource, open_source
from forecast_kit.jobs.tidying import tidied
from forecast_kit.mlflow import Store, connect, load_served
from forecast_kit.mlflow.deploying import Deployment, champions
from forecast_kit.mlflow.spark import whole_series, worker_model

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = 200_000  # of complete series that a worker forecasts at a time


def _function(
    source: OpenSource, deployment: Deployment, *, config: JobConfig, as_of: AsOf, store: Store, integer_ids: bool
) -> tuple[Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]], str]:
    """The function for `DataFrame.mapInPandas`, and the schema of what it returns; stamps with a zone are in UTC."""
    uri = f"models:/{deployment.name}/{deployment.version}"
    key = uri, load_served(uri).digest, store.uri, store.uri
    rules = Rules.of(config.forecast, horizon=config.backtest.horizon, levels=config.backtest.levels)
    schema, static, about = source.schema, source.static, (deployment.name, deployment.version)
    time = "bigint" if isinstance(schema.freq, int) else "timestamp_ntz"
    numbers = "".join(f", {level_column(q)} double" for q in rules.levels)
    returned = (f"unique_id {'bigint' if integer_ids else 'string'}, ds {time}, cutoff {time}, model string, "
                f"model_version string, mean double{numbers}, fallback string, reason string")  # fmt: skip

    def forecast(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        served = worker_model(*key)
        for rows in whole_series(batches, schema, rows=ROWS):
            for chunk in tidied([("Spark", rows)], schema):
                frame = forecast_frame(served, chunk, schema=schema, as_of=as_of, rules=rules, static=static).frame
                frame = frame.assign(model=about[0], model_version=about[1])
                for name in ("ds", "cutoff"):
                    if isinstance(frame[name].dtype, pd.DatetimeTZDtype):
                        frame[name] = frame[name].dt.tz_convert("UTC").dt.tz_localize(None)
                frame["unique_id"] = frame["unique_id"].astype("int64" if integer_ids else "str")
                # Text of pandas' own kind reaches Spark as nothing that it knows.
                frame = frame.astype(dict.fromkeys(frame.select_dtypes("str"), object))
                yield frame[[column.split()[0] for column in returned.split(", ")]]

    return forecast, returned


def _for_all(path: str) -> str:
    """The path as Spark takes it: without a scheme it would mean the cluster's own file system."""
    return path if is_url(path) else f"file://{Path(path).absolute()}"


def _champion(store: Store, config: JobConfig, source: OpenSource, as_of: AsOf) -> Deployment:
    """The last champion that had not learned from what lies after the as-of, as a job without Spark takes it.

    Raises:
        StoreError: there never was one.
        ArgumentError: all had.
    """
    fit, present = honest(champions(store, config.register_.name), as_of, source.schema)
    if present is None:
        raise StoreError(f"no version of {config.register_.name} is champion; run forecast-kit batch train first")
    if fit is None:
        raise ArgumentError(f"the champion, version {present.version}, learned from data until "
                            f"{present.trained_until}, which as of {as_of} was still to come, and so did those before "
                            f"it; name a later as-of")  # fmt: skip
    return fit


def forecast_job(spark: SparkSession, config: JobConfig, as_of: AsOf, *, staging: str) -> dict[str, Any]:
    """What was written: rows, series, and how many of them fell back or have no forecast.

    Args:
        spark: the session; stamps keep their hours in UTC alone, which is set here.
        config: of a job whose data are Parquet files.
        as_of: what is stamped before it is known.
        staging: a folder that the driver and all workers have, for the rows on their way to the sink.

    Raises:
        ForecastKitError: as `forecast_kit.jobs.batch.run_batch`.
    """
    if config.sink is None or config.data.path is None:
        raise ArgumentError("this recipe needs a job with a sink, and with Parquet files as data.path")
    source = open_source(config.data, as_of=as_of)
    refusal = claim(config.sink, config.name)
    if refusal is not None:
        logging.getLogger("forecast_kit.jobs").warning(refusal)
    store = connect(config.store)
    deployment = _champion(store, config, source, as_of)
    schema = source.schema
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    frame = spark.read.parquet(_for_all(config.data.path)).select(*source.columns)
    integer_ids = dict(frame.dtypes)[schema.id_col] in ("tinyint", "smallint", "int", "bigint")
    function, returned = _function(source, deployment, config=config, as_of=as_of, store=store,
                                   integer_ids=integer_ids)  # fmt: skip
    by_series = frame.repartition(schema.id_col).sortWithinPartitions(schema.id_col, schema.time_col)
    by_series.mapInPandas(function, returned).write.mode("overwrite").parquet(_for_all(staging))
    fallbacks: set[Any] = set()
    series: set[Any] = set()

    def portions() -> Iterator[pd.DataFrame]:
        for batch in ds.dataset(staging, format="parquet").to_batches():
            rows = batch.to_pandas()
            for name in ("ds", "cutoff") if schema.zone is not None else ():
                rows[name] = rows[name].dt.tz_localize("UTC").dt.tz_convert(schema.zone)
            series.update(rows["unique_id"].tolist())
            fallbacks.update(rows.loc[rows["fallback"] != "", "unique_id"].tolist())
            if len(rows):
                yield rows

    written = open_sink(config.sink, schema).write("forecasts", as_of, portions())
    missing = frame.select(schema.id_col).distinct().count() - len(series)
    return {"as_of": as_of.label, "model": f"{deployment.name}/{deployment.version}", "rows": written,
            "series": len(series), "fallbacks": len(fallbacks), "missing": missing}  # fmt: skip
