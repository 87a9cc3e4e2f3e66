"""The contract of cells on Keras's other backends, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONTRACT = Path(__file__).with_name("test_cells.py")


@pytest.mark.parametrize(
    "chosen",
    [
        "the_door and True or every_route or refused",  # True: all outputs, and so the last one too
        # All of it, and so also what the line above runs.
        pytest.param("", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_contract_of_cells_holds_on_other_backends(backend: str, chosen: str) -> None:
    if backend == "torch" and importlib.util.find_spec(backend) is None:
        pytest.skip("PyTorch is not installed; pip install torch to test it too")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(CONTRACT)]
    done = subprocess.run(
        [*command, "-k", chosen], capture_output=True, text=True, check=False,
        env={**os.environ, "KERAS_BACKEND": backend},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
