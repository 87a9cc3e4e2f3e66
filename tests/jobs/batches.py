"""A batch job on real data in miniature: four weeks of hourly series, one file a day, as a feed leaves them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from stores import prepared

from forecast_kit import load
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.batch import run_batch
from forecast_kit.jobs.config import read_job
from forecast_kit.jobs.reporting import Reporter
from forecast_kit.jobs.summary import Summary

FIRST = pd.Timestamp("2024-06-01")
SERIES = ("H1", "H2", "H3", "H4")

JOB = """
name: nightly
data:
  path: {root}/feed/*.parquet
  schema: {{freq: h, gaps: mask, duplicates: last}}
baselines:
  yesterday: {{forecaster: SeasonalNaive}}
candidates:
  average: {{forecaster: SeasonalNaive, season_length: 168}}
backtest: {{horizon: 24, folds: 2, levels: [0.1, 0.9]}}
gate: {{min_skill: -9}}
register: {{name: nightly}}
sink: {{path: {root}/out}}
monitor: {{window: 2}}
output: {root}/reports
store: {root}/store
"""


def feed() -> pd.DataFrame:
    """Four weeks of four M4 series, on a calendar."""
    frame, _ = load("m4_hourly")
    frame = frame[frame["unique_id"].isin(SERIES)]
    last = frame.groupby("unique_id").tail(24 * 28)
    step = last.groupby("unique_id").cumcount()
    return last.assign(ds=FIRST + pd.to_timedelta(step, unit="h"))[["unique_id", "ds", "y"]]


def write_feed(root: Path, frame: pd.DataFrame) -> None:
    """One Parquet file for each day."""
    (root / "feed").mkdir(parents=True, exist_ok=True)
    for day, rows in frame.groupby(frame["ds"].dt.date):
        rows.to_parquet(root / "feed" / f"{day}.parquet", index=False)


def write_job(root: Path, **changes: str) -> Path:
    """The job file; a key of its top level may be replaced by another text."""
    lines = textwrap.dedent(JOB.format(root=root))
    for key, text in changes.items():
        document = lines.split("\n")
        start = next(k for k, line in enumerate(document) if line.startswith(f"{key}:"))
        end = next((k for k in range(start + 1, len(document)) if document[k][:1] not in ("", " ")), len(document))
        lines = "\n".join([*document[:start], f"{key}: {text}", *document[end:]])
    file = root / "job.yaml"
    file.write_text(lines)
    return file


_TRAINED: list[Path] = []


def trained_job(factory: pytest.TempPathFactory) -> Path:
    """A folder with a job that has run for 2024-06-20: trained, promoted, forecast; made once in each process.

    What tests change they copy before, but for the store, whose artefacts have absolute places.
    """
    if not _TRAINED:
        root = factory.mktemp("trained")
        write_feed(root, feed())
        prepared(root / "store")
        assert run(write_job(root), "2024-06-20").exit_code == 0
        _TRAINED.append(root)
    return _TRAINED[0]


def run(job: Path, as_of: str, **options: object) -> Summary:
    """The job for a day, in this process, without a word."""
    out = Reporter(Console(quiet=True), quiet=True)
    return run_batch(read_job(job), AsOf.read(as_of), out=out, **options)
