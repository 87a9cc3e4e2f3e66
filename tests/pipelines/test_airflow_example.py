"""The example for Airflow, which cannot be installed beside us: its command, rendered and run by the shell.

What the file asks of Airflow itself is seen by a stand-in that writes down how it was called.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from jinja2 import Environment, StrictUndefined

from forecast_kit.data.schema import PanelSchema
from forecast_kit.jobs.asof import AsOf, now
from forecast_kit.jobs.sections import ScheduleSection

EXAMPLE = Path(__file__).parents[2] / "pipelines" / "airflow_dag.py"


class Recorder:
    """A DAG, or an operator, of which nothing but its arguments is of interest."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        type(self).calls.append((arguments, options))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[dict[str, Any]], list[dict[str, Any]]]:
    """The module, and the options of its DAGs and operators."""
    dag, operator = (type(name, (Recorder,), {"calls": []}) for name in ("DAG", "BashOperator"))
    standard = "airflow.providers.standard"
    for name in ("airflow", "airflow.providers", standard, f"{standard}.operators"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, kind in (("airflow.sdk", dag), (f"{standard}.operators.bash", operator)):
        module = ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("airflow_dag", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded, [options for _, options in dag.calls], [options for _, options in operator.calls]


class Moment(datetime):
    """What Airflow hands to templates, as far as the example asks of it: pendulum's DateTime."""

    def in_timezone(self, name: str) -> Moment:
        return Moment.fromtimestamp(self.timestamp(), ZoneInfo(name))

    def start_of(self, unit: str) -> Moment:
        start = self.replace(minute=0, second=0, microsecond=0, hour=self.hour if unit == "hour" else 0)
        back = {"week": self.weekday(), "month": self.day - 1}.get(unit, 0)
        return start - timedelta(days=back)


def rendered(template: str, end: Moment) -> str:
    return Environment(undefined=StrictUndefined).from_string(template).render(data_interval_end=end)


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A forecast-kit that writes down how it was called, and ends as it is told."""
    folder = tmp_path / "my venv's"
    folder.mkdir()
    file = folder / "forecast-kit"
    file.write_text('#!/bin/sh\npwd > called\nprintf "%s\\n" "$@" >> called\nexit ${CODE:-0}\n')
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin"])
def test_the_command_runs_the_job_for_the_as_of_that_the_job_itself_would_take(
    every: str, timezone: str, example: tuple[ModuleType, Any, Any], tool: Path, tmp_path: Path
) -> None:
    end = Moment(2024, 7, 31, 22, 30, tzinfo=ZoneInfo("UTC"))  # in Berlin it is August
    folder = tmp_path / "the jobs"
    folder.mkdir()
    template = example[0].command(str(tool), "/srv/my job.yaml", str(folder), every=every, timezone=timezone)
    subprocess.run(["bash", "-c", rendered(template, end)], check=True)
    where, *words = (folder / "called").read_text().splitlines()
    assert where == str(folder)
    assert words[:-1] == ["batch", "run", "/srv/my job.yaml", "--wait", "600", "--as-of"]
    section = ScheduleSection.model_validate({"every": every})
    assert AsOf.read(words[-1]) == now(section, PanelSchema(freq="h", timezone=timezone), clock=end)


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_a_forecast_with_fallbacks_is_a_success_with_a_warning(
    code: int, seen: int, example: tuple[ModuleType, Any, Any], tool: Path, tmp_path: Path
) -> None:
    template = example[0].command(str(tool), "job.yaml", str(tmp_path), every="day", timezone="UTC")
    script = rendered(template, Moment(2024, 7, 1, tzinfo=ZoneInfo("UTC")))
    done = subprocess.run(["bash", "-c", script], env={"CODE": str(code)}, capture_output=True, text=True, check=False)
    assert done.returncode == seen
    assert ("WARNING" in done.stdout) == (code == 3)
    gone = subprocess.run(["bash", "-c", script.replace("cd ", "cd /absent", 1)], capture_output=True, check=False)
    assert gone.returncode == 1


def test_airflow_is_asked_for_one_run_at_a_time_with_retries(example: tuple[ModuleType, Any, Any]) -> None:
    module, dags, operators = example
    assert [(dag["schedule"], dag["max_active_runs"], dag["catchup"]) for dag in dags] == [("0 5 * * *", 1, False)]
    (operator,) = operators
    assert operator["retries"] == 2
    assert "skip_on_exit_code" not in operator
    assert operator["bash_command"] == module.command(
        module.PROGRAM, module.JOB, module.FOLDER, every="day", timezone="UTC"
    )
