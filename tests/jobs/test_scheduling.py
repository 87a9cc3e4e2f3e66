"""Units and crontab lines: judged by systemd's own tools, by a naive cron that counts minutes, and by the shell.

The traps: a schedule's clock that is not the machine's, whose summer begins on another day; paths with spaces and
percent signs; secrets that a scheduler does not have; a time that the clock skips once a year.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner, Result

from forecast_kit.core.extensions import IMPORTS
from forecast_kit.errors import ArgumentError, ConfigError
from forecast_kit.jobs.operations_cli import operations_app
from forecast_kit.jobs.scheduling import ScheduledJob, cron_fields, cron_line, on_calendar, plan_job, systemd_units
from forecast_kit.jobs.sections import ScheduleSection

JOB = """
name: {name}
data: {data}
baselines: {{naive: {{forecaster: Naive}}}}
candidates: {{snaive: {{forecaster: SeasonalNaive}}}}
backtest: {{horizon: 6}}
register: {{name: demand}}
schedule: {schedule}
{sink}
"""
SINK = "sink: {path: out}"
FILE = "{path: sales.csv, schema: {freq: h}}"
TODAY = date(2026, 1, 15)
BERLIN, NEW_YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"

systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def written(
    folder: Path, schedule: str = "{every: day, at: '05:00'}", data: str = FILE, sink: str = SINK, name: str = "demand"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "job 100%.yaml"
    file.write_text(JOB.format(name=name, data=data, schedule=schedule, sink=sink))
    return file


def planned(schedule: ScheduleSection, folder: Path, *command: str, variables: tuple[str, ...] = ()) -> ScheduledJob:
    return ScheduledJob(
        "forecast-kit-demand", "forecast_kit: demand", schedule, command or ("/bin/true",), folder, variables,
        folder / "my secrets.env",
    )  # fmt: skip


SCHEDULES = [
    ScheduleSection(every="day", at="05:00", timezone=BERLIN),
    ScheduleSection(every="day", at="00:15", timezone=KOLKATA),
    ScheduleSection(every="week", at="23:30", on="Sun", timezone=NEW_YORK),
    ScheduleSection(every="week", at="06:00", timezone="UTC"),
    ScheduleSection(every="month", at="01:00", on=28, timezone=BERLIN),
    ScheduleSection(every="month", at="04:45", timezone="UTC"),
    ScheduleSection(every="hour", at="00:20", timezone=KOLKATA),
]
named = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: f"{s.every}-{s.at}-{s.timezone}")


# Five weeks, in which summer begins in America and Europe and ends in Australia, with the last day of February.
START, MINUTES = datetime(2026, 2, 28, tzinfo=UTC), 37 * 24 * 60


@lru_cache
def clock(zone: str) -> list[datetime]:
    """What a clock on the wall shows, minute by minute."""
    return [(START + timedelta(minutes=k)).astimezone(ZoneInfo(zone)) for k in range(MINUTES)]


def due(schedule: ScheduleSection) -> list[datetime]:
    """Every minute in which the clock on the schedule's wall says that it is time: the definition itself."""
    found = []
    for wall in clock(schedule.timezone):
        if wall.minute != int(schedule.at[3:]) or (schedule.every != "hour" and wall.hour != int(schedule.at[:2])):
            continue
        today = {
            "hour": True, "day": True, "week": f"{wall:%a}" == (schedule.on or "Mon"),
            "month": wall.day == (schedule.on or 1),
        }[schedule.every]  # fmt: skip
        if today:
            found.append(wall.astimezone(UTC))
    return found


# ---- systemd


@systemd
@named
def test_systemd_elapses_when_the_wall_clock_says_so(schedule: ScheduleSection) -> None:
    expected = due(schedule)
    assert len(expected) >= 1
    done = subprocess.run(
        ["systemd-analyze", "calendar", f"--base-time={START - timedelta(minutes=1):%Y-%m-%d %H:%M:%S} UTC",
         f"--iterations={len(expected)}", on_calendar(schedule)],
        capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
    )  # fmt: skip
    elapses = re.findall(r"(?:Next elapse|Iter\. #\d+): \w+ (\S+ \S+) UTC", done.stdout)
    assert elapses == [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in expected]


