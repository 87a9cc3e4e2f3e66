"""The forecast of a batch job on a Spark cluster: the same rows in the same sink as `forecast-kit batch forecast`.

    spark-submit pipelines/spark_job.py job.yaml --as-of 2024-07-01

Spark reads the job's Parquet files, brings the rows of each series together, and forecasts chunks of series with
`mapInPandas`: each worker loads the champion once, and a series that breaks falls back by itself, as on one machine.
The driver writes the sink, portion by portion, so that readers see the whole as-of or the former one. Train and monitor
with `forecast-kit batch train` and `batch monitor`, which read and write the same places.

Workers need this package and what the champion needs (`PYSPARK_PYTHON`), and must reach the tracking server.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from forecast_kit.errors import ForecastKitError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.batch import only_one
from forecast_kit.jobs.config import read_job
from forecast_kit.jobs.spark import forecast_job
from forecast_kit.jobs.summary import exit_code_of


def main() -> int:
    """The exit code, with the meaning that `forecast-kit batch` gives it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", help="the job file")
    parser.add_argument("--as-of", required=True, help="what is stamped before it is known")
    parser.add_argument("--staging", help="a folder that driver and workers have mounted; else one of this machine")
    asked = parser.parse_args()
    try:
        config = read_job(asked.job)
        as_of = AsOf.read(asked.as_of, freq=config.data.panel_schema.freq)
        spark = SparkSession.builder.appName(f"forecast_kit {config.name} {as_of}").getOrCreate()
        home = Path(config.store or ".forecast_kit").absolute()
        with only_one(home, config.name), tempfile.TemporaryDirectory() as scratch:
            told = forecast_job(spark, config, as_of, staging=asked.staging or f"{scratch}/rows")
    except ForecastKitError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code_of(error)
    print(json.dumps(told))
    whole = told["series"] + told["missing"]
    return 3 if told["fallbacks"] + told["missing"] > config.forecast.max_fallback * whole else 0


if __name__ == "__main__":
    sys.exit(main())
