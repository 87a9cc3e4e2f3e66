"""Trainings on Keras's other backends, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
QUICK = (
    "averages_are_those or clipping or [False-None] or names_step_and_windows or leaves_the_best or [killed_at1] "
    "or judged_and_kept or held_out_windows"
)


@pytest.mark.parametrize(
    "chosen", [QUICK, pytest.param("", marks=[pytest.mark.slow, pytest.mark.timeout(900)], id="all")]
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_trainings_hold_on_other_backends(backend: str, chosen: str) -> None:
    if backend == "torch" and importlib.util.find_spec(backend) is None:
        pytest.skip("PyTorch is not installed; pip install torch to test it too")
    files = [str(HERE / f"test_training_{part}.py") for part in ("optimizers", "objective", "stops", "checkpoint")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files, "-k", chosen]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "KERAS_BACKEND": backend}
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
