"""A job that is killed, at whatever moment, and run again leaves what one leaves that was never disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from batches import SERIES, feed, write_feed, write_job
from mlflow.tracking import MlflowClient

DAYS = ("2024-06-20", "2024-06-21")  # the first one trains, the second one scores and forecasts
ROWS = {"forecasts": 24 * len(SERIES), "scores": len(SERIES)}

# Imports once, then runs a job for each line that it is sent in a process of its own: what is killed is the job, and
# the seconds that imports take are not tried twenty times.
RUNNER = """
import os, sys
sys.path[:0] = sys.argv[1:]
import batches
import forecast_kit.mlflow.contenders, forecast_kit.mlflow.results, forecast_kit.mlflow.runs, mlflow.artifacts
from pathlib import Path
print("ready", flush=True)
for line in sys.stdin:
    job, as_of = line.split()
    child = os.fork()
    if not child:
        code = 9
        try:
            code = batches.run(Path(job), as_of).exit_code
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runner:
    """Runs jobs in processes that may be killed."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(here), str(here.parent / "support")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def run(self, job: Path, day: str, *, kill_after: float | None = None) -> int:
        """The exit code; -9 where it was killed in time. What readers see meanwhile is looked at all the time."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{job} {day}\n")
        self._process.stdin.flush()
        child, end = int(self._read()), time.monotonic() + (kill_after or 0.0)
        while kill_after is not None and time.monotonic() < end:
            whole_files(job.parent)
            time.sleep(min(0.02, max(end - time.monotonic(), 0.0)))
        if kill_after is not None:
            with suppress(ProcessLookupError):  # it was quicker
                os.kill(child, signal.SIGKILL)
        code = int(self._read())
        whole_files(job.parent)
        return code

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def whole_files(root: Path) -> None:
    """Whatever a reader can see by its name is whole."""
    for file in (root / "out").rglob("[!._]*.*"):
        if file.is_file():
            rows = len(pd.read_parquet(file))
            assert rows == ROWS.get(file.stem, rows), file
            assert rows > 0
    for file in (root / "reports").rglob("[!.]*.json"):
        json.loads(file.read_text())


def left_behind(root: Path) -> dict[str, Any]:
    """Tables, versions with their tags, and aliases: all that counts."""
    files = sorted(file for file in (root / "out").rglob("*") if file.is_file())
    uri = f"sqlite:///{root / 'store' / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    told = (
        "job",
        "as_of",
        "forecaster",
        "mase",
        "decision",
        "reason",
        "judged_against",
        "champion_by",
        "replaced_version",
    )
    versions = [
        {key: one.tags.get(key) for key in told} | {"version": str(one.version)}
        for one in sorted(client.search_model_versions("name='nightly'"), key=lambda one: int(one.version))
    ]
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return {
        "tables": {str(file.relative_to(root)): file.read_bytes() for file in files},
        "versions": versions,
        "aliases": dict(client.get_registered_model("nightly").aliases),
        "running": [run.info.run_id for run in runs if run.info.status == "RUNNING"],
        "journal": sorted((root / "store" / "journal").iterdir()),
    }


NETWORK = """
  gru:
    forecaster: NeuralForecaster
    network: {cell: gru, units: 4, hidden: 8, segment: 24}
    input_length: 48
    training: {steps: 40, batch_size: 8, seed: 3}
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sigkill_while_a_network_is_trained_changes_nothing_in_the_end(tmp_path: Path) -> None:
    """The day that trains, killed again and again before it may end: in the backtest, the last fit, the sending."""
    data, runner, chance, day = feed(), Runner(), random.Random(5), DAYS[0]

    def prepare(name: str) -> Path:
        (tmp_path / name).mkdir()
        write_feed(tmp_path / name, data)
        return write_job(tmp_path / name, candidates=NETWORK)

    try:
        for name in ("warm", "calm"):
            job, started = prepare(name), time.monotonic()
            assert runner.run(job, day) == 0
            lasted = time.monotonic() - started
        calm, kills, tries = left_behind(tmp_path / "calm"), 0, 0
        assert calm["versions"][0]["forecaster"] == "gru"
        assert left_behind(tmp_path / "warm") == calm
        while kills < 5:
            assert tries < 10, f"{kills} kills in {tries} jobs of {lasted:.0f} s"
            job, tries, first = prepare(f"disturbed{tries}"), tries + 1, True
            while True:
                started = time.monotonic()
                if runner.run(job, day, kill_after=chance.uniform(0.3, 0.95) * lasted) == 0:
                    break
                kills, first = kills + 1, False
            if first:  # nothing disturbed it: the machine has become quicker
                lasted = time.monotonic() - started
            assert runner.run(job, day) == 0
            assert left_behind(job.parent) == calm
    finally:
        runner.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_sigkill_at_twenty_moments_changes_nothing_in_the_end(tmp_path: Path) -> None:
    data, runner, chance = feed(), Runner(), random.Random(9)

    def prepare(name: str) -> Path:
        (tmp_path / name).mkdir()
        write_feed(tmp_path / name, data)
        return write_job(tmp_path / name)

    try:
        lasted = {}
        for name in ("warm", "calm"):  # the first one fills caches; how long the second one takes is what counts
            job = prepare(name)
            for day in DAYS:
                started = time.monotonic()
                assert runner.run(job, day) == 0
                lasted[day] = time.monotonic() - started
        calm, killed = left_behind(tmp_path / "calm"), []
        for n in range(10):
            job = prepare(f"disturbed{n}")
            for day in DAYS:
                killed.append(runner.run(job, day, kill_after=chance.uniform(0.0, lasted[day])))
                assert runner.run(job, day) == 0
            assert left_behind(tmp_path / f"disturbed{n}") == calm
        assert killed.count(-signal.SIGKILL) >= 12, killed  # the others had ended before
    finally:
        runner.close()
