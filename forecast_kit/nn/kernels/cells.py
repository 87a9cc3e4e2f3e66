"""Which kernel runs which cell."""

from __future__ import annotations

import json
from typing import Any

from forecast_kit.nn.cells.base import Cell, States
from forecast_kit.nn.cells.gru import GRUCell
from forecast_kit.nn.cells.lstm import LSTMCell
from forecast_kit.nn.kernels import factored
from forecast_kit.nn.kernels.generic import GenericCore


def run(cell: Cell, x: Any, states: States, *, training: bool, every: bool) -> tuple[Any, States]:
    """All outputs `[B, T, U]`, or the last `[B, U]`, and the final states.

    LSTM and GRU have kernels of their own; any other cell runs on the generic core.
    """
    w = cell.tensors()
    if type(cell) is LSTMCell:
        output, h, c = factored.lstm(
            x, states[0], states[1], w["kernel"], w["recurrent_kernel"], w["bias"], return_sequences=every
        )
        return output, (h, c)
    if type(cell) is GRUCell:
        output, h = factored.gru(x, states[0], w["kernel"], w["recurrent_kernel"], w["bias"], return_sequences=every)
        return output, (h,)
    # Noise is drawn once, in front of the loop, for the backward pass computes every step again.
    given = cell.prepare(x, w, training=training) if cell.noise_size else x
    return _core_of(cell)(given, states, w, return_sequences=every)


_CORES: dict[str, GenericCore] = {}


def _core_of(cell: Cell) -> GenericCore:
    """The generic core of all cells of this kind and configuration.

    Compiling one takes seconds, and a backtest trains the same network again and again. The core holds a cell
    without weights: they are arguments of its functions.
    """
    key = f"{type(cell).__module__}.{type(cell).__qualname__} " + json.dumps(
        _nameless(cell.get_config()), sort_keys=True, default=repr
    )
    if key not in _CORES:
        bare = type(cell).from_config(cell.get_config())
        _CORES[key] = GenericCore((lambda p, w: p) if cell.noise_size else bare.project, bare.step)
    return _CORES[key]


def _nameless(config: Any) -> Any:
    """The configuration without what does not change a step: names, and how weights begin."""
    if isinstance(config, dict):
        names = ("name", "trainable") if "trainable" in config else ()  # of a layer; a dtype policy's name stays
        return {
            key: _nameless(value)
            for key, value in config.items()
            if key not in (*names, "seed") and not key.endswith("_initializer")
        }
    if isinstance(config, list | tuple):
        return [_nameless(value) for value in config]
    return config
