"""TensorFlow's complaint that a step is traced too often: left out where it is not true, and nowhere else."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import forecast_kit
from forecast_kit.nn.tracing import traced_once

FITS = """
from lines import draw, fitted
from forecast_kit import SequenceClassifier
from forecast_kit.nn.training import apply
x, y = [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]], ["up", "down"]
for k in range(6):
    apply(fitted(steps=2, batch_size=16, seed=k).model, draw(0)[0], compiled=True)
    if k < 3:
        SequenceClassifier("cnn", units=2, epochs=1, seed=k).fit(x, y)
print("done")
"""


def test_many_trainings_in_one_process_are_no_reason_to_warn() -> None:
    here = Path(__file__).parent
    paths = [str(Path(forecast_kit.__file__).parents[1]), str(here), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", FITS], capture_output=True, text=True, check=False, env=environment, cwd=here
    )
    assert done.stdout == "done\n", done.stderr
    assert "retracing" not in done.stderr


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_one_message_is_left_out_within_and_none_elsewhere() -> None:
    ours, theirs = (
        f"5 out of the last 5 calls to <function {name} at 0x7f> triggered tf.function retracing."
        for name in ("TensorFlowTrainer._make_function.<locals>.multi_step_on_iterator", "their_own_step")
    )
    logger, kept = logging.getLogger("tensorflow"), Kept()

    def interrupted() -> None:
        with traced_once():
            for message in (ours, theirs, "something else"):
                logger.warning(message)
            raise KeyboardInterrupt

    logger.addHandler(kept)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        logger.warning(ours)
    finally:
        logger.removeHandler(kept)
    assert kept.messages == [theirs, "something else", ours]
