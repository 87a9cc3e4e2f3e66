"""Units of systemd and lines of cron that run a job when its `schedule` section says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from forecast_kit.core.extensions import IMPORTS
from forecast_kit.errors import ArgumentError, ConfigError
from forecast_kit.jobs.config import JobConfig, read_job
from forecast_kit.jobs.sections.base import VARIABLE
from forecast_kit.jobs.sections.batch import WEEKDAYS, ScheduleSection

_LONGEST_LINE = 990  # characters of a crontab's line: cron takes 998
# How long a run may take before systemd ends it, which the next run then makes good.
_TIMEOUTS = {"hour": "55min", "day": "12h", "week": "1d", "month": "1d"}


@dataclass(frozen=True)
class ScheduledJob:
    """What a scheduler must know of a job.

    Attributes:
        name: of units and files, `forecast-kit-` and the job's name.
        title: for people.
        schedule: when it runs.
        command: the program and its arguments, paths absolute.
        folder: where it runs; relative paths in the job file begin there.
        variables: of the environment that it needs, such as a database's password.
        secrets: the file that sets them.
        environment: variables that are no secrets, with their values: where modules of one's own are found.
    """

    name: str
    title: str
    schedule: ScheduleSection
    command: tuple[str, ...]
    folder: Path
    variables: tuple[str, ...]
    secrets: Path
    environment: tuple[tuple[str, str], ...] = ()


def plan_job(
    job: Path,
    *,
    folder: Path | None = None,
    secrets: Path | None = None,
    surroundings: tuple[str, ...] = (),
    given: Mapping[str, str] | None = None,
    today: date | None = None,
) -> ScheduledJob:
    """What a scheduler must know of the job in a file.

    Args:
        job: the file.
        folder: where it runs; by default the current one.
        secrets: the file that sets the variables; by default one of the unit's name in the folder.
        surroundings: variables that it needs besides those that the job file mentions.
        given: the environment's variables, as the user had set them before anything was imported; what tells of modules
            of one's own (`PYTHONPATH`, `FORECAST_KIT_IMPORTS`) goes with the job.
        today: from here on the clock is searched for times that it skips; by default today.

    Raises:
        ConfigError: the job file is wrong, has no sink, counts time in numbers, or names a time that its clock skips.
        ArgumentError: a path has a line break in it.
    """
    config = read_job(job)
    _check_schedulable(config, job)
    try:
        check_time(config.schedule, today or date.today())
    except ConfigError as error:
        raise ConfigError(f"{job}: {error}") from error
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", config.name).strip("-.") or "job"
    home = (folder or Path.cwd()).absolute()
    name = f"forecast-kit-{slug}"
    planned = ScheduledJob(
        name=name,
        title=f"forecast_kit: {' '.join(config.name.split())}",
        schedule=config.schedule,
        command=(*program(), "batch", "run", str(job.absolute())),
        folder=home,
        variables=tuple(dict.fromkeys((*variables_of(config), *surroundings))),
        secrets=(secrets or home / f"{name}.env").absolute(),
        environment=_for_modules(config, given or {}, home),
    )
    values = (value for _, value in planned.environment)
    for text in (*planned.command, str(planned.folder), str(planned.secrets), *values):
        if not text.isprintable():
            raise ArgumentError(f"no unit and no crontab can hold a path with a line break or the like: {text!r}")
    return planned


def _for_modules(config: JobConfig, given: Mapping[str, str], home: Path) -> tuple[tuple[str, str], ...]:
    """What must be set so that modules of one's own are found by the job as they are here; nothing if nothing must."""
    here = Path.cwd()
    places = [str(here / place) for place in given.get("PYTHONPATH", "").split(os.pathsep) if place]
    tops = {name.partition(".")[0] for name in config.imports}
    # Those of its `imports` that lie where the job runs are found without being told.
    if home != here and any((here / top).is_dir() or (here / f"{top}.py").exists() for top in tops):
        places.append(str(here))
    found = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(places)), IMPORTS: given.get(IMPORTS, "")}
    return tuple((name, value) for name, value in found.items() if value)


def program() -> tuple[str, ...]:
    """The absolute path of `forecast-kit` beside this Python, or this Python and the module."""
    beside = Path(sys.executable).with_name("forecast-kit")
    if beside.exists():
        return (str(beside),)
    return (sys.executable, "-m", "forecast_kit.jobs.cli")


