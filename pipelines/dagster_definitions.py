"""A batch job in Dagster: one asset, the forecasts, whose partitions are the as-ofs.

    pip install 'forecast_kit[dagster]'
    FORECAST_KIT_JOB=my_job.yaml dagster dev -f pipelines/dagster_definitions.py

The asset is what `forecast-kit batch run` does: it scores past forecasts, trains if a rule fires, forecasts. A
partition may be materialised again at any time: the sink then holds the rows of the last time, once. A range of
partitions is one run, which takes them in order, as a job is not run twice at the same time.
"""

# Without "from __future__ import annotations": Dagster wants the class itself as the annotation of `context`.

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ConfigError, ForecastKitError
from forecast_kit.jobs.asof import AsOf, now
from forecast_kit.jobs.batch import run_batch
from forecast_kit.jobs.config import JobConfig, read_job
from forecast_kit.jobs.console import console
from forecast_kit.jobs.reporting import Reporter
from forecast_kit.jobs.scheduling import cron_fields
from forecast_kit.jobs.summary import Summary, exit_code_of

CHECK = "fallbacks_within_share"
# How often a partition begins, on the clock of the data; and its key, which `--as-of` takes as well.
_BEGINS = {"hour": "0 * * * *", "day": "0 0 * * *", "week": "0 0 * * 1", "month": "0 0 1 * *"}
_KEYS = {"hour": "%Y-%m-%dT%H%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m-%d"}


def definitions(job_file: str | Path, *, start: str = "2012-01-01") -> dg.Definitions:
    """Asset, check, job and schedule of a job file.

    Args:
        job_file: of a batch job; relative paths in it begin where Dagster was started.
        start: the first as-of that can be asked for.

    Raises:
        ConfigError: the job file is wrong, or counts time in numbers, which no schedule can tell.
    """
    file = Path(job_file).absolute()
    config = read_job(file)
    schema, every = config.data.panel_schema, config.schedule.every
    if isinstance(schema.freq, int):
        raise ConfigError(f"{file}: time is numbered in these data, and Dagster's partitions are dates")
    name = re.sub(r"\W+", "_", config.name, flags=re.ASCII).strip("_") or "job"
    partitions = dg.TimeWindowPartitionsDefinition(
        start=start, fmt=_KEYS[every], cron_schedule=_BEGINS[every], timezone=schema.timezone or "UTC",
        end_offset=1,  # the day that has begun: its forecast begins with it
    )  # fmt: skip

    @dg.asset(
        key=[name, "forecasts"], partitions_def=partitions, group_name=name,
        description="The forecasts of all series, begun at the partition's key.",
        backfill_policy=dg.BackfillPolicy.single_run(), retry_policy=dg.RetryPolicy(max_retries=3, delay=300),
        check_specs=[dg.AssetCheckSpec(CHECK, asset=[name, "forecasts"], description=(
            "No more series than allowed were forecast by the simpler method (exit code 3 of forecast-kit)."
        ))],
    )  # fmt: skip
    def forecasts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return _materialize(file, context, schema)

    job = dg.define_asset_job(f"{name}_batch", selection=[forecasts])

    @dg.schedule(
        name=f"{name}_schedule", job=job, cron_schedule=cron_fields(config.schedule),
        execution_timezone=config.schedule.timezone,
    )  # fmt: skip
    def due(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        key = partition_of(config, schema, now(config.schedule, schema, clock=context.scheduled_execution_time))
        return dg.RunRequest(partition_key=key, run_key=key)

    return dg.Definitions(assets=[forecasts], jobs=[job], schedules=[due])


def partition_of(config: JobConfig, schema: PanelSchema, as_of: AsOf) -> str:
    """The key of the partition of an as-of."""
    assert not isinstance(as_of.stamp, int)  # definitions() refuses numbered time
    return as_of.stamp.strftime(_KEYS[config.schedule.every])


def _materialize(file: Path, context: dg.AssetExecutionContext, schema: PanelSchema) -> dg.MaterializeResult:
    """Runs the job for each partition in turn; what Dagster shows of each goes to that partition."""
    out, shares, over = Reporter(console), [], []
    try:
        config = read_job(file)  # as it is now: Dagster may have been started days ago
        for key in context.partition_keys:
            # Somebody may run the job from a shell at this moment.
            summary = run_batch(config, AsOf.read(key, freq=schema.freq), out=out, wait_s=600)
            context.add_asset_metadata(shown(summary), partition_key=key)
            shares.append(_share(summary))
            over += [key] if summary.exit_code == 3 else []
    except ForecastKitError as error:
        # Bad configuration and bad data are as bad in five minutes; a database may be back.
        raise dg.Failure(str(error), allow_retries=exit_code_of(error) != 2) from error
    return dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(
            check_name=CHECK, passed=not over, severity=dg.AssetCheckSeverity.WARN,
            metadata={"share": max(shares), "allowed": config.forecast.max_fallback, "as_of": ", ".join(over)},
        )],
    )  # fmt: skip


def _share(summary: Summary) -> float:
    forecast: Mapping[str, Any] = summary.forecast or {}
    series = forecast.get("series", 0)
    return (forecast.get("fallbacks", 0) + forecast.get("missing", 0)) / series if series else 0.0


def shown(summary: Summary) -> dict[str, Any]:
    """The metadata of a partition: numbers become curves in Dagster's pages."""
    forecast = summary.forecast or {}
    facts = {key: forecast[key] for key in ("rows", "series", "fallbacks", "missing", "sink") if key in forecast}
    facts["model"] = "/".join((summary.model or {}).values())
    for key, value in (summary.monitor or {}).items():
        if value is not None and value == value:  # an undefined figure has no curve
            facts[f"monitor_{key}"] = value
    if summary.training is not None:
        facts["training"] = f"{summary.training.get('decision')}: {summary.training.get('reason')}"
    if summary.warnings:
        facts["warnings"] = dg.MetadataValue.md("\n".join(f"- {text}" for text in summary.warnings))
    if summary.link is not None:
        facts["mlflow"] = dg.MetadataValue.url(summary.link)
    if summary.file is not None:
        facts["summary"] = dg.MetadataValue.path(str(summary.file.absolute()))
    return facts


defs = definitions(
    os.environ.get("FORECAST_KIT_JOB", Path(__file__).with_name("nightly.yaml")),
    start=os.environ.get("FORECAST_KIT_START", "2012-01-01"),
)