@systemd
def test_systemd_finds_nothing_wrong_with_the_units_of_paths_with_spaces_and_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / 'it\'s 100%h $HOME [x] "y"'
    job = written(home, data="{sql: {url: 'postgresql+psycopg://u:${DB_PASSWORD}@h/b', query: q}, schema: {freq: h}}")
    monkeypatch.chdir(home)
    place = tmp_path / "100%h $HOME [x]" / "bin"
    monkeypatch.setattr(sys, "executable", str(program(place)))
    units = systemd_units(plan_job(job, today=TODAY), user="root")
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    done = verified(tmp_path, units)
    assert (done.returncode, done.stderr) == (0, "")
    (place / "forecast-kit").unlink()  # systemd does look
    assert verified(tmp_path, units).returncode != 0
    monkeypatch.setattr(sys, "executable", str(program(home / "bin")))
    with pytest.raises(ArgumentError, match="systemd starts no program with a quote or backslash"):
        systemd_units(plan_job(job, today=TODAY))


def verified(folder: Path, units: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "verify", *(str(folder / name) for name in units)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def program(folder: Path) -> Path:
    """A Python beside which there is a forecast-kit, which writes down how it was called."""
    folder.mkdir(parents=True)
    tool = folder / "forecast-kit"
    tool.write_text(
        '#!/bin/sh\npwd > called\nprintf "%s\\n" "$@" "$DB_PASSWORD" >> called\necho told\nexit ${CODE:-0}\n'
    )
    tool.chmod(0o755)
    return folder / "python"


def test_the_service_says_what_an_unattended_job_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a b"
    job = written(home, data="{sql: {url: 'postgresql+psycopg://u:${DB_PASSWORD}@h/b', query: q}, schema: {freq: h}}")
    monkeypatch.setattr(sys, "executable", str(program(home / "bin")))
    units = systemd_units(plan_job(job, folder=home, today=TODAY, surroundings=("MLFLOW_TRACKING_URI",)))
    assert [*units] == ["forecast-kit-demand.service", "forecast-kit-demand.timer"]
    lines = units["forecast-kit-demand.service"].splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    # systemd's words are quoted as the shell's, and its percent signs doubled.
    words = [word.replace("%%", "%") for word in shlex.split(values["ExecStart"])]
    assert words == [str(home / "bin" / "forecast-kit"), "batch", "run", str(job)]
    assert values["WorkingDirectory"] == str(home)
    assert values["EnvironmentFile"] == str(home / "forecast-kit-demand.env")
    assert (values["SuccessExitStatus"], values["Type"], values["TimeoutStartSec"]) == ("3", "oneshot", "12h")
    assert "DB_PASSWORD, MLFLOW_TRACKING_URI" in units["forecast-kit-demand.service"]
    assert "User" not in values
    timer = units["forecast-kit-demand.timer"].splitlines()
    assert {"OnCalendar=*-*-* 05:00:00 UTC", "Persistent=true", "WantedBy=timers.target"} <= {*timer}


def test_without_secrets_no_file_is_asked_for(tmp_path: Path) -> None:
    units = systemd_units(plan_job(written(tmp_path), folder=tmp_path, today=TODAY), user="batch")
    assert "EnvironmentFile" not in units["forecast-kit-demand.service"]
    assert "User=batch" in units["forecast-kit-demand.service"]
    assert "network-online.target" in units["forecast-kit-demand.service"]  # own units cannot wait for it


# ---- cron


def cron(fields: str, zone: str) -> Iterator[datetime]:
    """The minutes in which a cron with that zone starts a line."""
    minutes, hours, month_days, months, week_days = (
        None if field == "*" else {int(one) for one in field.split(",")} for field in fields.split()
    )
    for wall in clock(zone):
        if minutes is not None and wall.minute not in minutes:
            continue
        seen = (wall.minute, wall.hour, wall.day, wall.month, wall.isoweekday() % 7)
        wanted = (minutes, hours, month_days, months, week_days)
        if all(field is None or value in field for value, field in zip(seen, wanted, strict=True)):
            yield wall.astimezone(UTC)


@named
@pytest.mark.parametrize("machine", ["UTC", BERLIN, KOLKATA, "Australia/Lord_Howe"])
def test_cron_starts_the_job_when_the_schedule_s_wall_clock_says_so_whatever_the_machine_s(
    schedule: ScheduleSection, machine: str, tmp_path: Path
) -> None:
    line = cron_line(planned(schedule, tmp_path), machine=ZoneInfo(machine), today=TODAY)
    fields, command = " ".join(line.split()[:5]), line.split(maxsplit=5)[5].replace(r"\%", "%")
    guard = re.match(r'\[ "\$\(TZ=(\S+) date \+(\S+)\)" = (\S+) \] \|\| exit 0; ', command)
    started = [
        moment for moment in cron(fields, machine)
        if guard is None or moment.astimezone(ZoneInfo(guard[1])).strftime(guard[2]) == guard[3]
    ]  # fmt: skip
    assert started == due(schedule)
    assert started
    assert (guard is None) == (machine == schedule.timezone or (schedule.every == "hour" and machine == KOLKATA))


def run_by_cron(line: str) -> subprocess.CompletedProcess[str]:
    """What cron does with a line: percent signs lose their backslash, the rest is the shell's; little is in PATH."""
    command = line.split(maxsplit=5)[5]
    assert not re.search(r"(?<!\\)%", command)  # it would be a line break
    return subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")], cwd="/", capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/", **({"CODE": os.environ["CODE"]} if "CODE" in os.environ else {})},
    )  # fmt: skip