def variables_of(config: JobConfig) -> list[str]:
    """The names of the environment variables that a job mentions as `${NAME}`, in order."""
    return list(dict.fromkeys(name for text in _texts(config.model_dump()) for name in VARIABLE.findall(text)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _check_schedulable(config: JobConfig, job: Path) -> None:
    """Refuses what would fail every night.

    Raises:
        ConfigError: there is no sink, or no clock can tell which step it is.
    """
    if config.sink is None:
        raise ConfigError(f"{job} has no 'sink', so a run would have nowhere to write; add such as\n"
                          f"sink:\n  path: forecasts")  # fmt: skip
    freq = config.data.panel_schema.freq
    if isinstance(freq, int):
        raise ConfigError(f"{job}: time is numbered in these data (freq: {freq}), and no clock tells the step; run it "
                          f"with --as-of and a whole number, from whatever knows it")  # fmt: skip


def check_time(schedule: ScheduleSection, start: date) -> None:
    """Refuses a time that the schedule's clock skips when summer begins.

    Raises:
        ConfigError: it does, within ten years of the day.
    """
    skipped = skipped_on(schedule, start)
    if skipped is not None:
        raise ConfigError(f"schedule.at: the clock of {schedule.timezone} skips {schedule.at} on {skipped}, and no run "
                          f"would take place; choose another time, or UTC")  # fmt: skip


def skipped_on(schedule: ScheduleSection, start: date, *, days: int = 3700) -> date | None:
    """The first day on which the schedule's clock skips its time, None if it never does within ten years.

    >>> skipped_on(ScheduleSection(at="02:30", timezone="Europe/Berlin"), date(2026, 1, 1))
    datetime.date(2026, 3, 29)
    >>> skipped_on(ScheduleSection(at="05:00", timezone="Europe/Berlin"), date(2026, 1, 1))
    """
    if schedule.every == "hour":
        return None
    zone, (hour, minute) = ZoneInfo(schedule.timezone), _time(schedule)
    for day in (start + timedelta(days=k) for k in range(days)):
        shown = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
        there = shown.astimezone(UTC).astimezone(zone)
        if _runs_on(schedule, day) and there.replace(tzinfo=None) != shown.replace(tzinfo=None):
            return day
    return None


def _runs_on(schedule: ScheduleSection, day: date) -> bool:
    if schedule.every == "week":
        return day.weekday() == _weekday(schedule)
    return schedule.every != "month" or day.day == (schedule.on or 1)


def _weekday(schedule: ScheduleSection) -> int:
    """The day of the week, Monday being 0."""
    return WEEKDAYS.index(str(schedule.on or "Mon"))


def _time(schedule: ScheduleSection) -> tuple[int, int]:
    """Hour and minute."""
    return int(schedule.at[:2]), int(schedule.at[3:])


# ---- systemd


def on_calendar(schedule: ScheduleSection) -> str:
    """The schedule as systemd's `OnCalendar` says it.

    >>> on_calendar(ScheduleSection(every="week", at="05:30", on="Sat", timezone="Europe/Berlin"))
    'Sat *-*-* 05:30:00 Europe/Berlin'
    """
    if schedule.every == "hour":
        return f"*-*-* *:{schedule.at[3:]}:00 {schedule.timezone}"
    weekday = f"{schedule.on or 'Mon'} " if schedule.every == "week" else ""
    day = f"{schedule.on or 1:0>2}" if schedule.every == "month" else "*"
    return f"{weekday}*-*-{day} {schedule.at}:00 {schedule.timezone}"


def systemd_units(job: ScheduledJob, *, user: str | None = None) -> dict[str, str]:
    """The service and the timer, as texts by the names of their files.

    Args:
        job: what runs.
        user: who runs it, if the units are the system's; without, they are units of one's own (`systemctl --user`).

    Raises:
        ArgumentError: the program's path is none that systemd takes.
    """
    if re.search(r"[\"'\\]", job.command[0]):
        raise ArgumentError(f"systemd starts no program with a quote or backslash in its path: {job.command[0]}; put "
                            f"the virtual environment elsewhere, or use --cron")  # fmt: skip
    service = ["[Unit]", f"Description={_literal(job.title)}"]
    if user is not None:
        service += ["Wants=network-online.target", "After=network-online.target"]
    service += ["", "[Service]", "Type=oneshot"]
    if user is not None:
        service.append(f"User={user}")
    service.append(f"WorkingDirectory={_literal(str(job.folder))}")
    service += [f'Environment="{_escaped(f"{name}={value}")}"' for name, value in job.environment]
    if job.variables:
        service += [
            f"# NAME=value lines, readable by you alone (chmod 600): {', '.join(job.variables)}",
            f"EnvironmentFile={_pattern_free(_literal(str(job.secrets)))}",
        ]
    service += [
        f"ExecStart={_exec(job.command)}",
        "# 3: everything was forecast, but more series than allowed by a simpler method; the journal says which.",
        "SuccessExitStatus=3",
        f"TimeoutStartSec={_TIMEOUTS[job.schedule.every]}",
        "Nice=10",
        "",
    ]
    timer = [
        "[Unit]",
        f"Description={_literal(job.title)}",
        "",
        "[Timer]",
        f"OnCalendar={on_calendar(job.schedule)}",
        "# A run that was due while the machine was off takes place when it is on again.",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
    ]
    return {f"{job.name}.service": "\n".join(service), f"{job.name}.timer": "\n".join(timer)}


def _literal(text: str) -> str:
    """The text without systemd's specifiers, such as %h."""
    return text.replace("%", "%%")


def _escaped(text: str) -> str:
    """The text as systemd wants it between double quotes."""
    return _literal(text).replace("\\", "\\\\").replace('"', '\\"')


def _pattern_free(path: str) -> str:
    """The path of a file, where systemd would take a pattern."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


def _exec(command: tuple[str, ...]) -> str:
    """A command line of systemd's, of literal words."""
    words = [_escaped(word) for word in command]
    line = " ".join(f'"{word}"' if re.search(r"[\s\"'\\;]", word) else word for word in words)
    return f":{line}" if "$" in line else line  # the colon takes $ for what it is


# ---- cron


def cron_fields(schedule: ScheduleSection) -> str:
    """The five fields of cron, on the schedule's own clock.

    >>> cron_fields(ScheduleSection(every="month", at="23:05", on=28))
    '5 23 28 * *'
    """
    hour, minute = _time(schedule)
    if schedule.every == "hour":
        return f"{minute} * * * *"
    weekday = (_weekday(schedule) + 1) % 7 if schedule.every == "week" else "*"
    day = schedule.on or 1 if schedule.every == "month" else "*"
    return f"{minute} {hour} {day} * {weekday}"


def cron_line(job: ScheduledJob, *, machine: tzinfo | None = None, today: date | None = None) -> str:
    """One line for a crontab, of a user's own.

    cron's clock is the machine's; `CRON_TZ` is unknown to the cron of Debian and Ubuntu, and changes the lines of other
    jobs that follow. Where the schedule has another clock, the line therefore comes round every hour and looks at that
    clock itself.

    Args:
        job: what runs.
        machine: the zone of the machine that runs it; by default of this one.
        today: from here on the two clocks are compared; by default today.

    Raises:
        ArgumentError: the machine does not know the schedule's zone; the line is longer than cron takes.
    """
    schedule = job.schedule
    apart = _minutes_apart(schedule, machine, today or date.today())
    same = {minutes % 60 for minutes in apart} == {0} if schedule.every == "hour" else apart == {0}
    fields, guard = cron_fields(schedule), ""
    if not same:
        if not any((Path(place) / schedule.timezone).exists() for place in zoneinfo.TZPATH):
            raise ArgumentError(f"the system does not know the zone {schedule.timezone}; install its tzdata package")
        minutes = sorted({(_time(schedule)[1] - difference) % 60 for difference in apart})
        fields = f"{','.join(map(str, minutes))} * * * *"
        guard = _guard(schedule) + " || exit 0; "
    log = job.folder / f"{job.name}.log"
    secrets = f"set -a && . {_quoted(job.secrets)} && set +a && " if job.variables else ""
    nice = shutil.which("nice") or "/usr/bin/nice"
    told = f"'%s: exit code %s, see %s\\n' {_quoted(job.title)} $? {_quoted(log)}"  # which cron mails
    variables = "".join(f"{name}={_quoted(value)} " for name, value in job.environment)
    command = (
        f"{guard}cd {_quoted(job.folder)} && {secrets}{variables}{nice} -n 10 {shlex.join(job.command)} >> "
        f"{_quoted(log)} 2>&1 || printf {told}"
    )
    line = f"{fields} " + command.replace("%", r"\%")  # cron makes line breaks of bare ones
    if len(line.encode()) > _LONGEST_LINE:
        raise ArgumentError(f"cron takes lines of {_LONGEST_LINE} bytes, and this one has {len(line.encode())}; choose "
                            f"shorter paths, or --systemd")  # fmt: skip
    return line


def _quoted(text: str | Path) -> str:
    return shlex.quote(str(text))


def _guard(schedule: ScheduleSection) -> str:
    """A test of the shell's that holds in the minute when the job is due."""
    form, due = "%H:%M", schedule.at
    if schedule.every == "hour":
        form, due = "%M", schedule.at[3:]
    elif schedule.every == "week":
        form, due = f"%u:{form}", f"{_weekday(schedule) + 1}:{due}"
    elif schedule.every == "month":
        form, due = f"%d:{form}", f"{schedule.on or 1:0>2}:{due}"
    return f'[ "$(TZ={schedule.timezone} date +{form})" = {due} ]'


def _minutes_apart(schedule: ScheduleSection, machine: tzinfo | None, start: date) -> set[int]:
    """By how many minutes the schedule's clock is ahead of the machine's, over two years."""
    zone, found = ZoneInfo(schedule.timezone), set()
    noon = datetime(start.year, start.month, start.day, 12, tzinfo=UTC)
    for moment in (noon + timedelta(days=k) for k in range(731)):
        ours, theirs = moment.astimezone(machine).utcoffset(), moment.astimezone(zone).utcoffset()
        assert ours is not None  # both have a zone
        assert theirs is not None
        found.add(round((theirs - ours).total_seconds() / 60))
    return found
