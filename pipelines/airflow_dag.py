"""A batch job in Airflow: the command of forecast_kit, from a virtual environment of its own.

Airflow pins hundreds of packages, and TensorFlow is happy with few of those versions; so nothing is imported here, and
the job runs as a process:

    python3 -m venv /opt/forecast && /opt/forecast/bin/pip install forecast_kit

Written for Airflow 3; for Airflow 2 import `DAG` from `airflow` and `BashOperator` from `airflow.operators.bash`.
"""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

PROGRAM = "/opt/forecast/bin/forecast-kit"
JOB = "/srv/forecast/job.yaml"
FOLDER = "/srv/forecast"  # where relative paths in the job file begin
EVERY = "day"  # the job's schedule.every: hour, day, week or month
CRON = "0 5 * * *"  # what `forecast-kit schedule JOB --cron` begins with
TIMEZONE = "UTC"  # of the data: the schema's timezone, on whose clock as-ofs are


def command(program: str, job: str, folder: str, *, every: str, timezone: str) -> str:
    """The bash command of a run, a template of Airflow's.

    The as-of is where the interval ends, which is when the run is due: `{{ ds }}` is a day earlier in Airflow 2, and
    the date in UTC in all versions. Of the exit codes, 3 says that everything was forecast, but more series than
    allowed by a simpler method: a success with a warning. `skip_on_exit_code=3` would skip the tasks that follow, too.
    """
    form = "%Y-%m-%dT%H%M" if every == "hour" else "%Y-%m-%d"
    moment = f"data_interval_end.in_timezone('{timezone}').start_of('{every}').strftime('{form}')"
    words = shlex.join([program, "batch", "run", job, "--wait", "600", "--as-of"])
    return (
        f"cd {shlex.quote(folder)} && {words} {{{{ {moment} }}}}; code=$?; "
        'if [ "$code" -eq 3 ]; then echo "WARNING: more series than allowed fell back; see the summary"; exit 0; fi; '
        'exit "$code"'
    )


with DAG(
    "forecast_kit_nightly", schedule=CRON, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1,
    tags=["forecast_kit"],
) as dag:  # fmt: skip
    BashOperator(
        task_id="batch_run",
        bash_command=command(PROGRAM, JOB, FOLDER, every=EVERY, timezone=TIMEZONE),
        append_env=True,
        # A run may be repeated at any time: it replaces the rows of its own as-of.
        retries=2,
        retry_delay=timedelta(minutes=10),
        execution_timeout=timedelta(hours=12),
    )