def test_the_shell_runs_the_line_with_secrets_and_paths_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / 'it\'s 100% $HOME [x] "y"'
    job = written(home, data="{sql: {url: 'postgresql+psycopg://u:${DB_PASSWORD}@h/b', query: q}, schema: {freq: h}}")
    monkeypatch.setattr(sys, "executable", str(program(home / "bin")))
    plan = plan_job(job, folder=home, today=TODAY)
    line = cron_line(plan, machine=UTC, today=TODAY)
    done = run_by_cron(line)  # the file of secrets is not there yet: nothing may run, and somebody must hear of it
    assert not (home / "called").exists()
    assert "forecast-kit-demand.env" in done.stderr
    plan.secrets.write_text("DB_PASSWORD='pa$$ w%rd'\n")
    done = run_by_cron(line)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (home / "called").read_text().splitlines() == [str(home), "batch", "run", str(job), "pa$$ w%rd"]
    assert (home / "forecast-kit-demand.log").read_text() == "told\n"
    monkeypatch.setenv("CODE", "3")
    told = run_by_cron(line).stdout  # which cron mails
    assert told == f"forecast_kit: demand: exit code 3, see {home / 'forecast-kit-demand.log'}\n"


@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_the_line_looks_at_the_clock_itself(every: str, tmp_path: Path) -> None:
    """Real clock, real shell: in this minute of New York it runs, in the minute twelve hours later it does not."""
    while True:
        here = datetime.now(ZoneInfo(NEW_YORK))
        on = {"day": None, "week": f"{here:%a}", "month": min(here.day, 28)}[every]
        ran = []
        for moment in (here, here + timedelta(hours=12)):
            schedule = ScheduleSection(every=every, at=f"{moment:%H:%M}", on=on, timezone=NEW_YORK)
            done = run_by_cron(
                cron_line(planned(schedule, tmp_path, "/bin/sh", "-c", "echo ran"), machine=ZoneInfo(KOLKATA))
            )
            assert (done.returncode, done.stderr) == (0, "")
            log = tmp_path / "forecast-kit-demand.log"
            ran.append(log.exists())
            log.unlink(missing_ok=True)
        if datetime.now(ZoneInfo(NEW_YORK)).minute == here.minute:  # else the minute ended while it ran
            break
    assert ran == [every != "month" or here.day <= 28, False]


def test_a_line_that_cron_would_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cron takes lines of 990 bytes, and this one has"):
        cron_line(planned(ScheduleSection(), tmp_path / ("x" * 240) / ("y" * 240) / ("z" * 240)), machine=UTC)


# ---- what cannot be scheduled


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schedule": f"{{every: day, at: '02:30', timezone: {BERLIN}}}"}, "skips 02:30 on 2026-03-29, and no run"),
        ({"schedule": f"{{every: week, on: Sat, at: '02:30', timezone: {BERLIN}}}"}, ""),
        ({"schedule": f"{{every: month, on: 28, at: '02:30', timezone: {BERLIN}}}"}, "skips 02:30 on 2027-03-28"),
        ({"schedule": f"{{every: hour, at: '02:30', timezone: {BERLIN}}}"}, ""),
        ({"sink": ""}, "has no 'sink'"),
        ({"data": "{dataset: m4_hourly}"}, "time is numbered in these data \\(freq: 1\\)"),
        ({"data": "{path: x.csv, schema: {freq: 2}}"}, "time is numbered in these data \\(freq: 2\\)"),
    ],
)
def test_what_would_fail_or_be_lost_at_night_is_refused_by_day(
    changes: dict[str, str], named: str, tmp_path: Path
) -> None:
    job = written(tmp_path, **changes)
    if named:
        with pytest.raises(ConfigError, match=named):
            plan_job(job, today=TODAY)
    else:
        plan_job(job, today=TODAY)


def test_names_of_units_are_such_as_systemd_takes_and_paths_have_no_line_breaks(tmp_path: Path) -> None:
    job = written(tmp_path, name='"Nächte & Süd: 1"')
    assert plan_job(job, today=TODAY).name == "forecast-kit-N-chte-S-d-1"
    with pytest.raises(ArgumentError, match="line break"):
        plan_job(job, folder=tmp_path / "a\nExecStart=b", today=TODAY)


