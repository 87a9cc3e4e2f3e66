"""A job file to begin with: every key of every section, with a word on each."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, DataError, nearest
from forecast_kit.jobs.forecasting import replace_file

# What columns of these roles are often called; used for proposals in comments, never for values.
_USUAL = {
    "id_col": ("unique_id", "id", "series", "series_id", "item", "item_id", "sku", "store", "product", "sensor"),
    "time_col": ("ds", "date", "datetime", "timestamp", "time", "hour", "day", "week", "month", "period"),
    "target_col": ("y", "target", "value", "sales", "demand", "load", "quantity", "qty", "count", "volume", "price"),
}  # fmt: skip
_MEANING = {
    "id_col": "the column that names the series",
    "time_col": "the column of time stamps",
    "target_col": "the column to forecast",
}
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


@dataclass(frozen=True)
class Stated:
    """What a user has said of the data; None is not said.

    Attributes:
        freq: of the time stamps.
        id_col, time_col, target_col: the columns.
    """

    freq: str | None = None
    id_col: str | None = None
    time_col: str | None = None
    target_col: str | None = None


def write_starter(
    job: Path, *, data: str | None = None, stated: Stated | None = None, force: bool = False
) -> list[str]:
    """Writes a job file to begin with; what must still be stated in it, a line each.

    Without data of one's own it runs as it stands. With them, nothing that is not stated is guessed: the file says what
    the columns might be in comments, and is not valid until somebody has decided. Where the frequency is stated, what
    follows from it is filled in, see `suited`.

    Args:
        job: the file to write.
        data: a path or URL of CSV or Parquet.
        stated: what is known of the data.
        force: write over a file that is there.

    Raises:
        ArgumentError: the file is there; a column is not in the data; something is stated of no data.
        DataError: the data cannot be read.
    """
    if job.exists() and not force:
        raise ArgumentError(f"{job} is there already; choose another name, or write over it with --force")
    stated = stated or Stated()
    text = template()
    left: list[str] = []
    if data is not None:
        section, left = data_section(data, stated, columns_of(data))
        text = with_data(text, section)
        if stated.freq is None:
            left.append(
                "what suits your data: backtest.horizon, candidates.gru.input_length, monitor, schedule are for months"
            )
        else:
            text = suited(text, stated.freq)
    elif stated != Stated():
        raise ArgumentError("columns and freq are those of your own data; say --data as well")
    text = text.replace(" job.yaml", f" {shlex.quote(str(job))}")
    replace_file(job, partial(Path.write_text, data=text, encoding="utf-8"))
    return left


def template() -> str:
    """The starter for a bundled data set."""
    return resources.files("forecast_kit.jobs").joinpath("starter.yaml").read_text(encoding="utf-8")


def with_data(text: str, section: str) -> str:
    """The job file with another `data` section; the commented keys of the old one stay, for those who look for them."""
    before, rest = text.split("data:\n", 1)
    old, after = rest.split("\nbaselines:", 1)
    return f"{before}data:\n{section}{_choices(old)}\nbaselines:{after}"


@dataclass(frozen=True)
class _Pace:
    """What usually suits data of a frequency; steps are told by themselves, lapses as a job file writes them."""

    horizon: int
    every: str
    on: str
    max_age: str
    cooldown: str


def _pace(freq: str | int, season: int) -> _Pace:
    """How far ahead, how often, and how long a training is good for, by the length of a step."""
    if isinstance(freq, int):  # no clock tells when to run, and ages are in the units that the steps are counted in
        return _Pace(6, "day", "", str(100 * freq), str(10 * freq))
    start = pd.Timestamp("2024-01-01")
    days = (pd.date_range(start, periods=9, freq=freq)[-1] - start) / pd.Timedelta("8D")
    if days < 1:
        return _Pace(season, "day", "", "28D", "7D")
    if days < 5:  # days, business days among them: two weeks ahead
        return _Pace(2 * season, "day", "", "56D", "14D")
    if days < 25:
        return _Pace(13, "week", "Mon", "182D", "28D")
    if days < 60:
        return _Pace(6, "month", "2", "365D", "28D")
    return _Pace(4, "month", "2", "730D", "90D") if days < 300 else _Pace(3, "month", "2", "1460D", "365D")


def suited(text: str, freq: str) -> str:
    """The job file with what follows from the frequency: season, horizon, two seasons to read, when to run and train.

    Raises:
        SchemaError: it is no frequency.

    >>> [line.split("#")[0].strip() for line in suited(template(), "D").splitlines() if " every:" in line]
    ['every: day']
    """
    schema = PanelSchema(freq=int(freq) if freq.isdecimal() else freq)
    season = schema.season_length
    pace = _pace(schema.freq, season)
    values = {
        "season_length": season, "input_length": max(2 * season, 2 * pace.horizon) if season == 1 else 2 * season,
        "horizon": pace.horizon, "step": pace.horizon, "max_delay": pace.horizon, "max_age": pace.max_age,
        "cooldown": pace.cooldown, "every": pace.every,
    }  # fmt: skip
    for key, value in values.items():
        text = re.sub(rf"(^ *(?:# +)?{key}: )(\S+)( *)", partial(_replaced, value=str(value)), text, flags=re.MULTILINE)
    if pace.on:
        return re.sub(r"(^  on: )(\S+)( *)", partial(_replaced, value=pace.on), text, flags=re.MULTILINE)
    return re.sub(r"^  on: 2( *)  #", r"  # on: 2\1#", text, flags=re.MULTILINE)  # every day has no day of its own


def _replaced(match: re.Match[str], *, value: str) -> str:
    """The key with another value, and the comment behind it where it was."""
    width = len(match[2]) + len(match[3])
    return match[1] + (f"{value:<{width}}" if match[3] and len(value) < width else value + match[3])


def _choices(old: str) -> str:
    """The lines of a `data` section that a file of one's own leaves open."""
    named = re.compile(r"  #   (freq|id_col|time_col|target_col):|  # (path|schema):|  dataset:")
    lines = [line for line in old.splitlines() if not named.match(line)]
    start = next(k for k, line in enumerate(lines) if line.startswith("  #   season_length"))
    # Keys of the schema first: they follow those that stand there already.
    return "\n".join([re.sub(r"^  #   ", "    # ", line) for line in lines[start:]] + lines[:start]) + "\n"


