"""Why gates: a sum over a hundred steps, which a network without them does not learn."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from forecast_kit.nn.cells import Cell, ElmanCell, GRUCell, LSTMCell, MinGRUCell, Stacked
from forecast_kit.nn.recurrent import recurrent

T, U, STEPS, BATCH = 100, 32, 1800, 64


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of numbers of which two are marked, one in each half, `[count, T, 2]`, and the sum of these two.

    Source: Hochreiter and Schmidhuber (1997), experiment 4, with fixed length.
    """
    rng = np.random.default_rng(seed)
    x = np.stack([rng.random((count, T)), np.zeros((count, T))], axis=-1).astype(np.float32)
    rows = np.arange(count)
    places = rng.integers(0, T // 2, count), rng.integers(T // 2, T, count)
    for place in places:
        x[rows, place, 1] = 1.0
    return x, sum(x[rows, place, 0] for place in places)[:, None]


def error_after_training(cell: Cell) -> float:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((T, 2))
    model = keras.Model(inputs, keras.layers.Dense(1)(recurrent(cell)(inputs)))
    optimizer = keras.optimizers.Adam(5e-3, clipnorm=1.0)
    model.compile(optimizer, "mse", jit_compile=keras.backend.backend() == "jax", steps_per_execution=50)
    model.fit(*drawn(STEPS * BATCH, 1), batch_size=BATCH, verbose=0)
    return float(model.evaluate(*drawn(2000, 2), verbose=0))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_gated_cells_add_over_a_hundred_steps_and_the_elman_cell_does_not() -> None:
    guess = 1 / 6  # the variance of the sum: what guessing its mean costs
    assert error_after_training(ElmanCell(U)) > 0.8 * guess
    for cell in (GRUCell(U), LSTMCell(U), Stacked([MinGRUCell(U), MinGRUCell(U)])):
        assert error_after_training(cell) < 0.15 * guess, type(cell).__name__