# ---- the command


def say(*words: str | Path) -> Result:
    return CliRunner().invoke(operations_app, [str(word) for word in words], catch_exceptions=False)


def test_the_command_prints_a_line_that_can_be_piped_and_tells_the_rest_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    job = written(tmp_path)
    done = say("schedule", job, "--cron")
    assert len(done.stdout.splitlines()) == 1
    assert shlex.quote(str(job)).replace("%", r"\%") in done.stdout
    assert "crontab -" in done.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")  # cron would not know it
    done = say("schedule", job, "--cron")
    assert ". " + str(tmp_path / "forecast-kit-demand.env") in done.stdout
    assert "http://" not in done.stdout
    assert "still missing:" in done.stderr
    assert "MLFLOW_TRACKING_URI='...'" in done.stderr


@pytest.fixture
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A job that imports `cells_of_night`, which leaves a mark; what is imported is forgotten afterwards."""
    for name in (IMPORTS, "PYTHONPATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my $modules").mkdir()
    for name in ("cells_of_night", "more_of_night"):
        (tmp_path / "my $modules" / f"{name}.py").write_text("import pathlib\npathlib.Path(f'{__name__}.mark').touch()")
    job = written(tmp_path)
    job.write_text(job.read_text() + "imports: [cells_of_night]\n")
    yield job
    for name in ("cells_of_night", "more_of_night"):
        sys.modules.pop(name, None)


def test_a_job_that_imports_modules_by_day_imports_them_at_night(
    own_modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cron would: in a shell that has nothing in its environment. The data are missing, so it ends after that."""
    places = tmp_path / "my $modules"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # a test before may have set it: a secret that is missing
    monkeypatch.setenv("PYTHONPATH", "my $modules")
    monkeypatch.setenv(IMPORTS, "more_of_night")
    monkeypatch.syspath_prepend(str(places))  # as Python itself does of the variable
    line = say("schedule", own_modules, "--cron").stdout
    for mark in tmp_path.glob("*.mark"):
        mark.unlink()
    command = line.split(maxsplit=5)[5].replace(r"\%", "%").strip()
    subprocess.run(
        ["env", "-i", "PATH=/usr/bin:/bin", f"HOME={tmp_path}", "/bin/sh", "-c", command], cwd="/", check=True
    )
    log = (tmp_path / "forecast-kit-demand.log").read_text()
    assert "sales.csv" in log  # which is not there
    assert "no module" not in log
    assert sorted(mark.stem for mark in tmp_path.glob("*.mark")) == ["cells_of_night", "more_of_night"]
    monkeypatch.setenv("PYTHONPATH", "my $modules")  # the command has changed both for the processes of this one
    monkeypatch.setenv(IMPORTS, "more_of_night")
    unit = say("schedule", own_modules, "--systemd").stdout
    told = [shlex.split(line.partition("=")[2]) for line in unit.splitlines() if line.startswith("Environment=")]
    assert told == [[f"PYTHONPATH={places}"], [f"{IMPORTS}=more_of_night"]]


def test_no_more_of_modules_is_carried_than_is_needed(
    own_modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my $modules" / "cells_of_night.py").rename(tmp_path / "cells_of_night.py")
    assert "PYTHONPATH" not in say("schedule", own_modules, "--cron").stdout  # the job itself looks where it runs
    assert os.environ["PYTHONPATH"] == str(tmp_path)  # for the processes of this one, and nobody else's
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv(IMPORTS, "")
    elsewhere = say("schedule", own_modules, "--cron", "--folder", tmp_path / "elsewhere").stdout
    assert f" PYTHONPATH={tmp_path} " in elsewhere
    assert IMPORTS not in elsewhere


def test_the_command_writes_files_and_wants_to_know_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = written(tmp_path)
    done = say("schedule", job, "--systemd", "--out", tmp_path / "my units")
    assert done.stdout == ""
    assert {path.name for path in (tmp_path / "my units").iterdir()} == {
        "forecast-kit-demand.service", "forecast-kit-demand.timer",
    }  # fmt: skip
    assert "systemctl --user enable --now forecast-kit-demand.timer" in " ".join(done.stderr.replace("&&", "").split())
    with pytest.raises(ArgumentError, match="either --systemd or --cron"):
        say("schedule", job)
    with pytest.raises(ArgumentError, match="--user goes with --systemd"):
        say("schedule", job, "--cron", "--user", "root")


def test_the_fields_of_a_day_of_the_week_are_cron_s() -> None:
    assert cron_fields(ScheduleSection(every="week", on="Sun", at="05:00")) == "0 5 * * 0"
    assert cron_fields(ScheduleSection(every="week", at="05:00")) == "0 5 * * 1"
