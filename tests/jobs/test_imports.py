"""A job whose cell and metric are one's own, in a module beside it: in this process, in workers, and in a later one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from batches import feed, run, write_feed, write_job

from forecast_kit.core.extensions import IMPORTS
from forecast_kit.core.known import KNOWN
from forecast_kit.evaluation.scoring import METRICS
from forecast_kit.jobs.config import read_job
from forecast_kit.nn.cells import CELLS

OWN = '''
import keras
import numpy as np

from forecast_kit.evaluation.scoring import METRICS, Metric
from forecast_kit.nn.cells import CELLS, GRUCell


@keras.saving.register_keras_serializable("own")
class SlowCell(GRUCell):
    """A GRU under another name, which nobody but this module knows."""


CELLS["slow_of_mine"] = SlowCell
METRICS["worst_of_mine"] = Metric(lambda rows: np.abs(rows.y - rows.mean).max(axis=1), "largest error")
'''
CELL = (
    "\n  mine: {forecaster: NeuralForecaster, network: {network: recurrent, cell: slow_of_mine, units: 4}, "
    "input_length: 24, training: {steps: 3, batch_size: 16, progress: none}}"
)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The job file; what its module brings is gone afterwards."""
    importlib.import_module("forecast_kit.models.neural")  # which would be forgotten, too, were it imported later
    kept = [(held, dict(held)) for held in (CELLS, METRICS, KNOWN)]
    monkeypatch.setenv(IMPORTS, "")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells_of_mine.py").write_text(OWN)
    write_feed(tmp_path, feed())
    file = write_job(
        tmp_path, candidates=CELL, gate="{metric: worst_of_mine, min_skill: -99}",
        backtest="{horizon: 24, folds: 1, levels: [0.1, 0.9]}",
    )  # fmt: skip
    with file.open("a") as text:
        text.write("imports: [cells_of_mine]\nexecution: {mode: processes, workers: 1}\n")
    yield file
    sys.modules.pop("cells_of_mine", None)
    for held, before in kept:
        for name in set(held) - set(before):
            del held[name]


def test_what_a_module_brings_can_be_named_in_the_file_that_imports_it(job: Path) -> None:
    config = read_job(job)
    assert config.imports == ("cells_of_mine",)
    assert config.gate.metric == "worst_of_mine"
    assert {"slow_of_mine"} <= {*CELLS}
    assert (os.environ[IMPORTS], os.environ["PYTHONPATH"]) == ("cells_of_mine", str(job.parent))


def test_a_nightly_job_trains_registers_and_forecasts_with_it(job: Path) -> None:
    assert run(job, "2024-06-20", tasks=("train",)).training["decision"] == "promoted"
    # What cron starts is a process of its own, which knows nothing of this one; and its worker is a further one.
    command = [sys.executable, "-P", "-m", "forecast_kit.jobs.cli", "batch", "forecast", "job.yaml"]
    clean = {**os.environ, IMPORTS: "", "PYTHONPATH": ""}
    done = subprocess.run([*command, "--as-of", "2024-06-21"], env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # The module imports Keras before anything of this package does, in the command and in its worker.
    assert not [line for line in done.stderr.splitlines() if "port.cc" in line or "cuda" in line]
    written = pd.read_parquet(job.parent / "out" / "forecasts")
    assert len(written) == 4 * 24
    assert not written["fallback"].any()
