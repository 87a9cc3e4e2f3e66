"""Saved models of Keras with our layers in them: one import has a fresh process know them all."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import forecast_kit
from forecast_kit.nn.attention import TemporalAttention
from forecast_kit.nn.blocks import TimePooling
from forecast_kit.nn.cells import Feedback, GRUCell, LSTMCell, RecurrentDropout, Residual, Stacked, Zoneout
from forecast_kit.nn.recurrent import bidirectional, recurrent

PACKAGE = Path(forecast_kit.__file__).parent
KNOW = """
import keras, numpy as np
import forecast_kit.nn.networks
print(*sorted(name for name in keras.saving.get_custom_objects() if name.startswith("forecast_kit>")))
np.save("out.npy", keras.models.load_model("own.keras")(np.load("x.npy")))
"""


def registered() -> set[str]:
    """The names of all classes of the package that are decorated to be registered, from the sources."""
    return {
        f"forecast_kit>{node.name}"
        for path in (PACKAGE / "nn").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any("register_keras_serializable" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def test_one_import_is_enough_to_load_whatever_is_made_of_our_layers(tmp_path: Path) -> None:
    inputs = keras.Input((6, 4))
    memory = bidirectional(RecurrentDropout(LSTMCell(2), 0.1), return_sequences=True)(inputs)
    queries = recurrent(Residual(Zoneout(GRUCell(4), 0.1)), return_sequences=True)(memory)
    said = recurrent(Feedback(Stacked([LSTMCell(3), GRUCell(4)]), 4), return_sequences=True)(
        TemporalAttention("additive", units=3)(queries, memory)
    )
    model = keras.Model(inputs, TimePooling("attention")(said))
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    model.save(tmp_path / "own.keras")
    np.save(tmp_path / "x.npy", x)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", KNOW], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == registered()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model(x))