def data_section(data: str, stated: Stated, frame: pd.DataFrame | None) -> tuple[str, list[str]]:
    """The lines of the section `data` up to its schema's columns, and what must still be stated.

    Args:
        data: the path.
        stated: what is known.
        frame: the first rows; None where they cannot be looked at.

    Raises:
        ArgumentError: a stated column is not there, or the frequency is none.
    """
    columns = [] if frame is None else [str(name) for name in frame.columns]
    open_roles = {role for role in _MEANING if getattr(stated, role) is None and _USUAL[role][0] not in columns}
    lines, left = [f"  path: {_scalar(data)}"], []
    if columns:
        lines.append(f"  # its columns: {', '.join(_scalar(name) for name in columns)}")
    lines.append("  schema:")
    if stated.freq is None:
        lines.append(
            "    # freq: h  # STATE IT: h, 15min, D, B, W-SUN, MS, QS, ...; 1 where it counts" + _seen(frame, stated)
        )
        left.append("data.schema.freq, the time between two rows of a series")
    else:
        freq = int(stated.freq) if stated.freq.isdecimal() else stated.freq
        PanelSchema(freq=freq)  # raises where it is none
        # Valid only when the columns are: a schema with nothing but freq would mean the usual names.
        lines.append(
            f"    # freq: {_scalar(freq)}  # as stated; for when the columns are"
            if open_roles
            else f"    freq: {_scalar(freq)}"
        )
        if open_roles:
            left.append(f"data.schema.freq, which is {freq}, by taking the '#' away")
    for role, meaning in _MEANING.items():
        value = getattr(stated, role)
        if value is not None:
            if columns and value not in columns:
                raise ArgumentError(f"{data} has no column {value!r}; it has {', '.join(columns)}."
                                    f"{nearest(value, columns)}")  # fmt: skip
            lines.append(f"    {role}: {_scalar(value)}")
        elif role in open_roles:
            proposal = _proposal(role, stated, columns)
            guess = f"{_scalar(proposal)}  # STATE IT: {meaning}; a guess by its name" if proposal else (
                f"...  # STATE IT: {meaning}"
            )  # fmt: skip
            lines.append(f"    # {role}: {guess}")
            left.append(f"data.schema.{role}, {meaning}" + (f": {proposal}?" if proposal else ""))
        else:
            lines.append(f"    # {role}: {_USUAL[role][0]}  # {meaning}; its usual name is there")
    return "\n".join(lines) + "\n", left


def _seen(frame: pd.DataFrame | None, stated: Stated) -> str:
    """The first stamps, as a comment."""
    times = None if frame is None else _proposal("time_col", stated, [str(name) for name in frame.columns])
    if frame is None or times is None:
        return ""
    return f"; {_scalar(times)} begins with {', '.join(_scalar(str(stamp)) for stamp in frame[times][:3])}"


def columns_of(data: str) -> pd.DataFrame | None:
    """The first rows of a file of this machine; None of a folder, a pattern or a URL, which a job reads itself.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    if "://" in data or any(letter in data for letter in "*?[") or Path(data).is_dir():
        return None
    file = Path(data)
    if not file.exists():
        raise DataError(f"there is no file {file} (looked in {Path.cwd()})")
    try:
        if ".csv" in file.suffixes:
            return pd.read_csv(file, nrows=3)
        with pq.ParquetFile(file) as parquet:
            return next(parquet.iter_batches(batch_size=3)).to_pandas()
    except (OSError, ValueError, StopIteration) as error:  # what pandas and pyarrow raise of files that are no such
        raise DataError(f"cannot read {file}: {error or 'it has no rows'}") from error


def _proposal(role: str, stated: Stated, columns: Sequence[str]) -> str | None:
    """The stated column, or else the first whose name is usual for the role."""
    if getattr(stated, role) is not None:
        return str(getattr(stated, role))
    lowered = {name.lower(): name for name in reversed(columns)}
    return next((lowered[usual] for usual in _USUAL[role] if usual in lowered), None)


def _scalar(value: str | int) -> str:
    """The value as YAML writes it."""
    if isinstance(value, int) or _PLAIN.fullmatch(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
