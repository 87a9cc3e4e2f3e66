"""The same seed in fresh processes, and a fit that is killed and done again: the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecast_kit
from forecast_kit import NeuralForecaster, Panel
from forecast_kit.core.forecaster import FitProgress
from forecast_kit.errors import ArgumentError


def fit(name: Path, checkpoint: Path | None = None, pause: float = 0.0) -> None:
    """Fits a network with noise of every kind, and saves what it came to. Tells of each round of steps."""
    rng = np.random.default_rng(3)
    t = np.arange(120)
    rows = pd.concat(
        pd.DataFrame({"unique_id": f"s{k}", "ds": t, "y": k + np.sin(t / 4 + k) + rng.normal(0, 0.1, 120)})
        for k in range(5)
    )
    network = {"cell": "lstm", "units": 8, "hidden": 8, "segment": 4, "dropout": 0.2,
               "recurrent_dropout": 0.2, "zoneout": 0.1}  # fmt: skip
    training = {"steps": 160, "batch_size": 16, "average": 0.95, "validation": 1, "refit": True, "evaluations": 10,
                "optimizer": "nadam", "seed": 7, "learning_rate": 0.02}  # fmt: skip
    model = NeuralForecaster(network, horizon=8, input_length=24, training=training)

    def slowly(event: FitProgress) -> None:
        print(event.done, flush=True)
        time.sleep(pause)

    panel = Panel.from_frame(rows, freq=1, season_length=8)
    model.fit(panel, checkpoint=checkpoint, callbacks=(slowly,))
    weights = {f"w{k}": array for k, array in enumerate(model.model_.get_weights())}
    np.savez(name, curve=model.curve_, mean=model.predict().mean, **weights)


SCRIPT = """
import sys
from pathlib import Path
from test_reproducible import fit
fit(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
"""


def start(name: Path, checkpoint: Path, pause: float = 0.0) -> subprocess.Popen[str]:
    sources = [str(Path(forecast_kit.__file__).parents[1]), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(name), str(checkpoint), str(pause)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources), "FORECAST_KIT_QUIET_START": "1"},
    )  # fmt: skip


def killed_once_there_is(file: Path, name: Path, pause: float = 0.2) -> list[int]:
    """The steps that a fit told of before it was killed, which is as soon as that file is there."""
    victim = start(name, file.parent, pause)
    deadline = time.monotonic() + 200
    while not file.exists() and time.monotonic() < deadline:
        assert victim.poll() is None, victim.communicate()[1][-3000:]
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    told = [int(line) for line in victim.communicate()[0].split()]
    assert victim.returncode == -signal.SIGKILL
    assert not name.exists()
    return told


def test_a_fit_that_is_killed_in_each_training_goes_on_to_the_weights_of_one_that_was_not_in_another_process(
    tmp_path: Path,
) -> None:
    """So the same seed gives the same weights in any process too: the first to be killed began like the others."""
    folder, name = tmp_path / "checkpoint", tmp_path / "resumed.npz"
    first = killed_once_there_is(folder / "first.npz", name)
    second = killed_once_there_is(folder / "again.npz", name)
    last = start(name, folder)
    told, complaint = last.communicate(timeout=240)
    assert last.returncode == 0, complaint[-3000:]
    third = [int(line) for line in told.split()]
    assert first[0] == 16
    for before, after in ((first, second), (second, third)):
        assert before[0] < after[0]
        assert before[-1] <= after[0] <= before[-1] + 16
    assert not folder.exists()

    fit(tmp_path / "undisturbed.npz")
    with np.load(tmp_path / "undisturbed.npz") as expected, np.load(name) as found:
        assert set(found.files) == set(expected.files)
        for key in expected.files:
            np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_a_checkpoint_of_another_fit_is_refused(seasonal_panel: Panel, tmp_path: Path) -> None:
    def model(**training: object) -> NeuralForecaster:
        return NeuralForecaster(
            {"cell": "gru", "units": 4, "hidden": 8, "segment": 24}, horizon=24, input_length=48,
            training={"steps": 32, "batch_size": 8, **training},
        )  # fmt: skip

    def stop(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model().fit(seasonal_panel, checkpoint=tmp_path / "c", callbacks=(stop,))
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["first.npz"]
    with pytest.raises(ArgumentError, match="checkpoint of another training, which differs in 'forecaster'"):
        model(seed=1).fit(seasonal_panel, checkpoint=tmp_path / "c")
    with pytest.raises(ArgumentError, match="checkpoint of another training, which differs in 'panel'"):
        model().fit(seasonal_panel.split(24)[0], checkpoint=tmp_path / "c")
    early, late = seasonal_panel.split(24)
    with pytest.raises(ArgumentError, match="which differs in 'panel', 'validation'"):
        model().fit(early, validation=late, checkpoint=tmp_path / "c")
    model(progress="none").fit(seasonal_panel, checkpoint=tmp_path / "c")
    assert not (tmp_path / "c").exists()
