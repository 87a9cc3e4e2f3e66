"""The same seed in fresh processes, and a fit that is killed and done again: the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import forecast_kit
from forecast_kit import NeuralForecaster, Panel
from forecast_kit.errors import ArgumentError

SCRIPT = """
import sys, time
import numpy as np
import pandas as pd
from forecast_kit import NeuralForecaster, Panel

name, checkpoint, pause = sys.argv[1], sys.argv[2] or None, float(sys.argv[3])
rng = np.random.default_rng(3)
t = np.arange(120)
rows = pd.concat(pd.DataFrame({"unique_id": f"s{k}", "ds": t, "y": k + np.sin(t / 4 + k) + rng.normal(0, 0.1, 120)})
                 for k in range(5))
network = {"cell": "lstm", "units": 8, "hidden": 8, "layers": 2, "segment": 4, "dropout": 0.2,
           "recurrent_dropout": 0.2, "zoneout": 0.1}
training = {"steps": 160, "batch_size": 16, "average": 0.95, "validation": 1, "refit": True, "evaluations": 10,
            "optimizer": "nadam", "seed": 7, "learning_rate": 0.02}
model = NeuralForecaster(network, horizon=8, input_length=24, training=training)

def slowly(event):
    print(event.done, flush=True)
    time.sleep(pause)

panel = Panel.from_frame(rows, freq=1, season_length=8)
model.fit(panel, checkpoint=checkpoint, callbacks=(slowly,))
weights = {f"w{k}": array for k, array in enumerate(model.model_.get_weights())}
np.savez(name, curve=model.curve_, mean=model.predict().mean, **weights)
"""


def start(name: Path, checkpoint: Path | str = "", pause: float = 0.0) -> subprocess.Popen[str]:
    source = str(Path(forecast_kit.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(name), str(checkpoint), str(pause)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": source, "FORECAST_KIT_QUIET_START": "1"},
    )  # fmt: skip


def result(process: subprocess.Popen[str], name: Path) -> tuple[dict[str, np.ndarray], list[int]]:
    """What it saved, and the steps that it told of."""
    told, complaint = process.communicate(timeout=240)
    assert process.returncode == 0, complaint[-3000:]
    with np.load(name) as arrays:
        return {key: arrays[key] for key in arrays.files}, [int(line) for line in told.split()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    name = tmp_path_factory.mktemp("undisturbed") / "a.npz"
    return result(start(name), name)[0]


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert set(one) == set(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_the_same_seed_gives_the_same_weights_in_two_processes(
    undisturbed: dict[str, np.ndarray], tmp_path: Path
) -> None:
    assert_same(result(start(tmp_path / "b.npz"), tmp_path / "b.npz")[0], undisturbed)


@pytest.mark.parametrize("killed_in", ["the first training", "the second one"])
def test_a_fit_that_is_killed_goes_on_to_the_same_weights(
    killed_in: str, undisturbed: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder, file = tmp_path / "checkpoint", "first.npz" if killed_in == "the first training" else "again.npz"
    victim = start(tmp_path / "victim.npz", folder, pause=0.2)
    deadline = time.monotonic() + 200
    while not (folder / file).exists() and time.monotonic() < deadline:
        assert victim.poll() is None, victim.communicate()[1][-3000:]
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    before = [int(line) for line in victim.communicate()[0].split()]
    assert victim.returncode == -signal.SIGKILL
    assert not (tmp_path / "victim.npz").exists()
    weights, after = result(start(tmp_path / "again.npz", folder), tmp_path / "again.npz")
    assert_same(weights, undisturbed)
    assert before[0] == 16 < after[0]
    assert before[-1] <= after[0] <= before[-1] + 16
    assert not folder.exists()


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
